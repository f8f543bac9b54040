"""The episodes of a run: one JSON line for each that ended, appended whole.

Of an episode only its identity (dataset, sample, repeat) and its `outcome` are known here. A line
that is torn or malformed is no episode: it is counted and owed, and never a crash.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from runs.files import LineFile, read_lines, replace_file

type Episode = dict[str, Any]
type Identity = tuple[str, str, int]

# Escaped to ASCII: an answer may hold half a surrogate pair, which no file takes as UTF-8.
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def identity(episode: Mapping[str, Any]) -> Identity:
    """Which episode it is. Raises `ValueError` if it does not say so, or has no outcome."""
    dataset, sample, repeat = episode.get("dataset"), episode.get("sample"), episode.get("repeat")
    if not (isinstance(dataset, str) and isinstance(sample, str) and isinstance(episode.get("outcome"), str)):
        raise ValueError("an episode needs a dataset, a sample and an outcome, each a string")
    if not isinstance(repeat, int) or isinstance(repeat, bool):
        raise ValueError("an episode needs a repeat, a whole number")
    turns = episode.get("turns", [])
    if not (isinstance(turns, list) and all(isinstance(turn, dict) for turn in turns)):
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
        last = {identity(each): number for number, each in enumerate(self._lines()) if each is not None}
        counted = set(last.values())
        for number, episode in enumerate(self._lines()):
            if episode is not None and number in counted:
                yield episode

    def keep(self, retry: frozenset[str] = frozenset()) -> set[Identity]:
        """The identities that are finished; afterwards the file holds exactly one line for each.

        Dropped are lines that are no episodes, all but the last of an identity, and those whose
        outcome is in `retry`. A file with nothing to drop is not touched.
        """
        self.close()
        last: dict[Identity, int] = {}
        count = 0
        for count, episode in enumerate(self._lines(), start=1):
            if episode is not None:
                # An outcome to try again also takes its earlier lines with it.
                last[identity(episode)] = 0 if episode["outcome"] in retry else count
        kept = {number for number in last.values() if number}
        if len(kept) < count:
            numbered = enumerate(read_lines(self.path), start=1)
            replace_file(self.path, (line for number, line in numbered if number in kept))
        return {which for which, number in last.items() if number}

    def replace(self, changed: Mapping[Identity, Mapping[str, Any]]) -> None:
        """Write the lines of these episodes anew, all at once; every other line stays byte for byte."""
        self.close()
        if changed:
            replace_file(self.path, (_line(changed, line) for line in read_lines(self.path)))

    def append(self, episode: Mapping[str, Any]) -> None:
        """Write one finished episode; once this returns, no kill can lose it."""
        identity(episode)
        if self._file is None:
            self._file = LineFile.open(self.path)
        self._file.append(_encode(episode).encode("ascii") + b"\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lines(self) -> Iterator[Episode | None]:
        self.skipped = 0
        for line in read_lines(self.path):
            episode = _decode(line)
            self.skipped += episode is None
            yield episode


def _line(changed: Mapping[Identity, Mapping[str, Any]], line: bytes) -> bytes:
    episode = _decode(line)
    new = None if episode is None else changed.get(identity(episode))
    return line if new is None else _encode(new).encode("ascii") + b"\n"


def _decode(line: bytes) -> Episode | None:
    if not line.endswith(b"\n"):
        return None
    try:
        episode = json.loads(line.decode("utf-8"))
        if not isinstance(episode, dict):
            return None
        identity(episode)
    except (ValueError, RecursionError):
        return None
    return episode
