"""Agreement of the run's own judge with the others, on the answers that both judged."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import sqrt
from statistics import NormalDist
from typing import Any

from pbclient.scores.checks import check_verdict_line
from pbclient.scores.figures import entry, independent, percent
from pbclient.scores.intervals import Interval, wilson
from runs import Episode, Identity, identity


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
    beyond_chance = _kappa({pair: Fraction(count, n) for pair, count in pairs.items()})
    if beyond_chance is None:
        return Agreement(n, equal / n, raw_ci, None, None)
    kappa, variance = beyond_chance
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


# The category and the suggestion of a verdict, each 0 or 1.
type _Label = tuple[int, int]

_PARTS = {"category": 0, "suggestion": 1}


@dataclass
class JudgePairs:
    """First all lines of other judges are read, then the run's own episodes compared with them.

    Memory grows with the episodes that other judges have judged.
    """

    _others: dict[Identity, dict[str, _Label]] = field(default_factory=dict)
    _pairs: dict[str, Counter[tuple[int, _Label, _Label]]] = field(default_factory=dict)

    def read(self, judge: str, line: Episode) -> None:
        """Remember a line of the judge of this name. Raises `InputError` for a damaged one."""
        check_verdict_line(line)
        self._pairs.setdefault(judge, Counter())
        if (label := _label(line)) is not None:
            self._others.setdefault(identity(line), {})[judge] = label

    def compare(self, episode: Episode) -> None:
        """Pair the run's own verdict on a checked episode with those of the others."""
        own = _label(episode) if self._others else None
        if own is not None:
            for judge, other in self._others.get(identity(episode), {}).items():
                self._pairs[judge][episode["repeat"], own, other] += 1

    def entry(self) -> dict[str, Any]:
        """As in a summary, by judge: over whole verdicts and over each of their two parts."""
        return {judge: _agreements(self._pairs[judge]) for judge in sorted(self._pairs)}


def _label(line: Episode) -> _Label | None:
    verdict = line.get("verdict")
    if verdict is None or line["outcome"] != "resolved":
        return None
    return verdict["category_prediction"], verdict["proactive_suggestion"]


def _agreements(pairs: Mapping[tuple[int, _Label, _Label], int]) -> dict[str, Any]:
    by_repeat: Counter[int] = Counter()
    whole: Counter[tuple[_Label, _Label]] = Counter()
    for (repeat, own, other), count in pairs.items():
        by_repeat[repeat] += count
        whole[own, other] += count
    samples = independent(by_repeat.values())
    entries = {"n": whole.total(), **_agreement(whole, samples)}
    for part, index in _PARTS.items():
        labels: Counter[tuple[int, int]] = Counter()
        for (own, other), count in whole.items():
            labels[own[index], other[index]] += count
        entries[part] = _agreement(labels, samples)
    return entries


def _agreement(pairs: Mapping[tuple[Any, Any], int], samples: float) -> dict[str, Any]:
    found = agreement(pairs, size=samples)
    raw = kappa = None
    if found is not None:
        raw = 100 * found.raw, percent(found.raw_ci)
        if found.kappa is not None and found.kappa_ci is not None:
            # No agreement is beyond 1, though the normal interval may be.
            low, high = found.kappa_ci
            kappa = found.kappa, (max(low, -1.0), min(high, 1.0))
    return {**entry("raw", raw), **entry("kappa", kappa)}
