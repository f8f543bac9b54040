"""A figure with its interval: from counts, averaged over data sets, and as it stands in a summary."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pbclient.scores.intervals import Interval, stratified_mean, wilson

type Figure = tuple[float, Interval]


def independent(repeats: Iterable[int]) -> float:
    """How many episodes count as independent, from how many there are of each repeat.

    Repeats of a sample are not new samples. (sum m)^2 / sum m^2 for samples of m episodes is what the
    design effect of clusters leaves of them when all of a cluster are alike (L. Kish, "Survey Sampling",
    1965). Which sample has how many is not kept: the sum of squares is the largest there can be, that
    of repeats which were all made of the same samples. So no interval is too narrow.
    """
    fullest_first = sorted(repeats, reverse=True)
    squares = sum(count * (2 * place + 1) for place, count in enumerate(fullest_first))
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


def average(estimates: Iterable[Figure | None]) -> Figure | None:
    """The mean over the data sets that have the figure, each of which weighs the same."""
    known = [each for each in estimates if each is not None]
    interval = stratified_mean(known)
    return None if interval is None else (sum(value for value, _ in known) / len(known), interval)


def average_span(spans: Iterable[Interval]) -> Interval | None:
    """The mean of the worst cases and the mean of the best; None where there are no data sets."""
    found = list(spans)
    if not found:
        return None
    return sum(worst for worst, _ in found) / len(found), sum(best for _, best in found) / len(found)


def entry(name: str, estimate: Figure | None) -> dict[str, Any]:
    """The two keys of a figure in a summary; null where nothing stands behind it."""
    if estimate is None:
        return {name: None, f"{name}_ci": None}
    return {name: figure(estimate[0]), f"{name}_ci": pair(estimate[1])}


def figure(value: float | None) -> float | None:
    # The last digits of a float are noise; six decimals hide it and hold every real difference.
    return None if value is None else round(value, 6)


def pair(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [round(limit, 6) for limit in interval]


def percent(interval: Interval) -> Interval:
    return 100 * interval[0], 100 * interval[1]
