"""Find out what the environment's transform does to a picture, without decoding the picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

type Transform = Callable[[Any], Any]
type Size = tuple[int, int]

MAX_PIXELS = 50_000_000
TOO_MANY = f"would be shown with more than {MAX_PIXELS:,} pixels: replace it by a smaller one"
_UNKNOWN = "unknown here: install proactivebench 0.1.1"


class RefusedError(Exception):
    """Why a picture is not shown, to be said after its name."""


@dataclass(frozen=True, slots=True)
class Change:
    """The one thing that a transform does to a picture, in whole pixels."""

    name: Literal["crop", "resize"]
    numbers: tuple[int, ...]
    size: Size


class Recorder:
    """Stands in for a picture and notes what a transform does to it.

    `looked` is its size once somebody asked for it: it is measured only then.
    """

    __slots__ = ("_measure", "looked")

    def __init__(self, measure: Callable[[], Size]) -> None:
        self._measure = measure
        self.looked: Size | None = None

    @property
    def size(self) -> Size:
        self.looked = self.looked or self._measure()
        return self.looked

    def crop(self, box: Sequence[float]) -> Change:
        left, top, right, bottom = box
        if not all(map(math.isfinite, box)) or right < left or bottom < top:
            raise RefusedError(f"cannot be cropped to {tuple(box)}: mend the row")
        # As Pillow rounds, so that equal crops have equal identities.
        edges = (round(left), round(top), round(right), round(bottom))
        return Change("crop", edges, checked_size((edges[2] - edges[0], edges[3] - edges[1])))

    def resize(self, size: Sequence[int]) -> Change:
        width, height = size
        return Change("resize", (width, height), checked_size((width, height)))

    def __getattr__(self, name: str) -> Any:
        raise RefusedError(f"is changed by {name!r}, which is {_UNKNOWN}")


def recorded(recorder: Recorder, transform: Transform) -> Change | None:
    """What the transform does; None for nothing. Raises `RefusedError` for what is not known here."""
    result = transform(recorder)
    if result is recorder:
        return None
    if isinstance(result, Change):
        return result
    raise RefusedError(f"is changed in a way that is {_UNKNOWN}")


def fitted(size: Size, edge: int) -> Size | None:
    """The largest size of these proportions with no edge longer than `edge`; None when it is this one."""
    longest = max(size)
    if longest <= edge:
        return None
    return max(1, size[0] * edge // longest), max(1, size[1] * edge // longest)


def checked_size(size: Size) -> Size:
    """The size, if a picture may be shown with it. Raises `RefusedError`."""
    if min(size) < 1:
        raise RefusedError(f"would be cut to {size[0]} x {size[1]} pixels: mend the row")
    if size[0] * size[1] > MAX_PIXELS:
        raise RefusedError(TOO_MANY)
    return size
