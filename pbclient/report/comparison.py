"""A comparison as people read it: which tables and paragraphs, in which order.

Every figure comes from the comparison as it is. Scripts read the JSON instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pbclient.report.published import beside, chance
from pbclient.report.terminal import Grid, Part

type Comparison = Mapping[str, Any]

FIRST_FLIPS = 5
MANY = 4  # runs: from here on only the averages of pairs with the first, or no screen could hold them

_MEANING = {"acc": "acc %", "ps": "ps", "agg": "agg %"}
_SHARES = {"acc": "acc %", "ps": "ps %", "agg": "agg %"}
_MARK = "*"
_MARKED = f"{_MARK} the highest of the runs, or not told apart from it (p >= 0.05 after Holm)"


def parts(comparison: Comparison, *, flips: bool = False) -> list[Part]:
    """What is shown, from top to bottom; with `flips` every episode that changed is listed."""
    return [
        "\n".join(_introduction(comparison)),
        *(_figures(comparison, name) for name in comparison["figures"]),
        *(_between(comparison, flips) if len(comparison["runs"]) > 1 else ()),
        *(beside(comparison["paper"]) if "paper" in comparison else ()),
    ]


def _between(comparison: Comparison, flips: bool) -> list[Part]:
    """What tells the runs apart."""
    return [
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
    if len(comparison["runs"]) == 1:
        return
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
    """One figure: a row for each run, a column for each data set."""
    figure = comparison["figures"][name]
    columns = list(figure["datasets"])
    rows: list[list[str]] = []
    for number, run in enumerate(comparison["runs"]):
        rows.append([run["label"]])
        for column in columns:
            mark = _MARK if number in figure["highest"]["datasets"][column] else " "
            rows[-1].append(_shown(figure, figure["datasets"][column][number]) + mark)
        mark = _MARK if number in figure["highest"]["average"] else " "
        rows[-1].append(_shown(figure, figure["average"][number]) + mark)
    return Grid([_heading(comparison, name), *columns, "average"], rows)


def _under_figures(comparison: Comparison) -> Iterator[str]:
    yield _MARKED
    if len(comparison["runs"]) >= MANY:
        first = comparison["runs"][0]["label"]
        yield f"Below: each run against {first}, averages alone (--json has all; --flips lists episodes)."
    for name, figure in comparison["figures"].items():
        best, *others = [comparison["runs"][number]["label"] for number in figure["highest"]["average"]]
        tied = f"not told apart from it: {', '.join(others)}" if others else "told apart from all others"
        yield f"Highest average {name}: {best}; {tied}."


def _pairs(comparison: Comparison, name: str) -> Grid:
    """One figure: the differences of each pair of runs, by data set and averaged."""
    figure = comparison["figures"][name]
    samples = comparison["shared"]["samples"]
    rows: list[list[str]] = []
    breaks: list[int] = []
    for pair in _of_interest(comparison, figure["pairs"]):
        first, second = (comparison["runs"][number]["label"] for number in pair["runs"])
        breaks.append(len(rows))
        average = ("average", sum(samples.values()), pair["average"])
        every = () if len(comparison["runs"]) >= MANY else pair["datasets"].items()
        datasets = [(dataset, samples[dataset], entry) for dataset, entry in every]
        for dataset, count, entry in [*datasets, average]:
            difference, low, high = (
                _shown(figure, value, sign="+") for value in (entry["difference"], *entry["ci"])
            )
            chances = [chance(entry["p"]), chance(entry["p_holm"])]
            rows.append(
                [f"{second} - {first}", dataset, str(count), f"{difference} [{low}, {high}]", *chances]
            )
    headings = [_heading(comparison, name), "data set", "samples", "difference [95 % CI]", "p", "p Holm"]
    return Grid(headings, rows, tuple(breaks[1:]) if len(comparison["runs"]) < MANY else ())


def _of_interest(comparison: Comparison, pairs: Sequence[Comparison]) -> list[Comparison]:
    """All pairs, or of many runs those with the first."""
    return [pair for pair in pairs if len(comparison["runs"]) < MANY or pair["runs"][0] == 0]


def _flips(comparison: Comparison, every: bool) -> Iterator[str]:
    repeated = comparison["shared"]["episodes"] > sum(comparison["shared"]["samples"].values())
    for flips in _of_interest(comparison, comparison["flips"]):
        first, second = (comparison["runs"][number]["label"] for number in flips["runs"])
        right, wrong = flips["became_right"], flips["became_wrong"]
        yield f"From {first} to {second} {len(right)} became right and {len(wrong)} became wrong."
        if len(comparison["runs"]) >= MANY and not every:
            continue
        for kind, episodes in (("right", right), ("wrong", wrong)):
            shown = episodes if every else episodes[:FIRST_FLIPS]
            names = [
                f"{dataset} {sample} (repeat {repeat})" if repeated else f"{dataset} {sample}"
                for dataset, sample, repeat in shown
            ]
            more = f", and {len(episodes) - len(shown)} more (--flips)" if len(shown) < len(episodes) else ""
            if episodes:
                yield f"  {kind}: {', '.join(names)}{more}"


def _heading(comparison: Comparison, name: str) -> str:
    return (_MEANING if comparison["mode"] == "mcqa" else _SHARES)[name]


def _shown(figure: Mapping[str, Any], value: float, sign: str = "") -> str:
    # Adding 0 turns the negative zero of a rounded figure into the other one.
    digits = 1 if figure["unit"] == "percent" else 2
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}"


def _value(value: Any) -> str:
    if value is None:
        return "default"
    if isinstance(value, list):
        return "+".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


def _some(episodes: int) -> str:
    return f"{episodes:,} episode{'' if episodes == 1 else 's'}"
