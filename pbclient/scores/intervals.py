"""How sure a figure is: intervals for shares, for means and for averages over data sets.

Statistics only, pure and deterministic: the same counts give the same interval on every machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import floor, sqrt
from random import Random
from statistics import NormalDist

type Interval = tuple[float, float]


def wilson(successes: float, n: float, confidence: float = 0.95) -> Interval | None:
    """The score interval for a share, without continuity correction; None where nothing was tried.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    JASA 22 (1927) 209-212. It stays inside [0, 1] and is honest at 0 and at n.
    Both may be fractions when `n` is an effective sample size.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes out of {n}")
    if not n:
        return None
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    weight = n + z * z
    centre = (successes + z * z / 2) / weight
    half = z / weight * sqrt(successes * (n - successes) / n + z * z / 4)
    # The formula is exactly 0 and 1 at the two ends; floating point misses by an ulp.
    low = max(0.0, centre - half) if successes else 0.0
    high = min(1.0, centre + half) if successes < n else 1.0
    return low, high


def bootstrap_mean(
    counts: Mapping[int, int],
    seed: int | str,
    resamples: int = 2000,
    confidence: float = 0.95,
    size: int | None = None,
) -> Interval | None:
    """The percentile bootstrap interval for the mean of a sample given as value -> count; None if empty.

    B. Efron, "Bootstrap methods: another look at the jackknife", Ann. Statist. 7 (1979) 1-26;
    percentiles interpolate linearly between order statistics. `size` is how many values one
    resample draws, where the sample holds fewer independent values than it counts.
    A sample of equal values shows no spread, so its interval has no width.
    """
    sample, total = _frequent_first(counts), sum(counts.values())
    size = total if size is None else size
    if not total or not size:
        return None
    rng = Random(seed)
    sums = sorted(
        sum(value * taken for value, taken in _resampled(rng, sample, total, size)) for _ in range(resamples)
    )
    return _quantile(sums, (1 - confidence) / 2) / size, _quantile(sums, (1 + confidence) / 2) / size


def bootstrap_ratio(
    counts: Mapping[tuple[int, int], int],
    seed: int | str,
    resamples: int = 2000,
    confidence: float = 0.95,
    size: int | None = None,
) -> Interval | None:
    """The percentile bootstrap interval for a ratio of two means, such as a reward per turn.

    The sample is given as (numerator, denominator) -> count, one pair an independent unit, each
    denominator at least 1; otherwise as `bootstrap_mean`, which it equals where each is 1.
    """
    sample, total = _frequent_first(counts), sum(counts.values())
    size = total if size is None else size
    if not total or not size:
        return None
    rng = Random(seed)
    ratios = sorted(_ratio(_resampled(rng, sample, total, size)) for _ in range(resamples))
    return _quantile(ratios, (1 - confidence) / 2), _quantile(ratios, (1 + confidence) / 2)


def stratified_mean(strata: Iterable[tuple[float, Interval]]) -> Interval | None:
    """The interval for the mean of independent estimates that weigh the same; None where there are none.

    Each stratum is (estimate, its own interval), all at one confidence. The variance is recovered
    from the limits (MOVER): G. Y. Zou, W. Huang, X. Zhang, "A note on confidence interval
    estimation for a linear function of binomial proportions", Comput. Stat. Data Anal. 53 (2009)
    1080-1085; for other parameters G. Y. Zou, A. Donner, Stat. Med. 27 (2008) 1693-1702.
    One stratum gives back its own interval, and no limit leaves the range of the strata's limits.
    """
    strata = list(strata)
    if not strata:
        return None
    weight = 1 / len(strata)
    mean = sum(estimate for estimate, _ in strata) * weight
    below = sqrt(sum(max(0.0, estimate - low) ** 2 for estimate, (low, _) in strata)) * weight
    above = sqrt(sum(max(0.0, high - estimate) ** 2 for estimate, (_, high) in strata)) * weight
    return mean - below, mean + above


def _frequent_first[T: (int, tuple[int, int])](counts: Mapping[T, int]) -> list[tuple[T, int]]:
    # Most resamples are then finished after few draws; ties by value, so that the order is one.
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _resampled[T](
    rng: Random, sample: Sequence[tuple[T, int]], total: int, size: int
) -> Iterator[tuple[T, int]]:
    # A multinomial draw is a chain of binomial ones: its cost is the number of distinct
    # values, not of values drawn.
    for value, count in sample:
        taken = rng.binomialvariate(size, count / total)
        yield value, taken
        size -= taken
        total -= count
        if not size:
            break


def _ratio(resample: Iterable[tuple[tuple[int, int], int]]) -> float:
    above = below = 0
    for (numerator, denominator), taken in resample:
        above += numerator * taken
        below += denominator * taken
    return above / below


def _quantile(ordered: Sequence[float], share: float) -> float:
    rank = share * (len(ordered) - 1)
    below = floor(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - below)
