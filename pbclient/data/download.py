"""`pbclient data download`: the published data into a folder, all or nothing.

Files arrive in a folder beside the others. When all are there and are what the hub says they are, they
are moved to their places and the record is written. An interrupted download goes on with the files that
are missing; one that had come in part is fetched from its beginning.
Nothing is unpacked: frames are read from the archives.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from pbclient.benchmark.package import DATA_SETS, DataSet, data_set
from pbclient.benchmark.paper import FOLDER, REPOSITORY
from pbclient.data.home import RECORD, SCHEMA, Record, recorded
from pbclient.data.hub import DataFile, fetch, is_file, list_files, size_of
from pbclient.errors import DataError
from runs import replace_file

STAGING = ".download"
_LOCK = "lock"


class Watch(Protocol):
    """Who is told how a download goes."""

    def say(self, sentence: str) -> None:
        """Something worth a line."""

    def progress(self, name: str, have: int, size: int) -> None:
        """So many bytes of a file are there."""


def download(folder: Path, datasets: Sequence[str], revision: str | None, watch: Watch) -> Record:
    """Fetch what is missing of some published data sets, or of all, into a folder. Raises `InputError`;
    the same again goes on with the missing files."""
    named = {data_set(name) for name in datasets}
    if os.path.lexists(folder) and not folder.is_dir():
        raise DataError(f"{folder} is not a folder: name another.")
    commit, published = list_files(revision)
    with _disk(folder), _alone(folder) as staging:
        for path in (staging / FOLDER).glob("*"):
            if path.name not in published:
                path.unlink()
        # The folder stays of one commit: what it holds already is wanted too.
        old = recorded(folder)
        named |= {data_set(name) for name in old.datasets} if named and old else set()
        wanted = [dataset for dataset in DATA_SETS if not named or dataset in named]
        files = _files_of(published, wanted)
        missing: dict[Path, DataFile] = {}
        for name, file in files.items():
            path = folder / name
            # Those that are there are told apart by digest: a size says little.
            if os.path.lexists(path) and is_file(path, file):
                watch.say(f"{name}: already there")
                continue
            if os.path.lexists(path) and (old is None or name not in old.files):
                raise DataError(f"{path} is not the published file: move it away, or name another folder.")
            missing[staging / FOLDER / name] = file
        _fetch(commit, missing, staging, watch)
        record = Record(commit, tuple(each.acronym for each in wanted), True, files)
        return _install(folder, record, old, list(missing))


def _fetch(commit: str, missing: Mapping[Path, DataFile], staging: Path, watch: Watch) -> None:
    """Get these files to their places under `staging` if the disk has room for what they lack."""
    needed = sum(max(file.size - size_of(path), 0) for path, file in missing.items())
    free = shutil.disk_usage(staging).free
    if needed > free:
        raise DataError(
            f"{shown(needed)} are to be downloaded and {shown(free)} are free where {staging.parent} is: "
            "free some space, name a folder elsewhere, or choose data sets with --dataset."
        )
    for path, file in missing.items():
        tell = partial(watch.progress, path.name, size=file.size)
        tell(0)
        fetch(commit, path.name, staging, tell)
        if not is_file(path, file):
            path.unlink()
            raise DataError(
                f"{path.name} has arrived damaged and was thrown away: run the same command again, and if it "
                "stays so name another --revision."
            )
        watch.say(f"{path.name}: {shown(file.size)}")


def _install(folder: Path, record: Record, old: Record | None, arrived: Sequence[Path]) -> Record:
    """Move what has arrived to its place; from the first move to the last the record says so."""
    if old == record and not arrived:
        return old
    before = dict(old.files) if old else {}
    _write(folder, replace(record, complete=False, files={**before, **record.files}))
    for path in arrived:
        # Else the record could outlive, in a loss of power, the bytes that it vouches for.
        with path.open("rb") as file:
            os.fsync(file.fileno())
        path.replace(folder / path.name)
    for name in before.keys() - record.files.keys():
        # An archive that is no longer published would go before those that are.
        (folder / name).unlink(missing_ok=True)
    _write(folder, record)
    return record


def shown(size: int) -> str:
    """Bytes as people read them."""
    from rich.filesize import decimal

    return decimal(size)


def _files_of(published: Mapping[str, DataFile], wanted: Sequence[DataSet]) -> dict[str, DataFile]:
    """The files of these data sets, archives first: rows without frames are worth nothing."""
    for dataset in wanted:
        if dataset.file_name not in published:
            raise DataError(
                f"{REPOSITORY} has no {FOLDER}/{dataset.file_name} at this revision: "
                "name another with --revision."
            )
        if not any(_may_hold_frames(name, [dataset]) for name in published):
            raise DataError(
                f"{REPOSITORY} has no archive with the frames of {dataset.acronym}: "
                "name another with --revision."
            )
    rows = {dataset.file_name for dataset in wanted}
    names = [name for name in published if name in rows or _may_hold_frames(name, wanted)]
    return {name: published[name] for name in sorted(names, key=lambda name: (name in rows, name))}


def _may_hold_frames(name: str, wanted: Sequence[DataSet]) -> bool:
    """Whether this is an archive of one of the data sets, or of none by its name."""
    if not name.lower().endswith(".zip"):
        return False
    owners = [
        dataset
        for dataset in DATA_SETS
        for prefix in (dataset.stem, dataset.acronym)
        if re.match(rf"{re.escape(prefix)}(?![a-z0-9])", name, re.I)
    ]
    return not owners or any(dataset in wanted for dataset in owners)


def _write(folder: Path, record: Record) -> None:
    content = {"schema": SCHEMA, "repository": REPOSITORY, **asdict(record)}
    replace_file(folder / RECORD, [json.dumps(content, indent=2).encode() + b"\n"])


@contextmanager
def _alone(folder: Path) -> Iterator[Path]:
    """The place where files arrive, for one download at a time; gone afterwards when no file is in it."""
    staging = folder / STAGING
    staging.mkdir(parents=True, exist_ok=True)
    with (staging / _LOCK).open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it may have taken the file away since it was opened here.
            alone = os.path.samestat(os.fstat(lock.fileno()), (staging / _LOCK).stat())
        except (BlockingIOError, FileNotFoundError):
            alone = False
        if not alone:
            raise DataError(f"Another download to {folder} is running: wait for its end.")
        # What a kill has left is of no use to anybody, and large.
        for path in staging.rglob("*.incomplete"):
            path.unlink()
        try:
            yield staging
        finally:
            if not any((staging / FOLDER).glob("*")):
                shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """Turn what a disk refuses into one sentence."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        fix = "free some space" if full else "name a folder that can be written"
        raise DataError(
            f"{folder} cannot take the data ({error.strerror or error}): {fix} and run the same command "
            "again, which goes on with the files that are missing."
        ) from error
