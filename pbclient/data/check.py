"""`pbclient data check`: whether a data folder holds what is published, and every frame that can be shown.

Rows are counted against the installed filter and the published totals, frames against the rows. What
makes a row or a frame unusable is decided where a run decides it (`dataset`, `frames`, `pictures`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import batched
from pathlib import Path
from typing import Any

from pbclient.benchmark.package import DATA_SETS, DataSet, data_set, kept_ids, skip_row
from pbclient.benchmark.paper import ROD_FRAMES_EACH, ROD_SAMPLES, SAMPLES_BEFORE_FILTER, SAMPLES_KEPT
from pbclient.benchmark.search import reachable_frames
from pbclient.data.folder import DataFolder, open_data
from pbclient.data.home import recorded
from pbclient.errors import DataError, EnvironmentFailed, FrameError
from pbclient.images.frames import FrameStore

NAMED = 5  # how many of many are named in a line
_AT_ONCE = 32

# Frames looked at, of so many, in this data set.
type Tell = Callable[[str, int, int], None]
type Failed = tuple[str, str]


@dataclass(frozen=True)
class Found:
    """One data set: rows in its file, how many of them the benchmark drops by a field, samples kept, and
    frames that these can show. `published` is how many samples the installed filter keeps."""

    dataset: str
    rows: int
    dropped: int
    kept: int
    published: int
    frames: int
    unusable: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What was found. The folder is sound when there are no problems; `samples`: it is the built-in ones."""

    folder: Path
    samples: bool
    datasets: tuple[Found, ...]
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """For scripts; `unusable` names every frame that cannot be shown."""
        return {**asdict(self), "folder": str(self.folder), "sound": not self.problems}


def check(
    folder: Path, datasets: Sequence[str] = (), *, decode: bool = False, tell: Tell | None = None
) -> Report:
    """Check the named data sets, or those that the download was for, or all seven.

    With `decode` every picture is read whole. Raises `DataError` when this is no data folder at all.
    """
    if not any((folder / each.file_name).exists() for each in DATA_SETS):
        open_data(folder)
    with FrameStore(folder) as frames:
        checker = _Checker(folder, frames, decode, tell or (lambda *_: None))
        found = tuple(filter(None, map(checker.dataset, _expected(folder, datasets))))
    if not (checker.samples or checker.lacking):
        checker.problems += wrong_totals(found)
    return Report(folder, checker.samples, found, tuple(checker.problems))


def _expected(folder: Path, datasets: Sequence[str]) -> list[DataSet]:
    record = recorded(folder)
    names = datasets or (record.datasets if record else ())
    named = {data_set(name) for name in names}
    return [each for each in DATA_SETS if not named or each in named]


@dataclass
class _Checker:
    """Looks at one data set after the other and collects what is wrong."""

    folder: Path
    frames: FrameStore
    decode: bool
    tell: Tell
    samples: bool = False
    lacking: bool = False
    problems: list[str] = field(default_factory=list)

    def dataset(self, each: DataSet) -> Found | None:
        """Rows, then frames; None when the rows cannot be used."""
        try:
            data = open_data(self.folder, [each.acronym])
        except DataError as error:
            self.problems.append(f"{each.acronym}: {error}")
            return None
        with data:
            rows, dropped = self._rows(each, data)
            paths = self._paths(each, data)
        unusable = self._frames(each, paths)
        kept = len(data.samples[each.acronym])
        published = len(kept_ids(each.acronym))
        return Found(each.acronym, rows, dropped, kept, published, len(paths), unusable)

    def _rows(self, each: DataSet, data: DataFolder) -> tuple[int, int]:
        """Rows in all and rows dropped by a field; those that are missing are problems."""
        path = self.folder / each.file_name
        with path.open("rb") as file:
            read = [json.loads(line) for line in file if line.strip()]
        dropped = sum(map(skip_row, read))
        kept = kept_ids(each.acronym)
        missing = sorted(kept.difference(row["id"] for row in read if isinstance(row.get("id"), int)))
        if missing and not self._builtin(each, data):
            self.lacking = True
            self.problems.append(
                f"{each.acronym}: {path.name} lacks {len(missing):,} of the {len(kept):,} samples that the "
                f"benchmark keeps (ids {_some(missing)}): download it again."
            )
        return len(read), dropped

    def _builtin(self, each: DataSet, data: DataFolder) -> bool:
        """Whether these are the rows of the built-in samples."""
        from pbclient.data.samples import builtin_folder

        with open_data(builtin_folder(), [each.acronym]) as builtin:
            self.samples = self.samples or builtin.digest == data.digest
            return builtin.digest == data.digest

    def _paths(self, each: DataSet, data: DataFolder) -> list[str]:
        """The frames that the kept samples can show, in order."""
        paths: set[str] = set()
        failed: dict[str, EnvironmentFailed] = {}
        short: list[str] = []
        for sample in data.samples[each.acronym]:
            row = data.row(sample)
            if each.acronym == "ROD" and row["num_images"] != ROD_FRAMES_EACH:
                short.append(sample.id)
            try:
                paths |= reachable_frames(each.acronym, row)
            except EnvironmentFailed as error:
                failed[sample.id] = error
        if short:
            self.problems.append(
                f"ROD: a sample has {ROD_FRAMES_EACH} frames, but not these: {_some(short)}."
            )
        if failed:
            names, first = _some(list(failed)), next(iter(failed.values()))
            self.problems.append(f"{each.acronym}: samples cannot be played ({names}). {first}")
        return sorted(paths)

    def _frames(self, each: DataSet, paths: Sequence[str]) -> tuple[str, ...]:
        """The frames that cannot be shown."""
        looked = self._decoded(paths) if self.decode else map(self._looked_at, paths)
        failed: list[Failed] = []
        for number, failure in enumerate(looked, 1):
            failed += [failure] if failure else []
            self.tell(each.acronym, number, len(paths))
        names = [path for path, _ in failed]
        if failed:
            self.problems.append(
                f"{each.acronym}: {len(names):,} of {len(paths):,} frames cannot be shown "
                f"({_some(names)}). {failed[0][1]}"
            )
        return tuple(names)

    def _looked_at(self, path: str) -> Failed | None:
        """Whether a frame is there as a file, or begins where its archive says."""
        try:
            self.frames.head(path, 1)
        except (FrameError, DataError) as error:
            return path, str(error)
        return None

    def _decoded(self, paths: Sequence[str]) -> Iterator[Failed | None]:
        """The same of pictures read as a run reads them, every pixel of them."""
        from pbclient.images.pictures import Pictures

        async def one(pictures: Pictures, path: str) -> Failed | None:
            try:
                await (await pictures.open(path, lambda image: image)).encode()
            except (FrameError, DataError) as error:
                return path, str(error)
            return None

        async def some(pictures: Pictures, batch: Iterable[str]) -> list[Failed | None]:
            return await asyncio.gather(*(one(pictures, path) for path in batch))

        with Pictures(self.frames, kept_bytes=0) as pictures, asyncio.Runner() as runner:
            for batch in batched(paths, _AT_ONCE):
                yield from runner.run(some(pictures, batch))


def wrong_totals(found: Sequence[Found]) -> Iterator[str]:
    """What differs from the published totals; these are known over all data sets and for ROD only."""
    for each in found:
        if each.dataset == "ROD" and each.rows != ROD_SAMPLES:
            yield f"ROD: {each.rows:,} rows, and {ROD_SAMPLES} samples are published."
    if len(found) < len(DATA_SETS):
        return
    rows, dropped = (sum(each.rows for each in found), sum(each.dropped for each in found))
    # The source does not say whether it counts those that are dropped by a field.
    if SAMPLES_BEFORE_FILTER not in (rows, rows - dropped):
        yield f"All: {rows:,} rows, and {SAMPLES_BEFORE_FILTER:,} samples are published."
    kept = sum(each.kept for each in found)
    if kept != SAMPLES_KEPT:
        yield f"All: {kept:,} samples kept, and {SAMPLES_KEPT:,} are published."


def _some(items: Sequence[object]) -> str:
    """The first few, and how many more."""
    named = ", ".join(map(str, items[:NAMED]))
    return named if len(items) <= NAMED else f"{named} and {len(items) - NAMED:,} more"
