"""`pbclient study report`: the numbers printed, and as files: study.json, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pbclient.report.latex import latex
from pbclient.report.study import action_name, contrast_name, parts, sheets, table_name
from pbclient.report.terminal import show
from runs import replace_file

if TYPE_CHECKING:
    from pbclient.compare.study import StudyCell, StudyFigures
    from pbclient.compare.study_contrasts import ActionTable, Contrast
    from pbclient.compare.study_tables import ResultTable, Value

type Line = dict[str, Any]


def report_study(
    cells: Sequence[StudyCell],
    out: Path | None,
    *,
    as_json: bool = False,
    html: Path | None = None,
    title: str = "A study",
) -> None:
    """`pbclient study report`: print the study's numbers; with `out` write all files there too.

    With `html` they are written as one page there.
    """
    from pbclient.compare.study import study_figures

    figures = study_figures(cells)
    written = () if out is None else write_study_report(figures, out)
    if html is not None:
        from pbclient.report.html.study import write_study

        write_study(figures, title, html)
    if as_json:
        show(json.dumps(figures.to_json(), indent=2))
        return
    show(*parts(figures))
    if written:
        show(f"\nWritten to {out}: study.json, and {len(written) // 2} tables as CSV and LaTeX.")


def write_study_report(figures: StudyFigures, out: Path) -> list[Path]:
    """Write study.json, `<name>.csv` and `<name>.tex` into `out`; the same figures give the same bytes.

    Raises `runs.StorageFailed` or `OSError` where that cannot be.
    """
    out.mkdir(parents=True, exist_ok=True)
    content = {"study.json": json.dumps(figures.to_json(), indent=2, allow_nan=False) + "\n"}
    for name, lines in tables(figures).items():
        content[f"{name}.csv"] = _csv(lines)
    for sheet in sheets(figures):
        content[f"{sheet.name}.tex"] = latex(sheet.title, f"tab:{sheet.name}", sheet.grids)
    for name, text in content.items():
        replace_file(out / name, [text.encode("utf-8")])
    return [out / name for name in content]


def tables(figures: StudyFigures) -> dict[str, list[Line]]:
    """Every table and figure as lines of one value each, under the stem of its files."""
    found = {table_name(table): list(_of_table(table)) for table in figures.tables}
    found |= {contrast_name(contrast): list(_of_contrast(contrast)) for contrast in figures.contrasts}
    found |= {action_name(table): list(_of_actions(table)) for table in figures.actions}
    if figures.curve is not None:
        found["figure-10-filter"] = [
            {
                "threshold_percent": entry["threshold_percent"],
                "models": entry["models"],
                "dataset": name,
                **of,
            }
            for entry in figures.curve.entries
            for name, of in {**entry["datasets"], "total": entry["total"]}.items()
        ]
    return found


def _of_table(table: ResultTable) -> Iterator[Line]:
    for row in (*table.rows, table.average):
        for figure, cells in row.figures.items():
            for name, cell in cells.items():
                held = cell.paper
                yield {
                    "model": row.model,
                    "figure": figure,
                    "dataset": name,
                    "value": cell.value,
                    **_limits("", cell.ci),
                    "paper": held and held.published,
                    "difference": held and held.difference,
                    **_limits("difference_", None if held is None else held.ci),
                    "p": held and held.p,
                    "p_holm": held and held.p_holm,
                    "differs": cell.differs,
                }


def _of_contrast(contrast: Contrast) -> Iterator[Line]:
    for row in (*contrast.rows, *contrast.averages):
        yield {
            "model": row.model,
            "figure": row.figure,
            "dataset": row.dataset,
            **_value("before", row.before),
            **_value("after", row.after),
            "difference": row.difference,
            **_limits("difference_", row.ci),
            "p": row.p,
            "p_holm": row.p_holm,
            "samples": row.samples,
            "paper_before": row.paper_before,
            "paper_after": row.paper_after,
        }


def _of_actions(table: ActionTable) -> Iterator[Line]:
    for row in (*table.rows, *table.averages):
        for action, value in row.actions.items():
            of_suggestions = action == "proactive"
            yield {
                "model": row.model,
                "dataset": row.dataset,
                "action": action,
                **_value("value", value),
                "change": row.change if of_suggestions else None,
                "paper_change": row.paper_change if of_suggestions else None,
            }


def _value(name: str, value: Value) -> Line:
    return {name: value.value, **_limits(f"{name}_", value.ci)}


def _limits(before: str, ci: tuple[float, float] | None) -> Line:
    low, high = ci or (None, None)
    return {f"{before}ci_low": low, f"{before}ci_high": high}


def _csv(lines: Iterable[Line]) -> str:
    rows = list(lines)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
