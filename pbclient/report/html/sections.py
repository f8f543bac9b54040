"""The sections of the page: tables, figures and words made from summaries and comparisons as they are.

Nothing is estimated here: what has an interval was given it by `scores` or `compare`. A section is a
value, so that a page of another kind may add its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from pbclient.benchmark.package import MCQA
from pbclient.report import comparison as comparing
from pbclient.report.html.charts import Chart, Series, Value, columns, intervals, lines, stacked
from pbclient.report.html.reported import Reported
from pbclient.report.html.text import sentence
from pbclient.report.summary import notes, table
from pbclient.report.terminal import Grid
from pbclient.scores.checks import OUTCOMES

type Comparison = Mapping[str, Any]

_PARTS = (
    ("c0", "suggestion"),
    ("c1", "category"),
    ("c2", "abstention"),
    ("other", "none of the options"),
)
_ACTIONS = ("proactive", "category", "abstain", "mismatch")
_NAMES = {"acc": "Accuracy", "ps": "Suggestions", "agg": "Either"}
_FEW_RUNS = 4  # more are folded away
_FEW_PAIRS = 15  # a chart of more is no longer read

MOST = 1e12  # dollars or seconds; more is no amount of anything

SCORED = {
    MCQA: "The benchmark's own package decided every answer. acc is the share of resolved episodes that "
    "end in the right category; ps is the mean number of proactive suggestions in an episode. Episodes "
    "that were refused, cut off or failed are never scored: the bounds say where acc would be if all of "
    "them were wrong, or right. Intervals are of 95 %: Wilson's for shares, a seeded bootstrap for ps. "
    "An average weighs every data set the same.",
}
SCORED_OPEN = (
    "A judge read every answer, and the benchmark's own parser read the judge. acc is the share of judged "
    "answers that name the right category, ps the share with a valid suggestion, agg the share with either. "
    "Answers without a verdict are not scored: the bounds say where a figure would be if all of them were "
    "wrong, or right. Intervals are Wilson's of 95 %. An average weighs every data set the same."
)


@dataclass(frozen=True)
class Folded:
    """Blocks under a title that opens and closes them."""

    title: str
    blocks: Sequence[Block]
    open: bool = False


type Block = str | Grid | Chart | Folded


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading; `id` is its anchor."""

    id: str
    title: str
    blocks: Sequence[Block]


def sections(runs: Sequence[Reported], comparison: Comparison | None) -> Iterator[Section]:
    """The page from top to bottom: what separates the runs first, then each run, then what stands behind."""
    if comparison is not None:
        yield Section("differences", "Differences", list(_differences(comparison)))
    yield Section("results", "Results", list(_results(runs)))
    if any(run.episodes for run in runs):
        yield Section("figures", "Figures", list(_figures(runs)))
    yield Section("outcomes", "Outcomes", [_outcomes(runs)])
    mode = runs[0].mode
    yield Section("scoring", "How it was scored", [SCORED.get(mode, SCORED_OPEN)])


def lead(runs: Sequence[Reported], comparison: Comparison | None) -> Iterator[str]:
    """What to know first: the averages of a run, or which of several is highest and whom that tells apart."""
    if comparison is not None:
        labels = [run.label for run in runs]
        yield from (_verdict(name, figure, labels) for name, figure in comparison["figures"].items())
        return
    [run] = runs
    average, datasets = run.summary["average"], run.summary["datasets"]
    figures = [f"{_NAMES[name].lower()} {_said(average, name)}" for name in _shown_figures(run)]
    counted = "judged" if run.mode != MCQA else "resolved"
    scored, planned = (sum(entry[key] for entry in datasets.values()) for key in (counted, "n"))
    yield f"{', '.join(figures).capitalize()}; {scored:,} of {planned:,} episodes {counted}."


def _shown_figures(run: Reported) -> tuple[str, ...]:
    return ("acc", "ps") if run.mode == MCQA else ("acc", "ps", "agg")


def _said(average: Mapping[str, Any], name: str) -> str:
    value, interval = average[name], average[f"{name}_ci"]
    if value is None:
        return "unknown"
    digits, unit = (2, " an episode") if name == "ps" and "agg" not in average else (1, " %")
    return f"{value:.{digits}f}{unit} [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"


def _results(runs: Sequence[Reported]) -> Iterator[Block]:
    for run in runs:
        blocks: list[Block] = [table(dict(run.summary)), *map(sentence, notes(dict(run.summary)))]
        if len(runs) == 1:
            yield from blocks
        else:
            yield Folded(f"{run.label} ({run.model})", blocks, open=len(runs) <= _FEW_RUNS)


def _outcomes(runs: Sequence[Reported]) -> Grid:
    """How the episodes ended: a row a data set, or a row a run where there are several."""
    rows: dict[str, Counter[str]] = {}
    for run in runs:
        for dataset, entry in run.summary["datasets"].items():
            row = rows.setdefault(run.label if len(runs) > 1 else dataset, Counter())
            row.update(entry["outcomes"])
            row.update({"not run": entry["n"] - sum(entry["outcomes"].values()), "episodes": entry["n"]})
    seen = [name for name in (*OUTCOMES, "not run", "episodes") if any(row[name] for row in rows.values())]
    cells = [[name, *(f"{row[outcome]:,}" for outcome in seen)] for name, row in rows.items()]
    return Grid(["run" if len(runs) > 1 else "data set", *(name.replace("_", " ") for name in seen)], cells)


def _differences(comparison: Comparison) -> Iterator[Block]:
    """Pairs of runs, the second less the first, on the episodes that all of them resolved."""
    labels = [run["label"] for run in comparison["runs"]]
    samples = sum(comparison["shared"]["samples"].values())
    yield (
        f"Compared on the {comparison['shared']['episodes']:,} episodes (of {samples:,} samples) that all of "
        "them resolved; each difference with its 95 % interval, the tests corrected after Holm."
    )
    if comparison["other_data"]:
        names = ", ".join(comparison["other_data"])
        yield f"The data of {names} may differ: samples were matched by their ids."
    for name, figure in comparison["figures"].items():
        if len(figure["pairs"]) <= _FEW_PAIRS:
            yield _paired(name, figure, labels)
    grids = [part for part in comparing.parts(comparison) if isinstance(part, Grid)]
    count = len(comparison["figures"])
    yield from grids[:count]
    yield "* the highest of the runs, or not told apart from it (p >= 0.05 after Holm)"
    yield Folded("Every pair of runs, with its tests", grids[count:])
    rows = [
        [option, *(sentence("default" if value is None else value)[:60] for value in values)]
        for option, values in comparison["differences"].items()
        if not option.endswith("endpoint")
    ]
    if rows:
        yield Folded("Options in which they differ", [Grid(["option", *labels], rows, left=1 + len(labels))])


def _verdict(name: str, figure: Mapping[str, Any], labels: Sequence[str]) -> str:
    """Who is highest, and whom that tells apart, in a sentence."""
    best, *others = (labels[number] for number in figure["highest"]["average"])
    shown = "{} {:.1f} %" if figure["unit"] == "percent" else "{} {:.2f}"
    told = ", ".join(map(shown.format, labels, figure["average"]))
    apart = f"not told apart from it: {', '.join(others)}" if others else "told apart from all others"
    return f"{_NAMES[name]} ({name}): {told}. Highest is {best}, {apart}."


def _paired(name: str, figure: Mapping[str, Any], labels: Sequence[str]) -> Chart:
    """Two runs by data set, or the averages of every pair of more."""
    pairs = figure["pairs"]
    names = [" - ".join(labels[number] for number in reversed(pair["runs"])) for pair in pairs]
    rows, what = dict(zip(names, (pair["average"] for pair in pairs), strict=True)), "average differences"
    if len(pairs) == 1:
        rows, what = {**pairs[0]["datasets"], "average": pairs[0]["average"]}, names[0]
    digits, unit = (1, "percentage points") if figure["unit"] == "percent" else (2, "suggestions an episode")
    return intervals(
        f"{_NAMES[name]}: {what} ({unit})",
        list(rows),
        [Series("", [(entry["difference"], entry["ci"]) for entry in rows.values()])],
        zero=True,
        shown=f"{{:+.{digits}f}}".format,
    )


def _figures(runs: Sequence[Reported]) -> Iterator[Block]:
    rows = [*dict.fromkeys(name for run in runs for name in run.summary["datasets"]), "average"]
    open_ended = runs[0].mode != MCQA
    for name in _shown_figures(runs[0]):
        percent = open_ended or name == "acc"
        unit = "%" if percent else "an episode"
        shown = "{:.1f}" if percent else "{:.2f}"
        yield intervals(
            f"{_NAMES[name]} by data set ({unit})",
            rows,
            [Series(_name(run, runs), [_value(run, row, name) for row in rows]) for run in runs],
            shown=shown.format,
            limits=(0, 100) if percent else None,
        )
    if not open_ended:
        yield from _of_turns(runs, rows)
    yield from _spent(runs, rows[:-1])


def _of_turns(runs: Sequence[Reported], rows: Sequence[str]) -> Iterator[Chart]:
    shares = {}
    for run in runs:
        for row in rows if len(runs) == 1 else ["average"]:
            actions = _entry(run, row).get("actions", {})
            if all(actions.get(name) is not None for name in _ACTIONS):
                shares[row if len(runs) == 1 else run.label] = [actions[name] for name in _ACTIONS]
    what = "by data set" if len(runs) == 1 else "averaged over data sets"
    if shares:
        yield stacked(f"What the turns did, {what} (% of turns)", shares, _PARTS)
    by_turns = [run.summary["average"].get("by_turns", {}) for run in runs]
    places = [str(turns) for turns in sorted({int(turns) for of in by_turns for turns in of})]
    if not places:
        return
    counts, shares_right = [], []
    for run, of in zip(runs, by_turns, strict=True):
        entries = [of.get(turns) for turns in places]
        counts.append(Series(_name(run, runs), [entry and (entry["n"], None) for entry in entries]))
        right = [entry and (entry["acc"], entry["acc_ci"]) for entry in entries]
        shares_right.append(Series(_name(run, runs), right))
    yield columns("Turns until the end (episodes)", places, counts)
    yield lines("Accuracy by turns (% of episodes with so many turns)", places, shares_right)


def _spent(runs: Sequence[Reported], datasets: Sequence[str]) -> Iterator[Chart]:
    """What recorded answers cost and how long they took, those from the cache among them."""
    costs, seconds = [], []
    for run in runs:
        spent: dict[str, list[float]] = {name: [] for name in datasets}
        took: dict[str, list[float]] = {name: [] for name in datasets}
        for episode in run.episodes:
            turns = episode["turns"]
            dollars = sum(amount(turn.get("cost")) + amount(turn.get("saved")) for turn in turns)
            spent[episode["dataset"]].append(1000 * dollars)
            took[episode["dataset"]] += filter(None, (amount(turn.get("seconds")) for turn in turns))
        costs.append(
            Series(_name(run, runs), [(sum(of) / len(of), None) if of else None for of in spent.values()])
        )
        seconds.append(Series(_name(run, runs), [(median(of), None) if of else None for of in took.values()]))
    titles = (
        "Cost by data set (dollars for 1,000 episodes, cached answers included)",
        "Latency by data set (median seconds of an answer)",
    )
    for title, series in zip(titles, (costs, seconds), strict=True):
        if any(value and value[0] for one in series for value in one.values):
            yield intervals(title, datasets, series, shown="{:.2f}".format)


def amount(value: Any) -> float:
    """A recorded number of dollars or seconds; 0 for what is none."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST
    return float(value) if fits else 0.0


def _name(run: Reported, runs: Sequence[Reported]) -> str:
    return run.label if len(runs) > 1 else ""


def _entry(run: Reported, row: str) -> Mapping[str, Any]:
    summary = run.summary
    entry: Mapping[str, Any] = summary["average"] if row == "average" else summary["datasets"].get(row, {})
    return entry


def _value(run: Reported, row: str, name: str) -> Value | None:
    entry = _entry(run, row)
    value = entry.get(name)
    return None if value is None else (value, entry[f"{name}_ci"])
