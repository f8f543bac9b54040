"""`pbclient compare`: runs against each other on the episodes that all of them resolved.

Every figure is over the episodes that the runs have in common, so that a difference is one of the runs
and not of their samples. A sample counts once: its value is the mean over its common repeats.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import lcm
from pathlib import Path
from typing import Any

from pbclient.benchmark.package import MCQA
from pbclient.compare.against_paper import beside_paper
from pbclient.compare.paired import Differences, TestResult, holm, test_of_average
from pbclient.compare.recorded import CommonEpisodes, Repeats, config_differences, other_data, read_runs
from pbclient.errors import InputError
from pbclient.scores.intervals import Interval, stratified_mean
from pbclient.scores.oeg import FIGURES

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


@dataclass(frozen=True, slots=True)
class Metric:
    """What is compared: a share (shown in percent) or a mean; `index` is where in the scores it is."""

    name: str
    index: int
    is_share: bool = True

    @property
    def factor(self) -> int:
        return 100 if self.is_share else 1


CHOICE = (Metric("acc", 0), Metric("ps", 1, is_share=False))
OPEN = tuple(Metric(name, index) for index, name in enumerate(FIGURES))


def compare(paths: Sequence[Path], *, force: bool = False, with_paper: bool = False) -> Comparison:
    """All that two or more runs tell of each other, as JSON.

    Shares and their differences are in percent, p-values between 0 and 1. `force` matches samples by
    id where the data are not known to be the same; `with_paper` holds each run against the paper too,
    for which one is enough. Raises `InputError` or `runs.RunError`.
    """
    if len(paths) < (1 if with_paper else 2):
        fewest = "a run: name its folder" if with_paper else "two runs or more: name their folders"
        raise InputError(f"A comparison needs {fewest}.")
    runs = read_runs(paths)
    common = CommonEpisodes.of(runs)
    samples = common.by_sample()
    different = other_data(runs, list(samples), force=force)
    metrics = CHOICE if runs[0].mode == MCQA else OPEN
    return {
        "schema": SCHEMA,
        "mode": runs[0].mode,
        "runs": [
            {
                "label": run.label,
                "path": str(run.path),
                "provider": run.config.get("provider"),
                "model": run.config.get("model"),
                "resolved": len(scores),
                "beyond": len(scores) - len(common.episodes),
                "without_score": unscored,
            }
            for run, scores, unscored in zip(runs, common.scores, common.unscored, strict=True)
        ],
        "differences": config_differences(runs),
        "other_data": different,
        "shared": {
            "episodes": len(common.episodes),
            "samples": {name: len(of) for name, of in samples.items()},
        },
        "figures": {metric.name: _compared(metric, samples, len(runs)) for metric in metrics},
        "flips": [
            {
                "runs": [first, second],
                "became_right": _flipped(common, first, second),
                "became_wrong": _flipped(common, second, first),
            }
            for first, second in combinations(range(len(runs)), 2)
        ],
        "method": METHOD,
        **({"paper": beside_paper(runs)} if with_paper else {}),
    }


def _flipped(common: CommonEpisodes, wrong: int, right: int) -> list[list[Any]]:
    """The episodes, by [dataset, sample, repeat], that one run got wrong and the other right."""
    scores = common.scores
    return [list(which) for which in common.episodes if scores[right][which][0] > scores[wrong][which][0]]


def _compared(metric: Metric, samples: _Samples, runs: int) -> _Entry:
    """One figure: of each run, of each pair of them, and which runs are highest."""
    datasets = {
        name: [
            metric.factor
            * _mean([_mean([scores[run][metric.index] for scores in repeats]) for repeats in of])
            for run in range(runs)
        ]
        for name, of in samples.items()
    }
    average = [_mean([values[run] for values in datasets.values()]) for run in range(runs)]
    pairs = [paired(metric, samples, pair) for pair in combinations(range(runs), 2)]
    adjust([entry for pair in pairs for entry in pair["datasets"].values()])
    adjust([pair["average"] for pair in pairs])
    return {
        "unit": "percent" if metric.is_share else "suggestions an episode",
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


def paired(metric: Metric, samples: _Samples, runs: tuple[int, int]) -> _Entry:
    """The second run less the first: by data set, and averaged."""
    strata = {name: _differences(metric, of, *runs) for name, of in samples.items()}
    datasets, intervals = {}, []
    for name, stratum in strata.items():
        # Seeded by data set and figure alone: neither the order of the runs nor their number moves a figure.
        seed = f"{name} {metric.name}"
        interval = stratum.interval(seed)
        if interval is not None:
            intervals.append((stratum.estimate, interval))
        datasets[name] = _entry(metric, stratum.estimate, interval, stratum.test(seed))
    mean = _mean([stratum.estimate for stratum in strata.values()])
    result = test_of_average(list(strata.values()), f"average {metric.name}")
    average = _entry(metric, mean, stratified_mean(intervals), result)
    return {"runs": list(runs), "datasets": datasets, "average": average}


def _differences(metric: Metric, samples: Sequence[Repeats], first: int, second: int) -> Differences:
    scale = lcm(*{len(repeats) for repeats in samples})
    counts: Counter[int] = Counter()
    gained = lost = 0
    for repeats in samples:
        weight = scale // len(repeats)
        steps = [scores[second][metric.index] - scores[first][metric.index] for scores in repeats]
        counts[weight * sum(steps)] += 1
        gained += weight * sum(step > 0 for step in steps)
        lost += weight * sum(step < 0 for step in steps)
    changed = (gained / scale, lost / scale) if metric.is_share else None
    return Differences(counts, scale, sum(map(len, samples)), changed)


def _entry(metric: Metric, difference: float, interval: Interval | None, result: TestResult) -> _Entry:
    return {
        "difference": round(metric.factor * difference, 6),
        "ci": None if interval is None else _rounded([metric.factor * limit for limit in interval]),
        "p": result.p,
        "p_holm": result.p,
        "test": result.test,
    }


def adjust(entries: Sequence[_Entry]) -> None:
    """Set `p_holm` over these entries, which are one family."""
    for entry, adjusted in zip(entries, holm([entry["p"] for entry in entries]), strict=True):
        entry["p_holm"] = adjusted


def _tied(values: Sequence[float], entries: Sequence[_Entry]) -> list[int]:
    """The highest run and all that cannot be told apart from it; `entries` are of all pairs in order."""
    highest = values.index(max(values))
    pairs = zip(combinations(range(len(values)), 2), entries, strict=True)
    apart = {run for pair, entry in pairs if highest in pair and entry["p_holm"] < LEVEL for run in pair}
    return [highest, *(run for run in range(len(values)) if run != highest and run not in apart)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _rounded(values: Sequence[float]) -> list[float]:
    # Adding 0 turns a negative zero into the other one.
    return [round(value, 6) + 0.0 for value in values]
