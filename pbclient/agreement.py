"""How far two judges agree on the same answers: raw, and beyond chance (Cohen's kappa).

Statistics only; which verdicts are paired is the business of `judge_pairs`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import sqrt
from statistics import NormalDist

from pbclient.intervals import Interval, wilson


@dataclass(frozen=True, slots=True)
class Agreement:
    """`raw` is the share of equal labels, with Wilson's interval; `kappa` is agreement beyond chance.

    Both judges giving one and the same label throughout would agree always by chance alone: then
    there is no kappa. `kappa_ci` is the normal interval: it may pass 1, and has no width where all
    labels are equal, so that few pairs are then told by `raw_ci` alone.
    """

    n: int
    raw: float
    raw_ci: Interval
    kappa: float | None
    kappa_ci: Interval | None


def agreement[L: Hashable](
    pairs: Mapping[tuple[L, L], int], confidence: float = 0.95, size: float | None = None
) -> Agreement | None:
    """The agreement of two judges, from how often each pair of labels was given; None without pairs.

    J. Cohen, "A coefficient of agreement for nominal scales", Educ. Psychol. Meas. 20 (1960) 37-46;
    the asymptotic standard error is that of J. L. Fleiss, J. Cohen, B. S. Everitt, "Large sample
    standard errors of kappa and weighted kappa", Psychol. Bull. 72 (1969) 323-327, for a kappa that
    is not zero. `size` is how many of the pairs are independent, if not all.
    """
    n = sum(pairs.values())
    size = n if size is None else size
    equal = sum(count for (one, other), count in pairs.items() if one == other)
    raw_ci = wilson(equal if size == n else equal / n * size, size, confidence)
    if raw_ci is None:
        return None
    # In fractions, so that the order of the labels moves no digit.
    found = _kappa({pair: Fraction(count, n) for pair, count in pairs.items()})
    if found is None:
        return Agreement(n, equal / n, raw_ci, None, None)
    kappa, variance = found
    half = NormalDist().inv_cdf((1 + confidence) / 2) * sqrt(variance / size)
    return Agreement(n, equal / n, raw_ci, kappa, (kappa - half, kappa + half))


def _kappa[L: Hashable](table: Mapping[tuple[L, L], Fraction]) -> tuple[float, float] | None:
    """Kappa of a table of shares, and its variance times the number of pairs."""
    rows: defaultdict[L, Fraction] = defaultdict(Fraction)
    columns: defaultdict[L, Fraction] = defaultdict(Fraction)
    for (one, other), share in table.items():
        rows[one] += share
        columns[other] += share
    raw = sum(share for (one, other), share in table.items() if one == other)
    chance = sum(share * columns[label] for label, share in list(rows.items()))
    if chance == 1:
        return None
    kappa = (raw - chance) / (1 - chance)
    spread = sum(
        share * ((one == other) - (columns[one] + rows[other]) * (1 - kappa)) ** 2
        for (one, other), share in table.items()
    )
    return float(kappa), float((spread - (kappa - chance * (1 - kappa)) ** 2) / (1 - chance) ** 2)
