"""Options of commands, each declared once: the field of a configuration with its flag, help and rule.

The command line is made from these fields (`cli/options.py`), and a notebook fills the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields
from decimal import Decimal
from pathlib import Path
from typing import Any

from pbclient.errors import InputError

# The groups of `--help`, in its order, with their titles.
GROUPS = {
    "who": "Who answers",
    "what": "What is played",
    "money": "What it may cost",
    "speed": "How fast",
    "where": "Where answers and results are",
}


@dataclass(frozen=True)
class Rule:
    """What a value must be, in words and as a test; `choices` are all that it may be, where they are few."""

    words: str
    holds: Callable[[Any], bool]
    choices: tuple[str, ...] = ()


def one_of(*choices: str) -> Rule:
    return Rule(" or ".join(choices), choices.__contains__, choices)


def whole(least: int | None = 1) -> Rule:
    """A whole number, of at least `least`."""

    def holds(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and (least is None or value >= least)

    return Rule("a whole number" if least is None else f"a whole number and at least {least}", holds)


def number(words: str, *, above: float = -math.inf, least: float = -math.inf) -> Rule:
    """A number up to a billion, which keeps every sum exact."""

    def holds(value: Any) -> bool:
        if not isinstance(value, int | float | Decimal) or isinstance(value, bool):
            return False
        # NaN compares as false everywhere, and a Decimal one raises.
        return math.isfinite(value) and above < value <= 10**9 and value >= least

    return Rule(words, holds)


@dataclass(frozen=True)
class Option:
    """What a field says of its option. An empty `flag` is made from the field's name."""

    help: str
    group: str
    flag: str = ""
    rule: Rule | None = None


def option(
    default: Any, help: str, *, group: str, flag: str = "", rule: Rule | None = None
) -> Any:  # as `dataclasses.field`
    """A field of a configuration that is an option of a command; `default` may be a class, for a new one."""
    metadata = {"option": Option(help, group, flag, rule)}
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


REQUIRED = MISSING


def options(config: Any) -> list[Field[Any]]:
    """The fields of a configuration, or of its class, that are options: its own, then what it inherits."""
    own = (config if isinstance(config, type) else type(config)).__annotations__
    found = [each for each in fields(config) if "option" in each.metadata]
    return sorted(found, key=lambda each: each.name not in own)


def flag(each: Field[Any]) -> str:
    """The flag of a field."""
    return each.metadata["option"].flag or f"--{each.name.replace('_', '-')}"


def kind(each: Field[Any]) -> str:
    """The type of a field as its annotation spells it, None left out."""
    return str(each.type).removesuffix(" | None")


def check(config: object) -> None:
    """Take what notebooks write (`data="folder"`, `datasets="ROD"`, `max_cost=5`) for what it means.

    Raises `InputError` for a value that its field's rule does not allow.
    """
    for each in options(config):
        rule = each.metadata["option"].rule
        value = getattr(config, each.name)
        absent = value is None and str(each.type).endswith("| None")
        word = isinstance(value, str) and value == each.default  # as in "as the run"
        if rule is not None and not absent and not word and not rule.holds(value):
            raise InputError(f"{flag(each)} must be {rule.words}, not {value!r}.")
        if isinstance(value, str) and kind(each) == "Path":
            value = Path(value)
        elif isinstance(value, int | float) and kind(each).startswith("Decimal"):
            value = Decimal(str(value))
        elif kind(each).startswith("tuple"):
            value = (value,) if isinstance(value, str) else tuple(value or ())
        object.__setattr__(config, each.name, value)  # the one way to normalise a frozen value


def like[T](make: type[T], source: object, **more: Any) -> T:
    """A `make` whose fields are those of `source` with the same names, and `more`."""
    given = {each.name: getattr(source, each.name) for each in fields(make) if hasattr(source, each.name)}  # type: ignore[arg-type]
    return make(**given, **more)
