"""`pbclient data download`: the published data into a folder, all or nothing.

Files arrive in a folder beside the others, where an interrupted download goes on; when all are there
and are what the hub says they are, they are moved to their places and the record is written.
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
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from pbclient.benchmark.package import DATA_SETS, DataSet, data_set
from pbclient.benchmark.paper import FOLDER, REPOSITORY
from pbclient.data.home import RECORD, Installed, Record, recorded
from pbclient.data.hub import Hub, Listing, RemoteFile, digest_of, size_of
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
        """Fetch what is missing. Raises `InputError`; the same again goes on where it stopped."""
        named = [data_set(name) for name in self.datasets]
        _refuse_no_folder(self.folder)
        listing = self.hub.listing(self.revision)
        with _disk(self.folder), _alone(self.folder) as staging:
            _drop_others(staging, listing)
            record = self._record(listing, named)
            # Those that are there are told apart by digest: a size says little.
            missing = [file for file in _chosen(listing, record) if not self._is_there(file, watch)]
            _check_space(missing, staging)
            for file in missing:
                self._fetch(listing.commit, file, staging, watch)
            return self._install(record, missing, staging)

    def _record(self, listing: Listing, named: Sequence[DataSet]) -> Record:
        """What the folder shall hold: what is asked for, and what is there, all of one commit."""
        old = recorded(self.folder)
        kept = {data_set(name) for name in old.datasets} if old else set()
        wanted = [each for each in DATA_SETS if not named or each in named or each in kept]
        record = Record(listing.commit, tuple(each.acronym for each in wanted))
        chosen = _chosen(listing, record)
        for each in wanted:
            _refuse_incomplete(each, chosen)
        return replace(record, files={file.name: Installed(file.size, file.digest) for file in chosen})

    def _is_there(self, file: RemoteFile, watch: Watch) -> bool:
        path = self.folder / file.name
        if not os.path.lexists(path):
            return False
        if size_of(path) == file.size and digest_of(path, file.digest) == file.digest:
            watch.say(f"{file.name}: already there")
            return True
        old = recorded(self.folder)
        if old is None or file.name not in old.files:
            raise DataError(f"{path} is not the published file: move it away, or name another folder.")
        return False

    def _fetch(self, commit: str, file: RemoteFile, staging: Path, watch: Watch) -> None:
        part = _part(staging, file)
        had = size_of(part)
        watch.progress(file.name, had, file.size)
        self.hub.fetch(commit, file, part, lambda have: watch.progress(file.name, have, file.size))
        part.touch()  # an empty file is never asked for
        if size_of(part) != file.size or digest_of(part, file.digest) != file.digest:
            part.unlink()
            raise DataError(
                f"{file.name} has arrived damaged and was thrown away: run the same command again, and if it "
                "stays so name another --revision."
            )
        went_on = f", continued after {shown(had)}" if had else ""
        watch.say(f"{file.name}: {shown(file.size)}{went_on}")

    def _install(self, record: Record, arrived: Sequence[RemoteFile], staging: Path) -> Record:
        """Move what has arrived to its place; from the first move to the last the record says so."""
        old, done = recorded(self.folder), replace(record, complete=True)
        if old == done and not arrived:
            return old
        before = dict(old.files) if old else {}
        _write(self.folder, replace(record, files={**before, **record.files}))
        for file in arrived:
            part = _part(staging, file)
            _sync(part)
            part.replace(self.folder / file.name)
        for name in before.keys() - record.files.keys():
            # An archive that is no longer published would go before those that are.
            (self.folder / name).unlink(missing_ok=True)
        _write(self.folder, done)
        return done


def shown(size: int) -> str:
    """Bytes as people read them."""
    from rich.filesize import decimal

    return decimal(size)


def _chosen(listing: Listing, record: Record) -> list[RemoteFile]:
    """The files of some data sets: archives first, because rows without frames are worth nothing."""
    wanted = [data_set(name) for name in record.datasets]
    rows = {each.file_name for each in wanted}
    found = [file for file in listing.files if file.name in rows or _may_belong(file, wanted)]
    return sorted(found, key=lambda file: (file.name in rows, file.name))


def _may_belong(file: RemoteFile, wanted: Sequence[DataSet]) -> bool:
    """Whether this archive is of one of the data sets, or of none by its name."""
    if not file.name.lower().endswith(".zip"):
        return False
    owners = [each for each in DATA_SETS if _names(each, file.name)]
    return not owners or any(each in wanted for each in owners)


def _names(each: DataSet, name: str) -> bool:
    """Whether a file's name begins with that of a data set."""
    return any(re.match(rf"{re.escape(said)}(?![a-z0-9])", name, re.I) for said in (each.stem, each.acronym))


def _refuse_incomplete(each: DataSet, chosen: Sequence[RemoteFile]) -> None:
    names = [file.name for file in chosen]
    fix = "name another --revision"
    if each.file_name not in names:
        raise DataError(f"{REPOSITORY} has no {FOLDER}/{each.file_name} at this revision: {fix}.")
    if not any(_may_belong(file, [each]) for file in chosen):
        raise DataError(f"{REPOSITORY} has no archive with the frames of {each.acronym}: {fix}.")


def _refuse_no_folder(folder: Path) -> None:
    if os.path.lexists(folder) and not folder.is_dir():
        raise DataError(f"{folder} is not a folder: name another.")


def _check_space(missing: Sequence[RemoteFile], staging: Path) -> None:
    needed = sum(file.size - min(size_of(_part(staging, file)), file.size) for file in missing)
    free = shutil.disk_usage(staging).free
    if needed > free:
        raise DataError(
            f"{shown(needed)} are to be downloaded and {shown(free)} are free where {staging.parent} is: "
            "free some space, name a folder elsewhere, or choose data sets with --dataset."
        )


def _part(staging: Path, file: RemoteFile) -> Path:
    """Where a file arrives. Named by its digest too, so that none goes on with bytes of another revision."""
    return staging / f"{file.name}.{file.digest[-16:]}"


def _write(folder: Path, record: Record) -> None:
    replace_file(folder / RECORD, [json.dumps(record.to_json(), indent=2).encode() + b"\n"])


def _sync(path: Path) -> None:
    # Else the record could outlive, in a loss of power, the bytes that it vouches for.
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _drop_others(staging: Path, listing: Listing) -> None:
    """Throw away parts of files that are no longer published."""
    published = {_part(staging, file) for file in listing.files}
    for path in staging.iterdir():
        if path not in published and path.name != _LOCK:
            path.unlink()


@contextmanager
def _alone(folder: Path) -> Iterator[Path]:
    """The place where files arrive, for one download at a time; gone afterwards when it is empty."""
    staging = folder / STAGING
    staging.mkdir(parents=True, exist_ok=True)
    with (staging / _LOCK).open("wb") as lock:
        if not _locked(lock.fileno(), staging / _LOCK):
            raise DataError(f"Another download to {folder} is running: wait for its end.")
        try:
            yield staging
        finally:
            with suppress(OSError):
                if [each.name for each in staging.iterdir()] == [_LOCK]:
                    (staging / _LOCK).unlink()
                    staging.rmdir()


def _locked(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it may have taken the file away since it was opened here.
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


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
            "again, which goes on where this one stopped."
        ) from error
