"""The episodes of a run: one JSON line for each that ended, appended whole.

Of an episode only its identity (dataset, sample, repeat) and its `outcome` are known here. A line
that is torn or malformed is no episode: it is counted and owed, and never a crash.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import orjson

from runs.files import LineFile, read_lines, replace_file

type Episode = dict[str, Any]
type Identity = tuple[str, str, int]
type _Found = tuple[Identity, Episode]

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
    turns = episode.get("turns", [])
    if not (isinstance(turns, list) and all([isinstance(turn, dict) for turn in turns])):
        raise ValueError("the turns of an episode are a list of objects")
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
        for found in self._counted():
            if found is not None:
                yield found[1]

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
        for number, found in enumerate(self._counted()):
            # An outcome to try again has also taken the earlier lines of its identity with it.
            if found is None or found[1]["outcome"] in retry:
                dropped.add(number)
            else:
                finished.add(found[0])
                take(found[1])
        if dropped:
            numbered = enumerate(read_lines(self.path))
            replace_file(self.path, (line for number, line in numbered if number not in dropped))
        return finished

    def replace(self, changed: Mapping[Identity, Mapping[str, Any]]) -> None:
        """Write the lines of these episodes anew, all at once; every other line stays byte for byte."""
        self.close()
        if changed:
            replace_file(self.path, (_line(changed, line) for line in read_lines(self.path)))

    def append(self, episode: Mapping[str, Any]) -> None:
        """Write one finished episode; once this returns, no kill can lose it.

        As JSON in UTF-8, which ends at the newline and nowhere else; a number that is none becomes null.
        """
        identity(episode)
        if self._file is None:
            self._file = LineFile.open(self.path)
        self._file.append(_encoded(episode))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _counted(self) -> Iterator[_Found | None]:
        """For each line the episode in it, or None where there is none or a later line is of the same."""
        last: dict[Identity, int] | None = None
        if not self._is_distinct():
            last = {found[0]: number for number, found in enumerate(self._lines()) if found}
        for number, found in enumerate(self._lines()):
            superseded = found is not None and last is not None and last.get(found[0]) != number
            yield None if superseded else found

    def _is_distinct(self) -> bool:
        """Whether the beginnings of the lines show that no identity is there twice."""
        seen: set[bytes] = set()
        for line in read_lines(self.path):
            head = _HEAD.match(line)
            if head is None or head[0] in seen:
                return False
            seen.add(head[0])
        return True

    def _lines(self) -> Iterator[_Found | None]:
        self.skipped = 0
        for line in read_lines(self.path):
            found = _decode(line)
            self.skipped += found is None
            yield found


def _line(changed: Mapping[Identity, Mapping[str, Any]], line: bytes) -> bytes:
    found = _decode(line)
    new = None if found is None else changed.get(found[0])
    return line if new is None else _encoded(new)


def _decode(line: bytes) -> _Found | None:
    if not line.endswith(b"\n"):
        return None
    try:
        episode = _parsed(line)
        return (identity(episode), episode) if isinstance(episode, dict) else None
    except (ValueError, RecursionError):
        return None


def _encoded(episode: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(episode, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:
        # An answer may hold half a surrogate pair, which no file takes as UTF-8: escaped to ASCII it does.
        return json.dumps(episode, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def _parsed(line: bytes) -> object:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return json.loads(line.decode("utf-8"))
