"""Where two requests differ, and which stored one comes nearest: why something was a miss.

For people to read; what makes two requests the same is `cache.keys`' business.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Final

from cache.keys import Json
from cache.store import Entry

SHOWN = 60
_LEAD = 15
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class _Absent:
    """Stands where one side has nothing at all."""


_ABSENT: Final = _Absent()

type _Path = tuple[str | int, ...]
type _Side = Json | _Absent
type _Pair = tuple[_Path, _Side, _Side]


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where two values differ, e.g. `messages[0].parts[1].sha256`; the whole value is `$`.

    `old` and `new` are short forms, `(absent)` where there is nothing. `at` is the first character
    in which two texts differ.
    """

    path: str
    old: str
    new: str
    at: int | None = None

    def __str__(self) -> str:
        where = "" if self.at is None else f" from character {self.at}"
        return f"{self.path}{where}: {self.old} -> {self.new}"


def differences(old: Json, new: Json) -> list[Difference]:
    """Every place where `new` differs from `old`, keys sorted, lists in order."""
    return [_difference(*pair) for pair in _differing(old, new)]


def nearest(entries: Iterable[tuple[str, Entry]], asked: Json) -> tuple[str, Entry, list[Difference]] | None:
    """The stored request that differs from `asked` in the fewest places; of equals the newest."""
    best: tuple[str, Entry] | None = None
    fewest = 0
    for key, entry in entries:
        # One more than the best has is enough to know that it is worse.
        pairs = _differing(entry.asked, asked)
        count = sum(1 for _ in (pairs if best is None else islice(pairs, fewest + 1)))
        if best is None or (count, -entry.stored) < (fewest, -best[1].stored):
            best, fewest = (key, entry), count
    return None if best is None else (*best, differences(best[1].asked, asked))


def _differing(old: Json, new: Json) -> Iterator[_Pair]:
    """The places that differ, in order; iterative, because a stored value may be nested deeply."""
    pending: list[_Pair] = [((), old, new)]
    while pending:
        path, left, right = pending.pop()
        if type(left) is dict and type(right) is dict:
            keys = sorted(left.keys() | right.keys(), reverse=True)
            pending += [((*path, key), left.get(key, _ABSENT), right.get(key, _ABSENT)) for key in keys]
        elif type(left) is list and type(right) is list:
            sides = list(enumerate(zip_longest(left, right, fillvalue=_ABSENT)))
            pending += [((*path, index), *pair) for index, pair in reversed(sides)]
        elif type(left) is not type(right) or left != right or _signs_differ(left, right):
            yield path, left, right


def _signs_differ(left: _Side, right: _Side) -> bool:
    """Whether these equal values are 0.0 and -0.0, which have digests of their own."""
    return type(left) is float and repr(left) != repr(right)


def _difference(path: _Path, old: _Side, new: _Side) -> Difference:
    if isinstance(old, str) and isinstance(new, str):
        at = _first_difference(old, new)
        return Difference(_spelled(path), _around(old, at), _around(new, at), at)
    return Difference(_spelled(path), _short(old), _short(new))


def _first_difference(old: str, new: str) -> int:
    for index, (left, right) in enumerate(zip(old, new, strict=False)):
        if left != right:
            return index
    return min(len(old), len(new))


def _around(text: str, at: int) -> str:
    """`text` as JSON; of a long one the part that begins shortly before `at`."""
    if len(text) <= SHOWN:
        return _as_json(text)
    start = max(0, min(at - _LEAD, len(text) - SHOWN))
    end = start + SHOWN
    return ("…" if start else "") + _as_json(text[start:end]) + ("…" if end < len(text) else "")


def _short(value: _Side) -> str:
    if isinstance(value, _Absent):
        return "(absent)"
    if isinstance(value, str):
        return _around(value, 0)
    text = _as_json(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def _as_json(value: Json) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate cannot be printed; its escape can
        return json.dumps(value)
    return text


def _spelled(path: _Path) -> str:
    spelled = ""
    for step in path:
        if isinstance(step, int):
            spelled += f"[{step}]"
        elif _NAME.fullmatch(step):
            spelled += f".{step}" if spelled else step
        else:
            spelled += f"[{_as_json(step)}]"
    return spelled or "$"
