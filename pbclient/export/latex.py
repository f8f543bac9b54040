"""A run's table for a paper: booktabs, every text escaped."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pbclient.export.recorded import RecordedRun
from pbclient.report.summary import table
from pbclient.report.terminal import visible

_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        **{letter: f"\\{letter}" for letter in "{}$&#_%"},
    }
)


def lines(runs: Sequence[RecordedRun]) -> Iterator[str]:
    """A `table` environment: a row a data set and their average, under `\\usepackage{booktabs}`."""
    [run] = runs
    grid = table(run.summary())
    yield r"\begin{table}"
    yield r"\centering"
    yield rf"\begin{{tabular}}{{l{'r' * (len(grid.headings) - 1)}}}"
    yield r"\toprule"
    yield _row(grid.headings)
    yield r"\midrule"
    for number, row in enumerate(grid.rows, 1):
        if number == len(grid.rows):
            yield r"\midrule"
        yield _row(row)
    yield r"\bottomrule"
    yield r"\end{tabular}"
    yield rf"\caption{{{_caption(run)}}}"
    yield r"\end{table}"


def _caption(run: RecordedRun) -> str:
    kind = "open-ended" if run.open_ended else "multiple choice"
    condition = f", {run.condition}" if run.condition else ""
    return escaped(f"{run.model} ({run.provider}) on ProactiveBench, {kind}{condition}.")


def _row(cells: Sequence[str]) -> str:
    # Digits were set under each other with spaces, which TeX takes for one.
    texts = [" ".join(cell.split()).replace("[ ", "[") for cell in cells]
    return " & ".join("--" if text == "-" else escaped(text) for text in texts) + r" \\"


def escaped(text: str) -> str:
    """`text` as TeX prints it."""
    escapes = visible(text).replace("\n", " ").translate(_ESCAPES)
    return re.sub("-(?=-)", "-{}", escapes)  # two would be one long dash
