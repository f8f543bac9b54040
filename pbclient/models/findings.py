"""What a check shows: for people a line, for programs a value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def to_json(findings: Sequence[Finding]) -> dict[str, Json]:
    """The values by name, and as `problems` the words of what is not good."""
    problems: list[Json] = [finding.says for finding in findings if not finding.good]
    return {**{finding.name: finding.value for finding in findings}, "problems": problems}
