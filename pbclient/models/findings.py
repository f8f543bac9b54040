"""What a check found: for people a line, for programs a value. Who looks is other modules' business."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from providers import Json

_WIDTH = 14


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `name` is stable, `value` is for programs and `says` for people.

    What is not `good` has to be mended before a run; lines of `says` after the first stand below it.
    """

    name: str
    value: Json
    says: str
    good: bool = True

    def __str__(self) -> str:
        first, *rest = self.says.splitlines()
        label = self.name.replace("_", " ").ljust(_WIDTH)
        mark = "" if self.good else "! "
        return "\n".join([f"{label}{mark}{first}", *((" " * _WIDTH + line).rstrip() for line in rest)])


type Tell = Callable[[Finding], None]


def to_json(found: Iterable[Finding]) -> dict[str, Json]:
    """Everything by its name; `problems` are the words of what is not good."""
    found = list(found)
    problems: list[Json] = [each.says for each in found if not each.good]
    return {**{each.name: each.value for each in found}, "problems": problems}
