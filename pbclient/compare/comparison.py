"""`pbclient compare`: runs against each other on the episodes that all of them resolved.

Every figure is over the shared episodes, so that a difference is one of the runs and not of their
samples. A sample counts once: its value is the mean over the repeats that are shared. What the
statistics are is in `paired`, how they look to people in `compare_table`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from math import lcm
from pathlib import Path
from typing import Any

from pbclient.compare.paired import Differences, TestResult, holm, test_of_average
from pbclient.compare.recorded import (
    config_differences,
    other_data,
    read_runs,
    refuse_mixed_modes,
    refuse_other_data,
)
from pbclient.compare.shared import Metric, Repeats, Shared, shared_episodes
from pbclient.errors import InputError
from pbclient.scores.intervals import Interval, stratified_mean

SCHEMA = 1
LEVEL = 0.05  # runs are told apart below it

METHOD = {
    "episodes": "those that all runs resolved",
    "samples": "one unit each, its value the mean over its shared repeats",
    "average": "over data sets, each weighing the same",
    "interval_of_shares": "Tango's score interval for paired shares, 95 %; "
    "with repeats at the effective sample size of Rao and Scott",
    "interval_of_means": "seeded percentile bootstrap over samples, 95 %; without width, and "
    "telling nothing, where all samples differ alike",
    "interval_of_averages": "variances recovered from the data sets' limits (MOVER), 95 %",
    "test_of_shares": "exact McNemar; with repeats as for means",
    "test_of_averages": "sign-flip permutation over all samples, each weighing as in the average",
    "test_of_means": "sign-flip permutation over samples: exact where feasible, else seeded draws",
    "intervals": "each is for itself, not adjusted for their number",
    "p_holm": "Holm over data sets and pairs of runs, for each figure; for averages over the pairs",
    "tied": f"the highest run, and those whose difference from it has p_holm >= {LEVEL}",
}

type Comparison = dict[str, Any]
type _Entry = dict[str, Any]
type _Samples = Mapping[str, Sequence[Repeats]]


def compare(paths: Sequence[Path], *, force: bool = False) -> Comparison:
    """All that two or more runs tell of each other, as JSON.

    Shares and their differences are in percent, p-values between 0 and 1. `force` matches samples by
    id where the data are not known to be the same. Raises `InputError` or `runs.RunError`.
    """
    if len(paths) < 2:
        raise InputError("A comparison needs two runs or more: name their folders.")
    runs = read_runs(paths)
    refuse_mixed_modes(runs)
    shared = shared_episodes(runs)
    samples = shared.by_sample()
    differ = other_data(runs, list(samples))
    if not force:
        refuse_other_data(runs, differ)
    return {
        "schema": SCHEMA,
        "mode": runs[0].mode,
        "runs": [_described(shared, place) for place in range(len(runs))],
        "differences": config_differences(runs),
        "other_data": differ,
        "shared": {
            "episodes": len(shared.episodes),
            "samples": {name: len(found) for name, found in samples.items()},
        },
        "figures": {figure.name: _compared(figure, samples, len(runs)) for figure in shared.figures},
        "flips": [_flips(shared, first, second) for first, second in combinations(range(len(runs)), 2)],
        "method": METHOD,
    }


def _described(shared: Shared, place: int) -> _Entry:
    run, resolved = shared.runs[place], len(shared.scores[place])
    return {
        "label": run.label,
        "path": str(run.path),
        "provider": run.config.get("provider"),
        "model": run.config.get("model"),
        "resolved": resolved,
        "beyond": resolved - len(shared.episodes),
        "without_score": shared.unscored[place],
    }


def _compared(figure: Metric, samples: _Samples, runs: int) -> _Entry:
    """One figure: of each run, of each pair of them, and which runs are highest."""
    datasets = {name: _values(figure, found, runs) for name, found in samples.items()}
    average = [_mean([values[run] for values in datasets.values()]) for run in range(runs)]
    pairs = [_pair(figure, samples, pair) for pair in combinations(range(runs), 2)]
    _adjust([entry for pair in pairs for entry in pair["datasets"].values()])
    _adjust([pair["average"] for pair in pairs])
    return {
        "unit": "percent" if figure.share else "suggestions an episode",
        "datasets": {name: _rounded(values) for name, values in datasets.items()},
        "average": _rounded(average),
        "pairs": pairs,
        "highest": {
            "datasets": {
                name: _tied(values, [pair["datasets"][name] for pair in pairs])
                for name, values in datasets.items()
            },
            "average": _tied(average, [pair["average"] for pair in pairs]),
        },
    }


def _values(figure: Metric, samples: Sequence[Repeats], runs: int) -> list[float]:
    """The figure of each run over one data set."""
    return [
        figure.factor
        * _mean([_mean([scores[run][figure.place] for scores in repeats]) for repeats in samples])
        for run in range(runs)
    ]


def _pair(figure: Metric, samples: _Samples, runs: tuple[int, int]) -> _Entry:
    """The second run less the first: by data set, and averaged."""
    strata = {name: _differences(figure, found, *runs) for name, found in samples.items()}
    # Seeded by data set and figure alone: neither the order of the runs nor their number moves a figure.
    seeds = {name: f"{name} {figure.name}" for name in strata}
    intervals = {name: each.interval(seeds[name]) for name, each in strata.items()}
    estimates = {name: each.estimate for name, each in strata.items()}
    known = [(estimates[name], interval) for name, interval in intervals.items() if interval is not None]
    return {
        "runs": list(runs),
        "datasets": {
            name: _entry(figure, estimates[name], intervals[name], each.test(seeds[name]))
            for name, each in strata.items()
        },
        "average": _entry(
            figure,
            _mean(list(estimates.values())),
            stratified_mean(known),
            test_of_average(list(strata.values()), f"average {figure.name}"),
        ),
    }


def _differences(figure: Metric, samples: Sequence[Repeats], first: int, second: int) -> Differences:
    scale = lcm(*{len(repeats) for repeats in samples})
    counts: Counter[int] = Counter()
    gained = lost = 0
    for repeats in samples:
        weight = scale // len(repeats)
        steps = [scores[second][figure.place] - scores[first][figure.place] for scores in repeats]
        counts[weight * sum(steps)] += 1
        gained += weight * sum(step > 0 for step in steps)
        lost += weight * sum(step < 0 for step in steps)
    changed = (gained / scale, lost / scale) if figure.share else None
    return Differences(counts, scale, sum(map(len, samples)), changed)


def _entry(figure: Metric, difference: float, interval: Interval | None, verdict: TestResult) -> _Entry:
    return {
        "difference": round(figure.factor * difference, 6),
        "ci": None if interval is None else _rounded([figure.factor * limit for limit in interval]),
        "p": verdict.p,
        "p_holm": verdict.p,
        "test": verdict.test,
    }


def _adjust(entries: Sequence[_Entry]) -> None:
    for entry, adjusted in zip(entries, holm([entry["p"] for entry in entries]), strict=True):
        entry["p_holm"] = adjusted


def _tied(values: Sequence[float], entries: Sequence[_Entry]) -> list[int]:
    """The highest run and all that cannot be told apart from it; `entries` are of all pairs in order."""
    highest = values.index(max(values))
    pairs = zip(combinations(range(len(values)), 2), entries, strict=True)
    apart = {run for pair, entry in pairs if highest in pair and entry["p_holm"] < LEVEL for run in pair}
    return [highest, *(run for run in range(len(values)) if run != highest and run not in apart)]


def _flips(shared: Shared, first: int, second: int) -> _Entry:
    """The episodes whose answer changed from the first run to the second, by [dataset, sample, repeat]."""
    return {
        "runs": [first, second],
        "became_right": list(_changed(shared, first, second)),
        "became_wrong": list(_changed(shared, second, first)),
    }


def _changed(shared: Shared, wrong: int, right: int) -> Iterator[list[Any]]:
    for which in shared.episodes:
        if shared.scores[right][which][0] > shared.scores[wrong][which][0]:
            yield list(which)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _rounded(values: Sequence[float]) -> list[float]:
    # Adding 0 turns a negative zero into the other one.
    return [round(value, 6) + 0.0 for value in values]
