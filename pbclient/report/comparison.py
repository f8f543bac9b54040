"""A comparison as people read it: which tables and paragraphs, in which order.

Only the look: every figure comes from the comparison as it is. Scripts read the JSON instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pbclient.report.terminal import Grid, Part

type Comparison = Mapping[str, Any]

FIRST_FLIPS = 5

_MEANING = {"acc": "acc %", "ps": "ps", "agg": "agg %"}
_SHARES = {"acc": "acc %", "ps": "ps %", "agg": "agg %"}
_MARK = "*"
_MARKED = f"{_MARK} the highest of the runs, or not told apart from it (p >= 0.05 after Holm)"


def parts(comparison: Comparison, *, flips: bool = False) -> list[Part]:
    """What is shown, from top to bottom; with `flips` every episode that changed is listed."""
    return [
        "\n".join(_introduction(comparison)),
        *(_figures(comparison, name) for name in comparison["figures"]),
        "\n".join(_under_figures(comparison)),
        *(_pairs(comparison, name) for name in comparison["figures"]),
        "\n".join(_flips(comparison, flips)),
    ]


def _introduction(comparison: Comparison) -> Iterator[str]:
    width = max(len(run["label"]) for run in comparison["runs"])
    for run in comparison["runs"]:
        without = f", {run['without_score']} without a score" if run["without_score"] else ""
        beyond = f", {run['beyond']} beyond the shared" if run["beyond"] else ""
        who = f"{run['provider']} {run['model']}"
        label = run["label"].ljust(width)
        yield f"{label}  {run['path']} ({who}): {_some(run['resolved'])} resolved{beyond}{without}"
    differences = comparison["differences"]
    yield "They differ in:" if differences else "Their configurations are the same."
    for option, values in differences.items():
        pairs = zip(comparison["runs"], values, strict=True)
        yield f"  {option}: {', '.join(f'{run["label"]}={_value(value)}' for run, value in pairs)}"
    if comparison["other_data"]:
        names = ", ".join(comparison["other_data"])
        yield f"The data of {names} may differ: samples are matched by their ids alone (--force)."
    samples = sum(comparison["shared"]["samples"].values())
    episodes = _some(comparison["shared"]["episodes"])
    yield f"Compared on the {episodes} (of {samples:,} samples) that all of them resolved."


def _figures(comparison: Comparison, name: str) -> Grid:
    """One figure: a row for each run and each published model, a column for each data set."""
    figure = comparison["figures"][name]
    columns = list(figure["datasets"])
    rows = [_run_row(figure, run["label"], place) for place, run in enumerate(comparison["runs"])]
    models = comparison["paper"]["models"] if name in _published(comparison) else {}
    printed = [_paper_row(model, found, columns, name) for model, found in models.items()]
    breaks = (len(rows),) if printed else ()
    return Grid([_heading(comparison, name), *columns, "average"], [*rows, *printed], breaks)


def _run_row(figure: Mapping[str, Any], label: str, place: int) -> list[str]:
    highest = figure["highest"]
    cells = [
        _marked(_shown(figure, values[place]), place in highest["datasets"][name])
        for name, values in figure["datasets"].items()
    ]
    return [label, *cells, _marked(_shown(figure, figure["average"][place]), place in highest["average"])]


def _paper_row(model: str, found: Mapping[str, Any], columns: Sequence[str], name: str) -> list[str]:
    cells = [found["datasets"][column] for column in columns]
    # The published average is over all seven; it stands for no other choice of them.
    average = found["average"] if len(columns) == len(found["datasets"]) else None
    return [model, *(f"{cell[name]:.1f} " for cell in cells), f"{average[name]:.1f} " if average else "- "]


def _published(comparison: Comparison) -> tuple[str, ...]:
    """The figures that the paper's table has; its ps is a mean, which an open-ended run has none of."""
    if "paper" not in comparison:
        return ()
    return ("acc", "ps") if comparison["mode"] == "mcqa" else ()


def _under_figures(comparison: Comparison) -> Iterator[str]:
    yield _MARKED
    for name, figure in comparison["figures"].items():
        best, *others = [comparison["runs"][place]["label"] for place in figure["highest"]["average"]]
        tied = f"not told apart from it: {', '.join(others)}" if others else "told apart from all others"
        yield f"Highest average {name}: {best}; {tied}."
    if _published(comparison):
        yield f"Below the runs: {comparison['paper']['source']}."
        yield comparison["paper"]["note"]
    elif "paper" in comparison:
        yield "The paper's Table 1 is of multiple choice: it has no figures for open-ended answers."


def _pairs(comparison: Comparison, name: str) -> Grid:
    """One figure: the differences of each pair of runs, by data set and averaged."""
    figure = comparison["figures"][name]
    samples = comparison["shared"]["samples"]
    rows: list[list[str]] = []
    breaks: list[int] = []
    for pair in figure["pairs"]:
        first, second = (comparison["runs"][place]["label"] for place in pair["runs"])
        breaks.append(len(rows))
        for dataset, entry in pair["datasets"].items():
            rows.append([f"{second} - {first}", dataset, str(samples[dataset]), *_cells(figure, entry)])
        rows.append(
            [f"{second} - {first}", "average", str(sum(samples.values())), *_cells(figure, pair["average"])]
        )
    headings = [_heading(comparison, name), "data set", "samples", "difference [95 % CI]", "p", "p Holm"]
    return Grid(headings, rows, tuple(breaks[1:]))


def _cells(figure: Mapping[str, Any], entry: Mapping[str, Any]) -> list[str]:
    low, high = entry["ci"]
    limits = f"[{_shown(figure, low, sign='+')}, {_shown(figure, high, sign='+')}]"
    difference = _shown(figure, entry["difference"], sign="+")
    return [f"{difference} {limits}", _chance(entry["p"]), _chance(entry["p_holm"])]


def _flips(comparison: Comparison, every: bool) -> Iterator[str]:
    repeated = comparison["shared"]["episodes"] > sum(comparison["shared"]["samples"].values())
    for flips in comparison["flips"]:
        first, second = (comparison["runs"][place]["label"] for place in flips["runs"])
        right, wrong = flips["became_right"], flips["became_wrong"]
        yield f"From {first} to {second} {len(right)} became right and {len(wrong)} became wrong."
        for kind, found in (("right", right), ("wrong", wrong)):
            shown = found if every else found[:FIRST_FLIPS]
            more = f", and {len(found) - len(shown)} more (--flips)" if len(shown) < len(found) else ""
            if found:
                yield f"  {kind}: {', '.join(_episode(which, repeated) for which in shown)}{more}"


def _episode(which: Sequence[Any], repeated: bool) -> str:
    dataset, sample, repeat = which
    return f"{dataset} {sample} (repeat {repeat})" if repeated else f"{dataset} {sample}"


def _heading(comparison: Comparison, name: str) -> str:
    return (_MEANING if comparison["mode"] == "mcqa" else _SHARES)[name]


def _shown(figure: Mapping[str, Any], value: float, sign: str = "") -> str:
    # Adding 0 turns the negative zero of a rounded figure into the other one.
    digits = 1 if figure["unit"] == "percent" else 2
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}"


def _marked(cell: str, marked: bool) -> str:
    return f"{cell}{_MARK if marked else ' '}"


def _chance(p: float) -> str:
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def _value(value: Any) -> str:
    if value is None:
        return "default"
    if isinstance(value, list):
        return "+".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


def _some(episodes: int) -> str:
    return f"{episodes:,} episode{'' if episodes == 1 else 's'}"
