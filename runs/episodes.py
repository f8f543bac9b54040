"""The episodes of a run: one JSON line for each that ended, appended whole.

Of an episode only its identity (dataset, sample, repeat) and its `outcome` are read. A line that is
torn or malformed is no episode: it is counted and owed, and never a crash.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import orjson

from runs.errors import RunBroken
from runs.files import LineFile, read_lines, replace_file

type Episode = dict[str, Any]
type Identity = tuple[str, str, int]

# How `append`, the only writer, begins a line whose names need no escapes: its identity, at a twentieth
# of the time.
_HEAD = re.compile(rb'\{"dataset":"[^"\\]*","sample":"[^"\\]*","repeat":\d+,"outcome":')


def identity(episode: Mapping[str, Any]) -> Identity:
    """Which episode it is. Raises `ValueError` if it does not say so, or has no outcome."""
    dataset, sample, repeat = episode.get("dataset"), episode.get("sample"), episode.get("repeat")
    if not (isinstance(dataset, str) and isinstance(sample, str) and isinstance(episode.get("outcome"), str)):
        raise ValueError("an episode needs a dataset, a sample and an outcome, each a string")
    if not isinstance(repeat, int) or isinstance(repeat, bool):
        raise ValueError("an episode needs a repeat, a whole number")
    return dataset, sample, repeat


class Episodes:
    """episodes.jsonl: anyone may read it, the holder of the folder's lock keeps and appends.

    `skipped` is how many lines the last `read` or `keep` passed over as torn or malformed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.skipped = 0
        self._file: LineFile | None = None

    def read(self) -> Iterator[Episode]:
        """All episodes in the order of the file, one in memory at a time.

        A folder that no writer has opened since may hold an identity twice: the last one counts,
        and only that is read.
        """
        for row in self._counted():
            if row is not None:
                yield row[1]

    def keep(
        self, retry: frozenset[str] = frozenset(), take: Callable[[Episode], object] = lambda episode: None
    ) -> set[Identity]:
        """The identities that are finished; afterwards the file holds exactly one line for each.

        Dropped are lines that are no episodes, all but the last of an identity, and those whose
        outcome is in `retry`. Each episode that is kept is given to `take`, in the order of the
        file. A file with nothing to drop is not touched.
        """
        self.close()
        finished: set[Identity] = set()
        dropped: set[int] = set()
        for number, row in enumerate(self._counted()):
            # An outcome to try again has also taken the earlier lines of its identity with it.
            if row is None or row[1]["outcome"] in retry:
                dropped.add(number)
            else:
                finished.add(row[0])
                take(row[1])
        if dropped:
            numbered = enumerate(read_lines(self.path))
            replace_file(self.path, (line for number, line in numbered if number not in dropped))
        return finished

    def replace(self, changed: Mapping[Identity, Mapping[str, Any]]) -> None:
        """Write the lines of these episodes anew, all at once; every other line stays byte for byte."""
        self.close()

        def lines() -> Iterator[bytes]:
            for line in read_lines(self.path):
                row = _decode(line)
                yield line if row is None or row[0] not in changed else _encode(changed[row[0]])

        if changed:
            replace_file(self.path, lines())

    def append(self, episode: Mapping[str, Any]) -> None:
        """Write one finished episode; once this returns, no kill can lose it.

        As JSON in UTF-8, which ends at the newline and nowhere else; a number that is none becomes null.
        """
        identity(episode)
        if self._file is None:
            self._file = LineFile.open(self.path)
        self._file.append(_encode(episode))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _counted(self) -> Iterator[tuple[Identity, Episode] | None]:
        """For each line the episode in it, or None where there is none or a later line is of the same."""
        last: dict[Identity, int] | None = None
        if not self._is_distinct():
            last = {row[0]: number for number, row in enumerate(self._rows()) if row}
        for number, row in enumerate(self._rows()):
            superseded = row is not None and last is not None and last.get(row[0]) != number
            yield None if superseded else row

    def _is_distinct(self) -> bool:
        """Whether the beginnings of the lines show that no identity is there twice."""
        seen: set[bytes] = set()
        for line in read_lines(self.path):
            head = _HEAD.match(line)
            if head is None or head[0] in seen:
                return False
            seen.add(head[0])
        return True

    def _rows(self) -> Iterator[tuple[Identity, Episode] | None]:
        from runs.schema import EpisodeLine, complaint  # its library takes as long to load as this package

        self.skipped = 0
        for number, line in enumerate(read_lines(self.path), 1):
            row = _decode(line)
            self.skipped += row is None
            if row is not None and (wrong := complaint(row[1], EpisodeLine)):
                raise RunBroken(
                    f"Line {number} of {self.path} is damaged ({wrong}): put the file back from a copy, "
                    "or delete the line to have its episode played again."
                )
            yield row


def _decode(line: bytes) -> tuple[Identity, Episode] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        try:
            episode = orjson.loads(line)
        except orjson.JSONDecodeError:
            episode = json.loads(line.decode("utf-8"))  # half a surrogate pair, or what is no JSON at all
        return (identity(episode), episode) if isinstance(episode, dict) else None
    except (ValueError, RecursionError):
        return None


def _encode(episode: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(episode, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:
        # An answer may hold half a surrogate pair, which no file takes as UTF-8: escaped to ASCII it does.
        return json.dumps(episode, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"
