"""The data folder in its published layout: which samples a filter keeps, and their rows.

Rows are untrusted and many: each is checked once when the folder is opened, only its place in
its file is kept, and it is read again when its episode starts.
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
        path = self.folder / data_set(sample.dataset).file_name
        try:
            if sample.dataset not in self._opened:
                self._opened[sample.dataset] = os.open(path, os.O_RDONLY)
            line = os.pread(self._opened[sample.dataset], sample.length, sample.offset)
        except OSError as error:
            raise _unreadable(path, error) from error
        if _mark(line) != sample.mark:
            os.close(self._opened.pop(sample.dataset))  # who asks again is to see what is there by then
            raise DataError(f"{path} has changed since the run began: start the run again.")
        return rows.read(line)

    def close(self) -> None:
        """Let go of the rows and the frames."""
        while self._opened:
            os.close(self._opened.popitem()[1])
        self.frames.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_data(folder: Path, datasets: Sequence[str] | None = None, keep: Filter = OFFICIAL) -> DataFolder:
    """Check a data folder and find the samples that `keep` keeps, of the named data sets or of all.

    Raises `DataError` for what cannot be used, a sample that a user's list keeps and the data lack among it.
    """
    digest = hashlib.sha256()
    samples: dict[str, tuple[Sample, ...]] = {}
    sources: dict[str, str] = {}
    for dataset in _chosen(folder, {data_set(name) for name in datasets or ()}, keep):
        acronym, path = dataset.acronym, folder / dataset.file_name
        source = hashlib.sha256()
        samples[acronym] = tuple(_samples(path, acronym, keep, digest.update, source.update))
        sources[acronym] = source.hexdigest()
        ids = keep.ids(acronym) if keep.listed else None
        absent = sorted((ids or frozenset()) - {int(sample.id) for sample in samples[acronym]})
        if ids and absent:
            # A run on fewer samples than the user listed would not be the run that was asked for.
            raise DataError(
                f"{path} lacks {len(absent)} of the {len(ids)} samples that {keep.name} keeps "
                f"(ids {shortly(absent)[1:-1]}): the list was made from other data."
            )
    return DataFolder(folder, samples, digest.hexdigest(), sources, FrameStore(folder))


def _chosen(folder: Path, named: set[DataSet], keep: Filter) -> list[DataSet]:
    """The data sets to open, in table order: those named, or all of which the filter keeps anything."""
    try:
        present = _present(folder)
        if not present:
            raise DataError(_nothing_here(folder))
    except OSError as error:
        raise _unreadable(folder, error) from error
    missing = [dataset for dataset in DATA_SETS if dataset not in present]
    for dataset in missing:
        if dataset in named:
            there = ", ".join(other.acronym for other in present)
            raise DataError(
                f"{folder} holds no {dataset.file_name}, which --dataset {dataset.acronym} needs: "
                f"download it, or choose from what is there ({there})."
            )
        if not named and keep.listed and keep.ids(dataset.acronym):
            raise DataError(
                f"{folder} holds no {dataset.file_name}, of which {keep.name} keeps samples: download it, "
                "or choose data sets with --dataset."
            )
    chosen = [dataset for dataset in present if not named or dataset in named]
    empty = [dataset for dataset in chosen if keep.ids(dataset.acronym) == frozenset()]
    if empty and (named or len(empty) == len(chosen)):
        names = ", ".join(dataset.acronym for dataset in empty)
        raise DataError(f"{keep.name} keeps no sample of {names}: choose other data sets, or another filter.")
    return [dataset for dataset in chosen if dataset not in empty]


def _present(folder: Path) -> list[DataSet]:
    for dataset in DATA_SETS:
        path = folder / dataset.file_name
        if path.is_symlink() and not path.exists():
            raise DataError(f"{path} is a link to a file that is not there: download it again.")
    return [dataset for dataset in DATA_SETS if (folder / dataset.file_name).is_file()]


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
    names = ", ".join(dataset.file_name for dataset in DATA_SETS)
    return f"{folder} holds none of the data files ({names}): give {wanted}."


def _samples(path: Path, acronym: str, keep: Filter, feed: Feed, feed_all: Feed) -> Iterator[Sample]:
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
            row_id = sample_id(row)
            if ids is not None and row_id not in ids:
                continue
            check_row(acronym, row)
            feed(rows.spelled(row) + b"\n")
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error}.") from None
        first = lines.setdefault(row_id, number)
        if first != number:
            raise DataError(f"{path}: lines {first} and {number} have the same id {row_id}: remove one.")
        yield Sample(acronym, str(row_id), offset, len(line), _mark(line))
    if not lines and not keep.listed:
        raise DataError(f"{path} holds no sample that the benchmark keeps: download it again.")


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
