"""The tables of a study: models by data sets under one condition, and the paper's figures beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pbclient.benchmark.conditions import REFERENCE, Condition
from pbclient.benchmark.package import STEMS
from pbclient.benchmark.paper import AVERAGE, paper
from pbclient.compare.against_paper import Held, adjusted, held_against
from pbclient.compare.comparison import LEVEL
from pbclient.compare.run_figures import RunFigures
from pbclient.scores.figures import rounded
from pbclient.scores.intervals import Interval

FIGURES = ("acc", "ps", "agg", "psr")
OVER_MODELS = "average over models"


@dataclass(frozen=True, slots=True)
class Value:
    """A figure and its 95 % interval; None where nothing stands behind one.

    Averaged over models, the limits are the means of theirs: as wide as if the models, which answer the
    same samples, went up and down together.
    """

    value: float | None
    ci: Interval | None

    @classmethod
    def of(cls, entry: Mapping[str, Any], figure: str) -> Value:
        """That of an entry of a summary."""
        interval = entry.get(f"{figure}_ci")
        return cls(entry.get(figure), None if interval is None else (interval[0], interval[1]))

    @classmethod
    def averaged(cls, values: Sequence[Value]) -> Value:
        """The mean of those that are there, each of which weighs the same."""
        known = [each.value for each in values if each.value is not None]
        limits = [each.ci for each in values if each.value is not None and each.ci is not None]
        if not known:
            return cls(None, None)
        whole = len(limits) == len(known)
        ci = (mean([low for low, _ in limits]), mean([high for _, high in limits])) if whole else None
        return cls(mean(known), ci)


def mean(values: Sequence[float]) -> float:
    """The mean, rounded as figures are."""
    return rounded(sum(values) / len(values)) + 0.0


@dataclass(frozen=True, slots=True)
class TableCell:
    """A figure of a model in a data set. `paper` has the published one and the difference from it.

    `differs` is whether that is more than chance allows; None where it cannot be told.
    """

    value: float | None
    ci: Interval | None
    paper: Held | None
    differs: bool | None

    @classmethod
    def of(cls, value: Value, held: Held | None) -> TableCell:
        """A figure beside the paper's."""
        p = None if held is None else held.p_holm
        return cls(value.value, value.ci, held, None if p is None else p < LEVEL)


@dataclass(frozen=True, slots=True)
class TableRow:
    """A model: figure -> data set or "average" -> cell. `note` says why the paper has nothing beside it."""

    model: str
    paper_model: str | None
    note: str | None
    figures: Mapping[str, Mapping[str, TableCell]]


@dataclass(frozen=True, slots=True)
class ResultTable:
    """All models that were played under one condition; `number` is that of the paper's table.

    `average` is over the models, each weighing the same; in the column "average" over those that have
    every data set of the table. Beside it stands the paper's average where it has all of these models.
    """

    condition: str
    filter: str
    number: int | None
    title: str
    columns: tuple[str, ...]
    shares: tuple[str, ...]
    rows: tuple[TableRow, ...]
    average: TableRow


def result_table(condition: Condition, played: Mapping[str, RunFigures]) -> ResultTable:
    """The table of one condition, from the run of each model."""
    table = paper().table(condition)
    runs = list(played.values())
    figures = [figure for figure in FIGURES if figure in runs[0].entries[AVERAGE]]
    if condition.name == REFERENCE:
        figures.remove("ps")  # it is asked once: no suggestion brings another frame
    present = {name for of in runs for name, entry in of.entries.items() if entry["acc"] is not None}
    columns = tuple(name for name in (*STEMS, AVERAGE) if name in present)
    held = {figure: adjusted([held_against(of.found, of, figure) for of in runs]) for figure in figures}
    rows = tuple(
        TableRow(
            model,
            of.found.model,
            of.found.note,
            {
                figure: {
                    name: TableCell.of(Value.of(of.entries[name], figure), held[figure][number].get(name))
                    for name in columns
                    if name in of.entries
                }
                for figure in figures
            },
        )
        for number, (model, of) in enumerate(played.items())
    )
    return ResultTable(
        condition=condition.name,
        filter=condition.filter,
        number=None if table is None else table.number,
        title=str(condition) if table is None else table.title,
        columns=columns,
        shares=shares_of(runs[0]),
        rows=rows,
        average=_average(rows, figures, columns),
    )


def shares_of(of: RunFigures) -> tuple[str, ...]:
    """The figures of a run that are in percent: all but a number of suggestions."""
    return ("acc", "ps", "agg") if "agg" in of.entries[AVERAGE] else ("acc",)


def _average(rows: Sequence[TableRow], figures: Sequence[str], columns: Sequence[str]) -> TableRow:
    cells: dict[str, dict[str, TableCell]] = {}
    for figure in figures:
        cells[figure] = {}
        for column in columns:
            own = [row.figures[figure] for row in rows if column in row.figures[figure]]
            if column == AVERAGE:
                own = [of for of in own if all(name in of and of[name].value is not None for name in columns)]
            there = [of[column] for of in own if of[column].value is not None]
            value = Value.averaged([Value(each.value, each.ci) for each in there])
            published = [each.paper.published for each in there if each.paper is not None]
            beside = None
            if value.value is not None and published and len(published) == len(there):
                theirs = mean(published)
                beside = Held(theirs, rounded(value.value - theirs) + 0.0, None, None)
            cells[figure][column] = TableCell.of(value, beside)
    return TableRow(OVER_MODELS, None, None, cells)
