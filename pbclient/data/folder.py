"""The data folder in its published layout: which samples a filter keeps, and their rows.

Rows are untrusted and many: each is checked once when the folder is opened, only its place in
its file is kept, and it is read again when its episode starts. Frames are
`pbclient/images/frames.py`'s business; what a row means is the environment's.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from reprlib import repr as shortly
from typing import Any, Self

from pbclient.benchmark.package import DATA_SETS, DataSet, data_set, skip_row
from pbclient.data import rows
from pbclient.data.filters import OFFICIAL, Filter
from pbclient.data.rows import check_row, sample_id
from pbclient.errors import DataError
from pbclient.images.frames import FrameStore

MAX_LINE_BYTES = 4 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"

type Feed = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample: its data set and id, and where its row is; `mark` tells whether it is still the same."""

    dataset: str
    id: str
    offset: int
    length: int
    mark: bytes


@dataclass(frozen=True)
class DataFolder:
    """An open data folder: the kept samples of each data set in file order, their rows and frames.

    `digest` depends on the kept rows and their order, and on nothing else. `sources` has a digest
    for each data set, of all its rows whatever the filter: equal ones mean equal samples under equal ids.
    A file from which rows are read stays open: what has been put in its place meanwhile is not played.
    """

    folder: Path
    samples: Mapping[str, tuple[Sample, ...]]
    digest: str
    sources: Mapping[str, str]
    frames: FrameStore
    _opened: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def described(self) -> dict[str, Any]:
        """What run.json says of the data; what two runs are matched by."""
        return {"digest": self.digest, "sources": dict(self.sources)}

    def row(self, sample: Sample) -> dict[str, Any]:
        """The row of a sample, read again. Raises `DataError` when the file has changed."""
        try:
            line = os.pread(self._descriptor(sample.dataset), sample.length, sample.offset)
        except OSError as error:
            raise _unreadable(self._path(sample.dataset), error) from error
        if _mark(line) != sample.mark:
            os.close(self._opened.pop(sample.dataset))  # who asks again is to see what is there by then
            raise DataError(
                f"{self._path(sample.dataset)} has changed since the run began: start the run again."
            )
        return rows.read(line)

    def close(self) -> None:
        """Let go of the rows and the frames."""
        while self._opened:
            os.close(self._opened.popitem()[1])
        self.frames.close()

    def _path(self, dataset: str) -> Path:
        return self.folder / data_set(dataset).file_name

    def _descriptor(self, dataset: str) -> int:
        if dataset not in self._opened:
            self._opened[dataset] = os.open(self._path(dataset), os.O_RDONLY)
        return self._opened[dataset]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_data(folder: Path, datasets: Sequence[str] | None = None, keep: Filter = OFFICIAL) -> DataFolder:
    """Check a data folder and find the samples that `keep` keeps, of the named data sets or of all.

    Raises `DataError` for what cannot be used, a sample that a user's list keeps and the data lack among it.
    """
    named = {data_set(name) for name in datasets or ()}
    digest = hashlib.sha256()
    samples: dict[str, tuple[Sample, ...]] = {}
    sources: dict[str, str] = {}
    for each in _chosen(folder, named, keep):
        source = hashlib.sha256()
        found = tuple(_kept(folder / each.file_name, each.acronym, keep, digest.update, source.update))
        _refuse_absent(folder / each.file_name, each.acronym, keep, found)
        samples[each.acronym], sources[each.acronym] = found, source.hexdigest()
    return DataFolder(folder, samples, digest.hexdigest(), sources, FrameStore(folder))


def _chosen(folder: Path, named: set[DataSet], keep: Filter) -> list[DataSet]:
    """The data sets to open, in table order."""
    try:
        present = _present(folder)
        if not present:
            raise DataError(_nothing_here(folder))
    except OSError as error:
        raise _unreadable(folder, error) from error
    missing = [each for each in DATA_SETS if each in named and each not in present]
    if missing:
        raise DataError(
            f"{folder} holds no {missing[0].file_name}, which --dataset {missing[0].acronym} needs: "
            f"download it, or choose from what is there ({', '.join(each.acronym for each in present)})."
        )
    unread = [each for each in DATA_SETS if each not in present and keep.listed and keep.ids(each.acronym)]
    if unread and not named:
        raise DataError(
            f"{folder} holds no {unread[0].file_name}, of which {keep.name} keeps samples: download it, "
            "or choose data sets with --dataset."
        )
    return _with_samples([each for each in present if not named or each in named], named, keep)


def _with_samples(chosen: list[DataSet], named: set[DataSet], keep: Filter) -> list[DataSet]:
    """Those that the filter keeps anything of; one that the user named has to be among them."""
    empty = [each for each in chosen if keep.ids(each.acronym) == frozenset()]
    if empty and (named or len(empty) == len(chosen)):
        names = ", ".join(each.acronym for each in empty)
        raise DataError(f"{keep.name} keeps no sample of {names}: choose other data sets, or another filter.")
    return [each for each in chosen if each not in empty]


def _present(folder: Path) -> list[DataSet]:
    return [each for each in DATA_SETS if _is_there(folder / each.file_name)]


def _is_there(path: Path) -> bool:
    if path.is_symlink() and not path.exists():
        raise DataError(f"{path} is a link to a file that is not there: download it again.")
    return path.is_file()


def _nothing_here(folder: Path) -> str:
    """Why this is no data folder, and which may be meant."""
    wanted = "the folder that holds the *_preprocessed.jsonl files"
    if not folder.exists():
        return f"There is no data folder {folder}: give {wanted}."
    if not folder.is_dir():
        return f"{folder} is not a folder: give {wanted}."
    # The published data is in test/; where there is such a folder, it is meant.
    children = sorted(folder.iterdir(), key=lambda child: (child.name != "test", child.name))
    below = next((child for child in children if child.is_dir() and _present(child)), None)
    if below is not None:
        return f"{folder} is one level too high: give {below}, {wanted}."
    above = folder.resolve().parent
    if _present(above):
        return f"{folder} is one level too low: give {above}, {wanted}."
    names = ", ".join(each.file_name for each in DATA_SETS)
    return f"{folder} holds none of the data files ({names}): give {wanted}."


def _kept(path: Path, acronym: str, keep: Filter, feed: Feed, feed_all: Feed) -> Iterator[Sample]:
    """The samples of one file that are kept; what they hold is fed to one digest, every row to the other."""
    ids = keep.ids(acronym)
    lines: dict[int, int] = {}
    feed(acronym.encode() + b"\n")
    for number, offset, line in _lines(path):
        feed_all(line.strip() + b"\n")
        try:
            row = rows.read(line)
            if skip_row(row):
                continue
            found = sample_id(row)
            if ids is not None and found not in ids:
                continue
            check_row(acronym, row)
            feed(rows.spelled(row) + b"\n")
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error}.") from None
        first = lines.setdefault(found, number)
        if first != number:
            raise DataError(f"{path}: lines {first} and {number} have the same id {found}: remove one.")
        yield Sample(acronym, str(found), offset, len(line), _mark(line))
    if not lines and not keep.listed:
        raise DataError(f"{path} holds no sample that the benchmark keeps: download it again.")


def _refuse_absent(path: Path, acronym: str, keep: Filter, found: tuple[Sample, ...]) -> None:
    """A run on fewer samples than the user listed would not be the run that was asked for."""
    ids = keep.ids(acronym)
    if not keep.listed or ids is None:
        return
    absent = sorted(ids - {int(sample.id) for sample in found})
    if absent:
        raise DataError(
            f"{path} lacks {len(absent)} of the {len(ids)} samples that {keep.name} keeps "
            f"(ids {shortly(absent)[1:-1]}): the list was made from other data."
        )


def _lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Number, place and bytes of every line that is not blank."""
    try:
        with path.open("rb") as file:
            offset = len(_BOM) if file.read(len(_BOM)) == _BOM else 0
            file.seek(offset)
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise DataError(f"{path}, line {number}: more than {MAX_LINE_BYTES >> 20} MiB is no row.")
                if line.strip():
                    yield number, offset, line
                offset += len(line)
    except OSError as error:
        raise _unreadable(path, error) from error


def _mark(line: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=8).digest()


def _unreadable(path: Path | str, error: OSError) -> DataError:
    return DataError(f"{path} cannot be read: {error.strerror or error}.")
