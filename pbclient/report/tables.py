"""Results as people read them: a check of a data folder, an estimate, a filter, rewards.

Every figure comes from the result as it is. Scripts read the JSON instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pbclient.money.amounts import format_amount
from pbclient.report.summary import Summary, figure
from pbclient.report.terminal import Grid, Part

if TYPE_CHECKING:
    from pbclient.data.check import Report
    from pbclient.forecast.estimate import Estimate

_COST = ("", "episodes", "calls least", "expected", "most", "$ least", "expected", "most")
_REACH = ("", "episodes", "+- acc", "difference", "at worst", "+- acc", "difference")
_FILTER = ("data set", "samples before", "paper", "after", "paper", "first-turn acc % before", "after")
_CURVE = ("dropped from", "models", "samples", "first-turn acc %")
_REWARDS = ("data set", "episodes", "turns", "reward a turn [95 % CI]", "reward an episode [95 % CI]")


def of_check(report: Report) -> list[Part]:
    """The counts of each data set, and a line for each problem."""
    counts = {each.dataset: [each.rows, each.kept, each.published, each.frames] for each in report.datasets}
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


def of_estimate(estimate: Estimate) -> list[Part]:
    """What it costs, what the limit buys, in tables that fit 80 columns, and what both rest on."""
    costs: list[list[str]] = []
    for name, figures in [*estimate.datasets.items(), ("total", estimate.total)]:
        calls, cost = figures.calls, figures.cost
        costs.append([name, f"{figures.episodes:,}"])
        costs[-1] += [f"{value:,.0f}" for value in (calls.least, calls.expected, calls.most)]
        for value in (cost.least, cost.expected, cost.most):
            costs[-1].append(format_amount(value).removeprefix("$"))
    reached: list[list[str]] = []
    for name, figures in [*estimate.datasets.items(), ("average", estimate.total)]:
        reached.append([name])
        for reach in (figures.buys, figures.buys_at_worst):
            points = [reach.acc_half_width, reach.detectable]
            reached[-1].append(f"{reach.episodes:,}")
            reached[-1] += ["-" if value is None else f"{value:.1f}" for value in points]
    what = "What a run without a limit tells:"
    if estimate.limit is not None:
        limit = format_amount(estimate.limit)
        what = f"What {limit} buys in the seeded order, as expected and at worst:"
    spent, bought = Grid(_COST, costs, total=True), Grid(_REACH, reached, total=True)
    return [spent, what, bought, "\n".join(estimate.assumptions)]


def of_filter(filtered: Summary) -> list[Part]:
    """The runs that it is made of, the table before and after, what had to be decided."""
    made, table = filtered["made"], filtered["table"]
    before, after, paper = table["before"], table["after"], table["paper"]
    models = ", ".join(f"{run['provider']} {run['model']}" for run in made["runs"])
    above = [f"From {len(made['runs'])} run{'' if len(made['runs']) == 1 else 's'}: {models}."]
    if played := sorted({run["filter"] for run in made["runs"]} - {"none"}):
        above.append(
            f"They were played on samples that are filtered already ({', '.join(played)}): "
            "for the paper's rule play them with --filter none."
        )
    rows: list[list[str]] = []
    for name, entry in [*before["datasets"].items(), ("total", before["total"])]:
        nothing = {"samples": 0, "first_turn_acc": None}
        pair = entry, after["total"] if name == "total" else after["datasets"].get(name, nothing)
        rows.append([name])
        for each, of_paper in zip(pair, (paper["before"], paper["after"]), strict=True):
            rows[-1] += [f"{each['samples']:,}", f"{of_paper[name]:,}"]
        rows[-1] += [_percent(each["first_turn_acc"]) for each in pair]
    below = [
        f"Dropped are samples that at least {made['threshold_percent']:g} % of the runs answered correctly "
        "at the first turn."
    ]
    if made["partly_resolved"]:
        below.append(f"Not resolved in every run (their share is over the others): {made['partly_resolved']}")
    if none := sum(map(len, made["resolved_by_none"].values())):
        below.append(f"Resolved in no run, and kept: {none}")
    if made["other_data"]:
        names = ", ".join(made["other_data"])
        below.append(f"The data of {names} may differ: samples are matched by their ids alone (--force).")
    grid = Grid(_FILTER, rows, breaks=(len(rows) - 1,), total=True)
    return ["\n".join(above), grid, "\n".join(below), of_curve(filtered["curve"])]


def of_curve(curve: Sequence[Mapping[str, Any]]) -> Grid:
    """What is left of all samples, by the share of models from which on a sample is dropped."""
    rows: list[list[str]] = []
    for entry in curve:
        percent, total = entry["threshold_percent"], entry["total"]
        which = ["none dropped", "-"] if percent is None else [f"{percent:.1f} %", str(entry["models"])]
        rows.append([*which, f"{total['samples']:,}", _percent(total["first_turn_acc"])])
    return Grid(_CURVE, rows)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1f}"


def of_runs(entries: Sequence[Summary]) -> Grid:
    """A row a run: where it is, who answered under which conditions, its figures and cost."""
    rows: list[list[str]] = []
    for entry in entries:
        if "error" in entry:
            rows.append([entry["path"], "damaged", *[""] * 6])
            continue
        acc, ps, cost = (entry[name] for name in ("acc", "ps", "cost"))
        done = "-" if entry["resolved"] is None else f"{entry['resolved']:,}"
        rows.append([entry["path"], str(entry["model"]), entry["conditions"], (entry["created"] or "")[:10]])
        rows[-1] += [
            f"{done} of {entry['planned']:,}",
            "-" if acc is None else f"{acc:.1f}",
            "-" if ps is None else f"{ps:.2f}",
            "-" if cost is None else format_amount(cost),
        ]
    headings = ["run", "model", "conditions", "date", "resolved", "acc %", "ps", "cost"]
    return Grid(headings, rows, left=4)


def of_rewards(rewards: Summary) -> Grid:
    """The rewards of a run, by data set and averaged over them."""
    rows: list[list[str]] = []
    datasets = rewards["datasets"]
    totals = {key: sum(of[key] for of in datasets.values()) for key in ("episodes", "turns")}
    for name, of in [*datasets.items(), ("average", {**totals, **rewards["average"]})]:
        shown = [figure(of[name], of[f"{name}_ci"], "{:.3f}".format) for name in ("per_turn", "per_episode")]
        rows.append([name, str(of["episodes"]), str(of["turns"]), *shown])
    return Grid(_REWARDS, rows, total=True)
