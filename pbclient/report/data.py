"""A check of a data folder as people read it: a table, what it is, and a line for each problem."""

from __future__ import annotations

from pbclient.data.check import Report
from pbclient.report.terminal import Grid, Part


def parts(report: Report) -> list[Part]:
    """The counts of each data set, and what is wrong."""
    counts = {
        count.dataset: [count.rows, count.kept, count.published, count.frames] for count in report.datasets
    }
    several = len(counts) > 1
    if several:
        counts["all"] = [sum(column) for column in zip(*counts.values(), strict=True)]
    rows = [[name, *(f"{count:,}" for count in row)] for name, row in counts.items()]
    lines = list(report.problems)
    if report.samples:
        words = "These are the built-in samples: the counts are theirs, not those of the published data."
        lines.insert(0, words)
    problems = len(report.problems)
    many = f"{problems:,} problem{'' if problems == 1 else 's'} found."
    lines.append(many if problems else "The data is sound.")
    return [Grid(["data set", "rows", "kept", "published", "frames"], rows, total=several), "\n".join(lines)]
