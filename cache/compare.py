"""Where two requests differ, and which stored one comes nearest: why something was a miss."""

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


# Stands where one side has nothing at all.
_ABSENT: Final = object()

type _Path = tuple[str | int, ...]
type _Pair = tuple[_Path, object, object]


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
    result = []
    for path, left, right in _differing(old, new):
        at = None
        if isinstance(left, str) and isinstance(right, str):
            pairs = enumerate(zip(left, right, strict=False))
            at = next((index for index, (a, b) in pairs if a != b), min(len(left), len(right)))
        result.append(Difference(_path_text(path), _short(left, at or 0), _short(right, at or 0), at))
    return result


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
        # 0.0 and -0.0 are equal, but have digests of their own.
        elif type(left) is not type(right) or left != right or repr(left) != repr(right):
            yield path, left, right


def _short(value: object, at: int) -> str:
    """`value` as JSON; of a long text the part that begins shortly before its character `at`."""
    if value is _ABSENT:
        return "(absent)"
    if isinstance(value, str) and len(value) > SHOWN:
        start = max(0, min(at - _LEAD, len(value) - SHOWN))
        end = start + SHOWN
        return ("…" if start else "") + _as_json(value[start:end]) + ("…" if end < len(value) else "")
    text = _as_json(value)
    return text if isinstance(value, str) or len(text) <= SHOWN else text[:SHOWN] + "…"


def _as_json(value: object) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate cannot be printed; its escape can
        return json.dumps(value)
    return text


def _path_text(path: _Path) -> str:
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _NAME.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{_as_json(step)}]"
    return text or "$"
