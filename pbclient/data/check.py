"""`pbclient data check`: whether a data folder holds what is published, and every frame that can be shown.

Rows are counted against the installed filter and the published totals, frames against the rows. A row or
a frame is unusable when a run could not use it.
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


@dataclass(frozen=True)
class Counts:
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
    """The result of a check: the folder is sound when there are no problems. `samples`: the built-in ones."""

    folder: Path
    samples: bool
    datasets: tuple[Counts, ...]
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
    if not any((folder / dataset.file_name).exists() for dataset in DATA_SETS):
        open_data(folder)
    record = recorded(folder)
    named = {data_set(name) for name in datasets or (record.datasets if record else ())}
    counts: list[Counts] = []
    with FrameStore(folder) as frames:
        checker = _Checker(folder, frames, decode, tell or (lambda *_: None))
        for dataset in DATA_SETS:
            if not named or dataset in named:
                counts += checker.dataset(dataset)
    if not (checker.samples or checker.lacking):
        checker.problems += wrong_totals(counts)
    return Report(folder, checker.samples, tuple(counts), tuple(checker.problems))


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

    def dataset(self, dataset: DataSet) -> list[Counts]:
        """Rows, then frames; nothing when the rows cannot be used."""
        try:
            data = open_data(self.folder, [dataset.acronym])
        except DataError as error:
            self.problems.append(f"{dataset.acronym}: {error}")
            return []
        with data:
            rows, dropped = self._rows(dataset)
            paths = self._paths(dataset, data)
        unusable = self._frames(dataset, paths)
        kept = len(data.samples[dataset.acronym])
        published = len(kept_ids(dataset.acronym))
        return [Counts(dataset.acronym, rows, dropped, kept, published, len(paths), unusable)]

    def _rows(self, dataset: DataSet) -> tuple[int, int]:
        """Rows in all and rows dropped by a field; those that are missing are problems."""
        from pbclient.data.samples import is_builtin

        path = self.folder / dataset.file_name
        with path.open("rb") as file:
            rows = [json.loads(line) for line in file if line.strip()]
        kept = kept_ids(dataset.acronym)
        missing = sorted(kept.difference(row["id"] for row in rows if isinstance(row.get("id"), int)))
        if missing:
            if is_builtin(self.folder, [dataset.acronym]):
                self.samples = True
            else:
                self.lacking = True
                self.problems.append(
                    f"{dataset.acronym}: {path.name} lacks {len(missing):,} of the {len(kept):,} samples "
                    f"that the benchmark keeps (ids {_some(missing)}): download it again."
                )
        return len(rows), sum(map(skip_row, rows))

    def _paths(self, dataset: DataSet, data: DataFolder) -> list[str]:
        """The frames that the kept samples can show, in order."""
        paths: set[str] = set()
        failed: dict[str, EnvironmentFailed] = {}
        short: list[str] = []
        for sample in data.samples[dataset.acronym]:
            row = data.row(sample)
            if dataset.acronym == "ROD" and row["num_images"] != ROD_FRAMES_EACH:
                short.append(sample.id)
            try:
                paths |= reachable_frames(dataset.acronym, row)
            except EnvironmentFailed as error:
                failed[sample.id] = error
        if short:
            self.problems.append(
                f"ROD: a sample has {ROD_FRAMES_EACH} frames, but not these: {_some(short)}."
            )
        if failed:
            names, first = _some(list(failed)), next(iter(failed.values()))
            self.problems.append(f"{dataset.acronym}: samples cannot be played ({names}). {first}")
        return sorted(paths)

    def _frames(self, dataset: DataSet, paths: Sequence[str]) -> tuple[str, ...]:
        """The frames that cannot be shown: not there, or with `decode` not read as a run reads them."""
        from pbclient.images.pictures import Pictures

        failed: dict[str, Exception] = {}
        number = 0

        async def look(pictures: Pictures, path: str) -> None:
            nonlocal number
            try:
                if self.decode:
                    await (await pictures.open(path, lambda image: image)).encode()
                else:
                    self.frames.head(path, 1)
            except (FrameError, DataError) as error:
                failed[path] = error
            number += 1
            self.tell(dataset.acronym, number, len(paths))

        async def look_at_all(pictures: Pictures, batch: Iterable[str]) -> None:
            await asyncio.gather(*(look(pictures, path) for path in batch))

        with Pictures(self.frames, kept_bytes=0) as pictures, asyncio.Runner() as runner:
            for batch in batched(paths, _AT_ONCE):
                runner.run(look_at_all(pictures, batch))
        names = [path for path in paths if path in failed]
        if names:
            self.problems.append(
                f"{dataset.acronym}: {len(names):,} of {len(paths):,} frames cannot be shown "
                f"({_some(names)}). {failed[names[0]]}"
            )
        return tuple(names)


def wrong_totals(counts: Sequence[Counts]) -> Iterator[str]:
    """What differs from the published totals; these are known over all data sets and for ROD only."""
    for count in counts:
        if count.dataset == "ROD" and count.rows != ROD_SAMPLES:
            yield f"ROD: {count.rows:,} rows, and {ROD_SAMPLES} samples are published."
    if len(counts) < len(DATA_SETS):
        return
    rows, dropped = (sum(count.rows for count in counts), sum(count.dropped for count in counts))
    # The source does not say whether it counts those that are dropped by a field.
    if SAMPLES_BEFORE_FILTER not in (rows, rows - dropped):
        yield f"All: {rows:,} rows, and {SAMPLES_BEFORE_FILTER:,} samples are published."
    kept = sum(count.kept for count in counts)
    if kept != SAMPLES_KEPT:
        yield f"All: {kept:,} samples kept, and {SAMPLES_KEPT:,} are published."


def _some(items: Sequence[object]) -> str:
    """The first few, and how many more."""
    named = ", ".join(map(str, items[:NAMED]))
    return named if len(items) <= NAMED else f"{named} and {len(items) - NAMED:,} more"
