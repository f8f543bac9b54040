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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from pbclient.benchmark.package import DATA_SETS, DataSet, data_set
from pbclient.benchmark.paper import FOLDER, REPOSITORY
from pbclient.data.home import RECORD, Installed, Record, recorded
from pbclient.data.hub import Hub, Listing, RemoteFile, is_file, path_in, size_of
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


@dataclass(frozen=True)
class Download:
    """The published data of some data sets (or of all) into one folder."""

    folder: Path
    datasets: Sequence[str] = ()
    revision: str | None = None
    hub: Hub = field(default_factory=Hub)

    def run(self, watch: Watch) -> Record:
        """Fetch what is missing. Raises `InputError`; the same again goes on with the missing files."""
        named = [data_set(name) for name in self.datasets]
        if os.path.lexists(self.folder) and not self.folder.is_dir():
            raise DataError(f"{self.folder} is not a folder: name another.")
        listing = self.hub.listing(self.revision)
        with _disk(self.folder), _alone(self.folder) as staging:
            published = {path_in(staging, file) for file in listing.files}
            for path in {*(staging / FOLDER).glob("*")} - published:
                path.unlink()
            # The folder stays of one commit: what it holds already is wanted too.
            old = recorded(self.folder)
            there = [data_set(name) for name in old.datasets] if old else []
            wanted = [dataset for dataset in DATA_SETS if not named or dataset in [*named, *there]]
            files = _files_of(listing, wanted)
            # Those that are there are told apart by digest: a size says little.
            missing = [file for file in files if not self._is_installed(file, old, watch)]
            _check_space(missing, staging)
            for file in missing:
                self._fetch(listing.commit, file, staging, watch)
            installed = {file.name: Installed(file.size, file.digest) for file in files}
            record = Record(listing.commit, tuple(each.acronym for each in wanted), True, installed)
            return self._install(record, old, [path_in(staging, file) for file in missing])

    def _is_installed(self, file: RemoteFile, old: Record | None, watch: Watch) -> bool:
        path = self.folder / file.name
        if not os.path.lexists(path):
            return False
        if is_file(path, file.size, file.digest):
            watch.say(f"{file.name}: already there")
            return True
        if old is None or file.name not in old.files:
            raise DataError(f"{path} is not the published file: move it away, or name another folder.")
        return False

    def _fetch(self, commit: str, file: RemoteFile, staging: Path, watch: Watch) -> None:
        watch.progress(file.name, 0, file.size)
        self.hub.fetch(commit, file, staging, lambda have: watch.progress(file.name, have, file.size))
        path = path_in(staging, file)
        if not is_file(path, file.size, file.digest):
            path.unlink()
            raise DataError(
                f"{file.name} has arrived damaged and was thrown away: run the same command again, and if it "
                "stays so name another --revision."
            )
        watch.say(f"{file.name}: {shown(file.size)}")

    def _install(self, record: Record, old: Record | None, arrived: Sequence[Path]) -> Record:
        """Move what has arrived to its place; from the first move to the last the record says so."""
        if old == record and not arrived:
            return old
        before = dict(old.files) if old else {}
        _write(self.folder, replace(record, complete=False, files={**before, **record.files}))
        for path in arrived:
            # Else the record could outlive, in a loss of power, the bytes that it vouches for.
            with path.open("rb") as file:
                os.fsync(file.fileno())
            path.replace(self.folder / path.name)
        for name in before.keys() - record.files.keys():
            # An archive that is no longer published would go before those that are.
            (self.folder / name).unlink(missing_ok=True)
        _write(self.folder, record)
        return record


def shown(size: int) -> str:
    """Bytes as people read them."""
    from rich.filesize import decimal

    return decimal(size)


def _files_of(listing: Listing, wanted: Sequence[DataSet]) -> list[RemoteFile]:
    """The files of these data sets, archives first: rows without frames are worth nothing."""
    names = {file.name for file in listing.files}
    for dataset in wanted:
        if dataset.file_name not in names:
            raise DataError(
                f"{REPOSITORY} has no {FOLDER}/{dataset.file_name} at this revision: "
                "name another with --revision."
            )
        if not any(_may_hold_frames(name, [dataset]) for name in names):
            raise DataError(
                f"{REPOSITORY} has no archive with the frames of {dataset.acronym}: "
                "name another with --revision."
            )
    rows = {dataset.file_name for dataset in wanted}
    files = [file for file in listing.files if file.name in rows or _may_hold_frames(file.name, wanted)]
    return sorted(files, key=lambda file: (file.name in rows, file.name))


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


def _check_space(missing: Sequence[RemoteFile], staging: Path) -> None:
    needed = sum(max(file.size - size_of(path_in(staging, file)), 0) for file in missing)
    free = shutil.disk_usage(staging).free
    if needed > free:
        raise DataError(
            f"{shown(needed)} are to be downloaded and {shown(free)} are free where {staging.parent} is: "
            "free some space, name a folder elsewhere, or choose data sets with --dataset."
        )


def _write(folder: Path, record: Record) -> None:
    replace_file(folder / RECORD, [json.dumps(record.to_json(), indent=2).encode() + b"\n"])


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
