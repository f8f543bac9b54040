"""What the paper publishes: its tables as data (paper.toml), and which of them a run is held against.

A run belongs to the table of its own condition and filter, and its model to the row of the same name
there. Names are matched by a declared list; where there is no table or no row, one sentence says so.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any

from pbclient.benchmark.conditions import OFFICIAL, UNFILTERED, Condition
from pbclient.benchmark.package import OEG, STEMS

AVERAGE = "average"

# A data set repository on the hub, and the folder in it.
REPOSITORY = "tdemin16/ProactiveBench"
FOLDER = "test"

# Over all seven data sets; the second is also the length of the installed package's filter.
SAMPLES_BEFORE_FILTER = 17_909
SAMPLES_KEPT = 7_557
# Of ROD every sample is kept.
ROD_SAMPLES = 88
ROD_FRAMES_EACH = 14

type Row = Mapping[str, Mapping[str, float]]  # figure -> data set or "average" -> value


@dataclass(frozen=True, slots=True)
class Table:
    """A published table: `rows` are by the paper's name of the model, `samples` by data set.

    Those of the `figures` that are `shares` are in percent, the others are means; all are rounded to 0.1.
    """

    number: int
    title: str
    samples: Mapping[str, int]
    figures: tuple[str, ...]
    shares: tuple[str, ...]
    rows: Mapping[str, Row]

    def __str__(self) -> str:
        return f"Table {self.number} ({self.title})"

    def to_json(self) -> dict[str, Any]:
        """As `compare --with paper --json` and study.json have it."""
        return {
            "number": self.number,
            "title": self.title,
            "samples": dict(self.samples),
            "shares": list(self.shares),
            "models": self.rows,
        }


@dataclass(frozen=True, slots=True)
class Found:
    """What the paper has beside a run. `note` is a sentence where it has no table, or no row of the model."""

    table: Table | None
    model: str | None
    note: str | None

    @property
    def row(self) -> Row | None:
        """The model's row."""
        return None if self.table is None or self.model is None else self.table.rows.get(self.model)


@dataclass(frozen=True)
class Paper:
    """All that is published: `tables` by (condition, samples), and what its plots alone give."""

    source: str
    published: date
    judge: str
    samples: Mapping[str, Mapping[str, int]]
    tables: Mapping[tuple[str, str], Table]
    training: Table
    plots: Mapping[str, Mapping[str, Any]]
    names: Mapping[str, str]

    @property
    def cited(self) -> str:
        """The source in one line."""
        return f"{self.source}, {self.published:%-d %B %Y}"

    def model(self, name: object) -> str | None:
        """The paper's name of the model that a provider calls so; None where the list has none."""
        return self.names.get(str(name).casefold())

    def table(self, condition: Condition) -> Table | None:
        """The table of this condition and filter."""
        if condition.filter not in (OFFICIAL, UNFILTERED):
            return None
        kept = "open_ended" if condition.mode == OEG else "filtered"
        return self.tables.get((condition.name, kept if condition.filter == OFFICIAL else "unfiltered"))

    def look_up(self, config: Mapping[str, Any]) -> Found:
        """What belongs beside a run with this `config` in its run.json."""
        condition, name = Condition.of(config), config.get("model")
        model, table = self.model(name), self.table(condition)
        if table is None:
            return Found(None, model, f"The paper has no table for this condition ({condition}).")
        if model is None:
            return Found(table, None, f"{name} is no name of a model in the paper's tables.")
        if model not in table.rows:
            return Found(table, model, f"The paper's {table} has no row for {model}.")
        return Found(table, model, None)

    def trained(self, model: str) -> dict[str, Row]:
        """The rows of a model after training, by what it was trained with."""
        before = f"{model}/r="
        return {name: row for name, row in self.training.rows.items() if name.startswith(before)}


@cache
def paper() -> Paper:
    """The paper, read from the file beside this one."""
    data = tomllib.loads(files("pbclient.benchmark").joinpath("paper.toml").read_text(encoding="utf-8"))
    samples = {kind: dict(zip(STEMS, counts, strict=True)) for kind, counts in data["samples"].items()}
    tables = {
        (entry["condition"], entry["samples"]): _table(entry, samples[entry["samples"]])
        for entry in data["tables"].values()
    }
    names = {name.casefold(): model for model, also in data["names"].items() for name in (model, *also)}
    training = _table(data["training"], samples["filtered"])
    return Paper(data["source"], data["date"], data["judge"], samples, tables, training, data["plots"], names)


def _table(entry: Mapping[str, Any], samples: Mapping[str, int]) -> Table:
    figures = tuple(entry["figures"])
    lines = (line.split() for line in entry["rows"].strip().splitlines())
    rows = {name: _row(figures, list(map(float, values))) for name, *values in lines}
    return Table(entry["number"], entry["title"], samples, figures, tuple(entry["shares"]), rows)


def _row(figures: Sequence[str], values: Sequence[float]) -> Row:
    columns = (*STEMS, AVERAGE)
    return {
        figure: dict(zip(columns, values[place :: len(figures)], strict=True))
        for place, figure in enumerate(figures)
    }
