"""A run's table for a paper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pbclient.export.recorded import RecordedRun
from pbclient.report.latex import latex
from pbclient.report.summary import table


def lines(runs: Sequence[RecordedRun]) -> Iterator[str]:
    """A `table` environment: a row a data set and their average. It needs booktabs and graphicx."""
    [run] = runs
    kind = "open-ended" if run.open_ended else "multiple choice"
    condition = f", {run.condition}" if run.condition else ""
    title = f"{run.model} ({run.provider}) on ProactiveBench, {kind}{condition}."
    yield from latex(title, f"tab:{run.id}", [table(run.summary())]).splitlines()
