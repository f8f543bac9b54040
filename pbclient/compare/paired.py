"""What two runs on the same samples tell about their difference: tests and intervals for pairs.

Statistics only, pure and deterministic: the same differences give the same figures on every machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import fsum, gcd, lcm, sqrt
from operator import itemgetter
from random import Random
from statistics import NormalDist

from pbclient.scores.intervals import Interval, bootstrap_mean

MONTE_CARLO = 19_999  # with the sample as observed one of 20,000
_EXACT_WORK = 2_000_000  # products of probabilities: well under a second

MCNEMAR = "exact McNemar"
SIGN_FLIP = "exact sign-flip permutation"
SIGN_FLIP_DRAWN = f"sign-flip permutation, {MONTE_CARLO:,} draws"


@dataclass(frozen=True, slots=True)
class TestResult:
    """A two-sided p-value and the name of the test that gave it."""

    p: float
    test: str


def mcnemar(gained: int, lost: int) -> float:
    """The exact two-sided p-value for paired yes-no answers, from the pairs that changed in each direction.

    Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12 (1947) 153-157, with the binomial distribution itself.
    """
    changed, fewer = gained + lost, min(gained, lost)
    term = tail = 1
    for step in range(fewer):
        term = term * (changed - step) // (step + 1)
        tail += term
    return min(1.0, tail / 2 ** (changed - 1)) if changed else 1.0


def tango(gained: float, lost: float, n: float, confidence: float = 0.95) -> Interval | None:
    """The score interval for a difference of paired shares, (gained - lost) / n; None where n is 0.

    T. Tango, "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design", Stat. Med. 17 (1998) 891-908: the differences that its score test would
    not reject. It has a width where nothing changed and stays inside [-1, 1]. The counts may be
    fractions when `n` is an effective sample size.
    """
    if gained < 0 or lost < 0 or gained + lost > n * (1 + 1e-12):
        raise ValueError(f"{gained} gained and {lost} lost out of {n}")
    if not n:
        return None
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    # The upper limit is the lower one of the same pairs the other way round.
    return _lower(gained, lost, n, z), -_lower(lost, gained, n, z)


def _lower(gained: float, lost: float, n: float, z: float) -> float:
    low, high = -1.0, (gained - lost) / n
    while low < (middle := (low + high) / 2) < high:
        excess = gained - lost - n * middle
        if excess > z * _score_error(gained, lost, n, middle):
            low = middle
        else:
            high = middle
    return high


def _score_error(gained: float, lost: float, n: float, difference: float) -> float:
    """The standard error of gained - lost when the difference of the shares is as given."""
    b = (2 * n - gained + lost) * difference - gained - lost
    c = -lost * difference * (1 - difference)
    share_lost = (sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    return sqrt(max(0.0, n * (2 * share_lost + difference * (1 - difference))))


def sign_flip(differences: Mapping[int, int], seed: int | str) -> TestResult:
    """The paired permutation test of a sum of 0, from differences given as value -> count; two-sided.

    Under the hypothesis each difference is as likely with the other sign (R. A. Fisher, "The design
    of experiments", 1935, section 21). All signs are counted where that is feasible; else drawn,
    and p = (b + 1) / (m + 1): B. Phipson, G. K. Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010) 39.
    On differences of -1, 0 and 1 it is the exact McNemar test.
    """
    sizes: Counter[int] = Counter()
    for value, count in differences.items():
        sizes[abs(value)] += count if value else 0
    unit = gcd(*sizes)
    if not unit:
        return TestResult(1.0, SIGN_FLIP)
    groups = sorted(((size // unit, count) for size, count in sizes.items() if size), key=itemgetter(1, 0))
    observed = abs(sum(value * count for value, count in differences.items())) // unit
    # A sum of signed sizes is twice what has the plus, less the sum of all.
    needed = (observed + sum(size * count for size, count in groups)) // 2
    if _work(groups) <= _EXACT_WORK:
        return TestResult(_counted(groups, needed) if observed else 1.0, SIGN_FLIP)
    return TestResult(_drawn(groups, observed, seed), SIGN_FLIP_DRAWN)


def _work(groups: Sequence[tuple[int, int]]) -> int:
    """How many products the distribution of all groups but the largest takes, at most."""
    work, points, reach = 0, 1, 0
    for size, count in groups[:-1]:
        work += points * (count + 1)
        reach += size * count
        points = min(points * (count + 1), reach + 1)
    return work


def _counted(groups: Sequence[tuple[int, int]], needed: int) -> float:
    """Twice the chance that what has the plus is at least `needed`."""
    chances = {0: 1.0}
    *others, (size, count) = groups
    for other, many in others:
        binomial = _binomial(many)
        longer: dict[int, float] = {}
        for total, chance in chances.items():
            for plus, weight in enumerate(binomial):
                reached = total + other * plus
                longer[reached] = longer.get(reached, 0.0) + chance * weight
        chances = longer
    # Of the largest group only the tail is needed, which spares the longest of the products.
    tail = [*accumulate(reversed(_binomial(count)), initial=0.0)][::-1]
    missing = ((chance, -((total - needed) // size)) for total, chance in chances.items())
    return min(1.0, 2 * fsum(chance * tail[max(0, plus)] for chance, plus in missing if plus <= count))


def _binomial(count: int) -> list[float]:
    """The chances of 0, 1, ..., `count` heads of so many coins."""
    term, chances = 1, []
    for heads in range(count + 1):
        chances.append(term / 2**count)
        term = term * (count - heads) // (heads + 1)
    return chances


def _drawn(groups: Sequence[tuple[int, int]], observed: int, seed: int | str) -> float:
    rng = Random(seed)
    whole = sum(size * count for size, count in groups)
    extreme = 0
    for _ in range(MONTE_CARLO):
        plus = sum(size * rng.getrandbits(count).bit_count() for size, count in groups)
        extreme += abs(2 * plus - whole) >= observed
    return (extreme + 1) / (MONTE_CARLO + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for being so many, in their order.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 6 (1979) 65-70.
    """
    adjusted = [0.0] * len(p_values)
    most = 0.0
    for rank, number in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        most = max(most, min(1.0, (len(p_values) - rank) * p_values[number]))
        adjusted[number] = most
    return adjusted


@dataclass(frozen=True, slots=True)
class Differences:
    """One figure of two runs over the samples of one data set, second less first: one difference a sample.

    `counts` is difference -> number of samples, in units of 1/`scale` so that all are whole;
    `episodes` is how many they were over. `changed` is None for a mean; for a share it is how many
    samples gained and lost it, where one whose repeats differ counts by the parts. A sample is one
    unit however often it was repeated, since its repeats are not independent: tests flip the sign
    of whole samples, the bootstrap draws whole samples, and shares have an effective sample size.
    """

    counts: Mapping[int, int]
    scale: int
    episodes: int
    changed: tuple[float, float] | None

    @property
    def samples(self) -> int:
        return sum(self.counts.values())

    @property
    def estimate(self) -> float:
        """The mean difference."""
        return sum(value * count for value, count in self.counts.items()) / (self.scale * self.samples)

    def interval(self, seed: int | str) -> Interval | None:
        """95 %: Tango's for a share, the percentile bootstrap over samples for a mean."""
        if self.changed is not None:
            gained, lost = self.changed
            weight = self._effective_samples(gained + lost) / self.samples
            return tango(weight * gained, weight * lost, weight * self.samples)
        # Drawn of whichever direction sorts first, so that the other way round gives the mirror image.
        back = {-value: count for value, count in self.counts.items()}
        turned = sorted(back.items()) < sorted(self.counts.items())
        drawn = bootstrap_mean(back if turned else self.counts, seed)
        if drawn is None:
            return None
        low, high = (-drawn[1], -drawn[0]) if turned else drawn
        if back == self.counts:
            # Differences that are their own mirror image have an interval that is one, too.
            low, high = (low - high) / 2, (high - low) / 2
        return low / self.scale, high / self.scale

    def _effective_samples(self, changed: float) -> float:
        """How many samples without repeats would tell as much; never fewer than there are.

        The variance of one episode's difference over that of a sample's: J. N. K. Rao, A. J. Scott,
        "A simple method for the analysis of clustered binary data", Biometrics 48 (1992) 577-585.
        """
        if self.scale == 1:
            return self.samples
        square = self.estimate**2
        of_episodes = changed / self.samples - square
        squares = sum((value / self.scale) ** 2 * count for value, count in self.counts.items())
        of_samples = squares / self.samples - square
        if of_episodes <= of_samples:
            return self.samples
        return min(self.episodes, self.samples * of_episodes / max(of_samples, 1e-12))

    def test(self, seed: int | str) -> TestResult:
        """Exact McNemar for a share without repeats, else the sign-flip permutation over samples."""
        if self.changed is not None and self.scale == 1:
            gained, lost = self.changed
            return TestResult(mcnemar(round(gained), round(lost)), MCNEMAR)
        return sign_flip(self.counts, seed)


def test_of_average(strata: Sequence[Differences], seed: int | str) -> TestResult:
    """The permutation test of the mean over data sets of their mean differences; each weighs the same."""
    units = [stratum.scale * stratum.samples for stratum in strata]
    whole = lcm(*units)
    pooled: Counter[int] = Counter()
    for stratum, unit in zip(strata, units, strict=True):
        for value, count in stratum.counts.items():
            pooled[value * (whole // unit)] += count
    return sign_flip(pooled, seed)
