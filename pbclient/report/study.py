"""A study's numbers as people read them: titled tables, the same on a terminal and in LaTeX.

Every figure comes from `StudyFigures` as it is; `study_files` writes them for programs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pbclient.benchmark.conditions import OPEN, OPEN_TURNS, ZERO_SHOT
from pbclient.benchmark.paper import paper
from pbclient.report.published import chance
from pbclient.report.tables import of_curve
from pbclient.report.terminal import Grid, Part

if TYPE_CHECKING:
    from pbclient.compare.study import StudyFigures
    from pbclient.compare.study_contrasts import ActionTable, Contrast, ContrastRow
    from pbclient.compare.study_tables import ResultTable, TableRow
    from pbclient.scores.intervals import Interval

MARK = "*"
_WHOLE = (ZERO_SHOT, OPEN, OPEN_TURNS)
_LEVEL = 0.05
_WORDS = {"proactive": "suggestion", "abstain": "abstention", "category": "category", "mismatch": "none"}
_NAMES = {"acc": "acc", "ps": "ps", "agg": "agg", "step_limit": "at the step limit"}
LEGEND = (
    f"{MARK} more than chance allows (Holm's p below {_LEVEL}): in a table the difference from the paper's, "
    "in a figure that between the two conditions on a model's own samples.\n"
    "Averages over models weigh each the same; their intervals are the means of the models'."
)


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table or figure: the stem of its files, what it shows, and a grid for each of its values."""

    name: str
    title: str
    grids: tuple[Grid, ...]


def parts(figures: StudyFigures) -> list[Part]:
    """What is printed, from top to bottom."""
    cells, models = len(figures.cells), len(figures.models)
    head = f"Cells: {cells}, models: {models}. The paper: {figures.source}."
    found: list[Part] = ["\n".join([head, *figures.notes])]
    # Other conditions are told by the figures that set them beside the plain question.
    whole = {table_name(table) for table in figures.tables if table.condition in _WHOLE}
    for sheet in sheets(figures):
        if sheet.name in whole or not sheet.name.startswith("table-"):
            found += [sheet.title, *sheet.grids]
    others = [table.condition for table in figures.tables if table_name(table) not in whole]
    if others:
        found.append(f"By model and data set in the files that --out writes: {', '.join(others)}.")
    beside = {row.note for table in figures.tables for row in table.rows if row.note}
    judged = any(table.number and table.condition.startswith(OPEN) for table in figures.tables)
    judge = [f"The paper's judge of open-ended answers is {paper().judge}: another finds other shares."]
    found.append("\n".join([LEGEND, *(judge if judged else []), *sorted(beside)]))
    return found


def sheets(figures: StudyFigures) -> list[Sheet]:
    """All tables and figures, in the order of the paper."""
    found = [_of_table(table) for table in figures.tables]
    numbered = [(each.number, _of_contrast(each)) for each in figures.contrasts]
    numbered += [(each.number, _of_actions(each)) for each in figures.actions]
    found += [sheet for _, sheet in sorted(numbered, key=lambda each: each[0])]
    if figures.curve is not None:
        title = "Figures 10 and 11: samples and first-turn accuracy by the filter's threshold"
        found.append(Sheet("figure-10-filter", title, (of_curve(figures.curve.entries),)))
    return found


def table_name(table: ResultTable) -> str:
    """The stem of its files."""
    kept = {"official": "", "none": "-unfiltered"}.get(table.filter, f"-{table.filter[-8:]}")
    return f"table-{table.condition}{kept}"


def contrast_name(contrast: Contrast) -> str:
    """The stem of its files."""
    kept = {"official": "", "none": "-unfiltered"}.get(contrast.filter, f"-{contrast.filter[-8:]}")
    return f"figure-{contrast.number}-{contrast.after}{kept}"


def action_name(table: ActionTable) -> str:
    """The stem of its files."""
    return f"figure-{table.number}-actions"


def _of_table(table: ResultTable) -> Sheet:
    """Of each model its figures, their intervals, and the paper's below."""
    number = "" if table.number is None else f" (Table {table.number} of the paper)"
    grids = []
    for figure in table.average.figures:
        share = figure in table.shares
        rows: list[list[str]] = []
        breaks: list[int] = []
        for row in (*table.rows, table.average):
            breaks.append(len(rows))
            rows += _lines_of(table, row, figure, 1 if share else 2)
        heading = f"{figure} %" if share else figure
        grids.append(Grid([heading, *table.columns], rows, tuple(breaks[1:])))
    return Sheet(table_name(table), f"Results: {table.title}{number}", tuple(grids))


def _lines_of(table: ResultTable, row: TableRow, figure: str, digits: int) -> Iterator[list[str]]:
    cells = [row.figures[figure].get(column) for column in table.columns]
    yield [row.model, *(_number(None if cell is None else cell.value, digits) for cell in cells)]
    # A digit less, so that a line of eight of them can be read.
    yield ["  95 % CI", *(_limits(None if cell is None else cell.ci, digits - 1) for cell in cells)]
    if any(cell is not None and cell.paper is not None for cell in cells):
        published = [
            "-"
            if cell is None or cell.paper is None
            else f"{cell.paper.published:.1f}{MARK * bool(cell.differs)}"
            for cell in cells
        ]
        yield ["  paper", *published]


def _of_contrast(contrast: Contrast) -> Sheet:
    """Each figure twice: by model, averaged over data sets, and by data set, averaged over models."""
    grids = []
    for figure in dict.fromkeys(row.figure for row in contrast.averages):
        digits = 1 if figure in contrast.shares else 2
        heading = f"{_NAMES[figure]}{' %' if figure in contrast.shares else ''}"
        averages = [row for row in contrast.averages if row.figure == figure]
        by_model = [row for row in contrast.rows if (row.figure, row.dataset) == (figure, "average")]
        grids.append(_by_model(contrast, heading, [*by_model, averages[-1]], digits))
        grids.append(_by_dataset(contrast, f"{heading}, over models", averages, digits))
    return Sheet(contrast_name(contrast), f"Figure {contrast.number}: {contrast.title}", tuple(grids))


def _by_model(contrast: Contrast, heading: str, of: Sequence[ContrastRow], digits: int) -> Grid:
    rows = []
    for row in of:
        values = [_number(value, digits) for value in (row.before.value, row.after.value)]
        published = [_number(value, 1) for value in (row.paper_before, row.paper_after)]
        limits = "" if row.ci is None else f" {_limits(row.ci, digits, '+')}"
        chances = chance(row.p_holm)
        rows.append([row.model, *values, f"{_difference(row, digits)}{limits}", chances, *published])
    names = (contrast.before, contrast.after)
    headings = [heading, *names, "difference [95 % CI]", "p Holm", *(f"paper, {name}" for name in names)]
    return Grid(headings, rows, total=True)


def _by_dataset(contrast: Contrast, heading: str, of: Sequence[ContrastRow], digits: int) -> Grid:
    rows = [
        [contrast.before, *(_number(row.before.value, digits) for row in of)],
        [contrast.after, *(_number(row.after.value, digits) for row in of)],
        ["difference", *(_number(row.difference, digits, "+") for row in of)],
    ]
    for name, values in (
        (contrast.before, [row.paper_before for row in of]),
        (contrast.after, [row.paper_after for row in of]),
    ):
        if any(value is not None for value in values):
            rows.append([f"paper, {name}", *(_number(value, 1) for value in values)])
    return Grid([heading, *(row.dataset for row in of)], rows)


def _difference(row: ContrastRow, digits: int) -> str:
    differs = row.p_holm is not None and row.p_holm < _LEVEL
    return _number(row.difference, digits, "+") + MARK * differs


def _of_actions(table: ActionTable) -> Sheet:
    """Of each model the shares of its turns, averaged over data sets."""
    changed = any(row.change is not None for row in table.rows)
    rows = []
    for row in (*table.rows, *table.averages):
        if row.dataset != "average":
            continue
        cells = [f"{_number(of.value, 1)} {_limits(of.ci, 1)}" for of in row.actions.values()]
        change = [_number(value, 1, "+") for value in (row.change, row.paper_change)] if changed else []
        rows.append([row.model, *cells, *change])
    headings = [
        "turns % [95 % CI]",
        *_WORDS.values(),
        *(["change of suggestions %", "paper"] if changed else []),
    ]
    grid = Grid(headings, rows, total=True)
    return Sheet(action_name(table), f"Figure {table.number}: actions, {table.condition}", (grid,))


def _number(value: float | None, digits: int, sign: str = "") -> str:
    # Adding 0 turns a negative zero into the other one.
    return "-" if value is None else f"{round(value, digits) + 0.0:{sign}.{digits}f}"


def _limits(ci: Interval | None, digits: int, sign: str = "") -> str:
    return "-" if ci is None else f"[{', '.join(_number(limit, digits, sign) for limit in ci)}]"
