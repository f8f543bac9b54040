"""A filter as people read it: the runs it is made of, the table before and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pbclient.compare.filter import Filtered
from pbclient.report.terminal import Grid, Part


def parts(filtered: Filtered) -> list[Part]:
    """The runs, the table, what had to be decided."""
    made = filtered["made"]
    return ["\n".join(_introduction(made)), _grid(filtered["table"]), "\n".join(_notes(made))]


def _introduction(made: Mapping[str, Any]) -> Iterator[str]:
    models = ", ".join(f"{run['provider']} {run['model']}" for run in made["runs"])
    yield f"From {len(made['runs'])} run{'' if len(made['runs']) == 1 else 's'}: {models}."
    played = sorted({run["filter"] for run in made["runs"]} - {"none"})
    if played:
        yield (
            f"They were played on samples that are filtered already ({', '.join(played)}): "
            "for the paper's rule play them with --filter none."
        )


def _grid(table: Mapping[str, Any]) -> Grid:
    before, after = table["before"], table["after"]
    nothing = {"samples": 0, "first_turn_acc": None}
    entries = [
        (name, entry, after["datasets"].get(name, nothing)) for name, entry in before["datasets"].items()
    ]
    rows = []
    for name, *pair in [*entries, ("total", before["total"], after["total"])]:
        shares = ["-" if (acc := entry["first_turn_acc"]) is None else f"{acc:.1f}" for entry in pair]
        rows.append([name, *(f"{entry['samples']:,}" for entry in pair), *shares])
    headings = ["data set", "samples before", "after", "first-turn acc % before", "after"]
    return Grid(headings, rows, breaks=(len(rows) - 1,), total=True)


def _notes(made: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"Dropped are samples that at least {made['threshold_percent']:g} % of the runs answered correctly "
        "at the first turn."
    )
    if made["partly_resolved"]:
        yield f"Not resolved in every run (their share is over the others): {made['partly_resolved']}"
    if none := sum(map(len, made["resolved_by_none"].values())):
        yield f"Resolved in no run, and kept: {none}"
    if made["other_data"]:
        names = ", ".join(made["other_data"])
        yield f"The data of {names} may differ: samples are matched by their ids alone (--force)."
