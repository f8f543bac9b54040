"""The paper's figures beside a user's own, as people read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pbclient.report.terminal import Grid, Part

_HELD = ("data set", "run", "paper", "difference [95 % CI]", "p", "p Holm")
_TESTED = (
    "The paper's samples count as another draw of its published number, though they are mostly the same, and "
    "its rounding to 0.1 is allowed for: a difference that p Holm puts below 0.05 is more than chance allows."
)


def chance(p: float | None) -> str:
    """A p-value."""
    if p is None:
        return "-"
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def beside(paper: Mapping[str, Any]) -> list[Part]:
    """Each run against its row of the paper, then the tables that they belong to."""
    notes = [f"{run['label']}: {run['note']}" for run in paper["runs"] if run["note"]]
    notes += [
        f"{run['label']}: {run['without_score']:,} of {run['episodes']:,} episodes have no score; "
        "the paper scores every answer that came."
        for run in paper["runs"]
        if run["without_score"] and run["figures"]
    ]
    parts: list[Part] = [f"The paper: {paper['source']}."]
    if paper["judge"]:
        notes.append(
            f"The paper's judge of open-ended answers is {paper['judge']}: another finds other shares."
        )
    if notes:
        parts.append("\n".join(notes))
    held = list(_held(paper))
    parts += held
    if held:
        parts.append(_TESTED)
    for table in paper["tables"]:
        parts += [*_table(table)]
    if paper["training"]["models"]:
        of = {**paper["training"], "shares": ["acc"]}
        parts += [*_table(of)]
    return parts


def _held(paper: Mapping[str, Any]) -> Iterator[Grid]:
    """A table for each run that has a row in the paper, and each of its figures."""
    for run in paper["runs"]:
        shares = next((of["shares"] for of in paper["tables"] if of["number"] == run["table"]), ())
        for figure, held in run["figures"].items():
            digits = 1 if figure in shares else 2
            rows: list[list[str]] = []
            for name, each in held.items():
                difference = f"{each['difference']:+.{digits}f}"
                limits = "" if each["ci"] is None else " [{:+.{d}f}, {:+.{d}f}]".format(*each["ci"], d=digits)
                value = f"{each['value']:.{digits}f}"
                chances = [chance(each["p"]), chance(each["p_holm"])]
                rows.append([name, value, f"{each['published']:.1f}", difference + limits, *chances])
            heading = f"{run['label']}, {figure}{' %' if figure in shares else ''}"
            yield Grid([f"{heading} against Table {run['table']}", *_HELD[1:]], rows)


def _table(table: Mapping[str, Any]) -> Iterator[Part]:
    """A published table: a paragraph that says which, and a grid for each figure."""
    yield f"Table {table['number']} of the paper: {table['title']}."
    rows = table["models"]
    for figure in next(iter(rows.values())):
        columns = list(next(iter(rows.values()))[figure])
        heading = f"{figure} %" if figure in table["shares"] else figure
        yield Grid(
            [heading, *columns],
            [[name, *(f"{row[figure][column]:.1f}" for column in columns)] for name, row in rows.items()],
        )
