"""A figure with its interval: from counts, averaged over data sets, and as it stands in a summary."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pbclient.scores.intervals import Interval, stratified_mean, wilson

type Figure = tuple[float, Interval]
type Named = Mapping[str, Figure | None]


def independent(repeats: Iterable[int]) -> float:
    """How many episodes count as independent, from how many there are of each repeat.

    Repeats of a sample are not new samples. (sum m)^2 / sum m^2 for samples of m episodes is what the
    design effect of clusters leaves of them when all of a cluster are alike (L. Kish, "Survey Sampling",
    1965). Which sample has how many is not kept: the sum of squares is the largest there can be, that
    of repeats which were all made of the same samples. So no interval is too narrow.
    """
    fullest_first = sorted(repeats, reverse=True)
    squares = sum(count * (2 * rank + 1) for rank, count in enumerate(fullest_first))
    return sum(fullest_first) ** 2 / squares if squares else 0.0


def share(successes: int, total: int, samples: float) -> Figure | None:
    """`successes` of `total` in percent, with Wilson's interval; None where there are none.

    `samples` is how many of `total` count as independent, since repeats of a sample and turns of
    an episode are not new samples.
    """
    if not total:
        return None
    interval = wilson(successes if samples == total else successes / total * samples, samples)
    return None if interval is None else (100 * successes / total, percent(interval))


def span(successes: int, unknown: int, total: int) -> Interval:
    """Where a share in percent would be if all that is unknown were failures, or successes."""
    return 100 * successes / total, 100 * (successes + unknown) / total


def average(figures: Iterable[Figure | None]) -> Figure | None:
    """The mean over the data sets that have the figure, each of which weighs the same."""
    known = [figure for figure in figures if figure is not None]
    interval = stratified_mean(known)
    return None if interval is None else (sum(value for value, _ in known) / len(known), interval)


def average_span(spans: Iterable[Interval]) -> Interval | None:
    """The mean of the worst cases and the mean of the best; None where there are no data sets."""
    known = list(spans)
    if not known:
        return None
    return sum(worst for worst, _ in known) / len(known), sum(best for _, best in known) / len(known)


def entries(figures: Named, bounds: Mapping[str, Interval | None] | None = None) -> dict[str, Any]:
    """The keys of figures in a summary, and of the bounds of some; null where nothing stands behind one."""
    keys: dict[str, Any] = {}
    for name, figure in figures.items():
        keys |= {name: None, f"{name}_ci": None}
        if figure is not None:
            keys |= {name: rounded(figure[0]), f"{name}_ci": pair(figure[1])}
        if bounds and name in bounds:
            keys[f"{name}_bounds"] = pair(bounds[name])
    return keys


def averages(
    names: Iterable[str], datasets: Collection[Mapping[str, Figure | None]]
) -> dict[str, Figure | None]:
    """The average of each of these figures."""
    return {name: average(figures[name] for figures in datasets) for name in names}


def rounded(value: float) -> float:
    # The last digits of a float are noise; six decimals hide it and hold every real difference.
    return round(value, 6)


def pair(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [rounded(limit) for limit in interval]


def percent(interval: Interval) -> Interval:
    return 100 * interval[0], 100 * interval[1]
