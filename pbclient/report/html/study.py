"""A study as one page: the paper's Table 1 and figures 3 to 11 from a user's own runs, the paper's marked.

Every number comes from `StudyFigures` as it is; the tables are those that the terminal shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pbclient.compare.study import FilterCurve, StudyFigures
from pbclient.compare.study_contrasts import ActionRow, ActionTable, Contrast
from pbclient.compare.study_tables import ResultTable, TableRow
from pbclient.report.html.charts import Chart, Interval, Series, Value, intervals, lines, stacked
from pbclient.report.html.page import Page, write
from pbclient.report.html.sections import Block, Folded, Section
from pbclient.report.html.text import sentence
from pbclient.report.study import LEGEND, action_name, contrast_name, sheets, table_name

_NAMES = {
    "acc": "Accuracy",
    "ps": "Suggestions",
    "psr": "Suggestions carried out",
    "agg": "Either",
    "step_limit": "Step limit reached",
}
_ACTIONS = (
    ("proactive", "c0", "suggestion"),
    ("category", "c1", "category"),
    ("abstain", "c2", "abstention"),
)
_OTHER = ("mismatch", "other", "none of the options")
_AVERAGE = "average"


def write_study(figures: StudyFigures, title: str, out: Path) -> int:
    """Write the page of a study, and return its bytes. Raises `InputError` where no browser would open it."""
    models, cells = len(figures.models), len(figures.cells)
    page = Page(
        title=f"{title}: {models} model{'' if models == 1 else 's'} on ProactiveBench",
        lead=[f"{cells} cells, a model under a condition each. The paper: {figures.source}."],
        heads=[("Models", [", ".join(map(sentence, figures.models))])],
        sections=list(_sections(figures)),
        remarks=[sentence(note) for note in figures.notes],
    )
    return write(page, out)


def _sections(figures: StudyFigures) -> Iterator[Section]:
    """A section a table or figure, in the order of the paper: its chart, and below it its tables."""
    charts: dict[str, list[Chart]] = {table_name(table): list(_of_table(table)) for table in figures.tables}
    charts |= {contrast_name(each): list(_of_contrast(each)) for each in figures.contrasts}
    charts |= {action_name(each): list(_of_actions(each)) for each in figures.actions}
    for sheet in sheets(figures):
        drawn = charts.get(sheet.name)
        if drawn is None:
            drawn = list(_of_curve(figures.curve)) if figures.curve else []
        blocks: list[Block] = [*drawn, Folded("As a table", list(sheet.grids), open=not drawn)]
        yield Section(sheet.name, sheet.title, blocks)
    yield Section("legend", "How to read it", LEGEND.splitlines())


def _of_table(table: ResultTable) -> Iterator[Chart]:
    rows: Sequence[TableRow] = (*table.rows, table.average)
    names = [sentence(row.model) for row in rows]
    for figure in table.average.figures:
        cells = [row.figures[figure].get(_AVERAGE) for row in rows]
        own = [None if cell is None else _given(cell.value, cell.ci) for cell in cells]
        papers = [
            None if cell is None or cell.paper is None else (cell.paper.published, None) for cell in cells
        ]
        share = figure in table.shares
        yield intervals(
            f"{_NAMES[figure]} averaged over data sets ({'%' if share else 'an episode'})",
            names,
            [
                Series("measured", own),
                *([Series("the paper", papers, published=True)] if any(papers) else []),
            ],
            shown=("{:.1f}" if share else "{:.2f}").format,
            limits=(0, 100) if share else None,
        )


def _of_contrast(contrast: Contrast) -> Iterator[Chart]:
    """The averages of each model without and with; the paper's own averages over models where it has them."""
    for figure in dict.fromkeys(row.figure for row in contrast.rows):
        rows = [row for row in contrast.rows if row.figure == figure and row.dataset == _AVERAGE]
        rows += [row for row in contrast.averages if row.figure == figure and row.dataset == _AVERAGE]
        if not rows:
            continue
        share = figure in contrast.shares
        series = [
            Series(contrast.before, [_given(row.before.value, row.before.ci) for row in rows]),
            Series(contrast.after, [_given(row.after.value, row.after.ci) for row in rows]),
        ]
        papers = [_given(row.paper_after, None) for row in rows]
        if any(papers):
            series.append(Series(f"{contrast.after} in the paper", papers, published=True))
        yield intervals(
            f"{_NAMES[figure]} averaged over data sets ({'%' if share else 'an episode'})",
            [sentence(row.model) for row in rows],
            series,
            shown=("{:.1f}" if share else "{:.2f}").format,
            limits=(0, 100) if share else None,
        )


def _given(value: float | None, ci: Interval | None) -> Value | None:
    return None if value is None else (value, ci)


def _of_actions(table: ActionTable) -> Iterator[Chart]:
    rows: Sequence[ActionRow] = [*table.rows, *table.averages]
    shares: dict[str, Sequence[float]] = {}
    parts = (*_ACTIONS, _OTHER)
    for row in rows:
        values = [row.actions[action].value for action, _, _ in parts]
        if row.dataset == _AVERAGE and None not in values:
            shares[sentence(row.model)] = [value for value in values if value is not None]
    if shares:
        colours = [(colour, name) for _, colour, name in parts]
        yield stacked("What the turns did, averaged over data sets (% of turns)", shares, colours)


def _of_curve(curve: FilterCurve) -> Iterator[Chart]:
    entries = [entry for entry in curve.entries if entry["threshold_percent"] is not None]
    places = [f"{entry['threshold_percent']:.0f} %" for entry in entries]
    everything = max(entry["total"]["samples"] for entry in curve.entries) or 1
    series = [
        Series(
            "samples kept (%)", [(100 * entry["total"]["samples"] / everything, None) for entry in entries]
        ),
        Series(
            "first-turn accuracy (%)", [_given(entry["total"]["first_turn_acc"], None) for entry in entries]
        ),
    ]
    yield lines("By the share of models from which on a sample is dropped", places, series)
