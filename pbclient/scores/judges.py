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
from pbclient.scores.figures import Figure, entries, independent, share
from runs import Episode, Identity, identity


def agreement[L: Hashable](
    pairs: Mapping[tuple[L, L], int], size: float | None = None
) -> dict[str, Figure | None]:
    """The agreement of two judges, from how often each pair of labels was given.

    `raw` is the share of equal labels, with Wilson's interval, and `kappa` agreement beyond chance;
    there is none where both judges give one and the same label throughout, since they would agree
    always by chance alone. Its interval is the normal one, cut at 1, and has no width where all labels
    are equal, so that few pairs are then told by `raw` alone.

    J. Cohen, "A coefficient of agreement for nominal scales", Educ. Psychol. Meas. 20 (1960) 37-46;
    the asymptotic standard error is that of J. L. Fleiss, J. Cohen, B. S. Everitt, "Large sample
    standard errors of kappa and weighted kappa", Psychol. Bull. 72 (1969) 323-327, for a kappa that
    is not zero. `size` is how many of the pairs are independent, if not all.
    """
    n = sum(pairs.values())
    size = n if size is None else size
    equal = sum(count for (one, other), count in pairs.items() if one == other)
    raw, kappa = share(equal, n, size), None
    # In fractions, so that the order of the labels moves no digit.
    beyond_chance = _kappa({pair: Fraction(count, n) for pair, count in pairs.items()}) if raw else None
    if beyond_chance is not None:
        value, variance = beyond_chance
        half = NormalDist().inv_cdf((1 + 0.95) / 2) * sqrt(variance / size)
        kappa = value, (max(value - half, -1.0), min(value + half, 1.0))
    return {"raw": raw, "kappa": kappa}


def _kappa[L: Hashable](table: Mapping[tuple[L, L], Fraction]) -> tuple[float, float] | None:
    """Kappa of a table of shares, and its variance times the number of pairs."""
    rows: defaultdict[L, Fraction] = defaultdict(Fraction)
    columns: defaultdict[L, Fraction] = defaultdict(Fraction)
    for (one, other), part in table.items():
        rows[one] += part
        columns[other] += part
    raw = sum(part for (one, other), part in table.items() if one == other)
    chance = sum(part * columns[label] for label, part in list(rows.items()))
    if chance == 1:
        return None
    kappa = (raw - chance) / (1 - chance)
    spread = sum(
        part * ((one == other) - (columns[one] + rows[other]) * (1 - kappa)) ** 2
        for (one, other), part in table.items()
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
    found = {"n": whole.total(), **entries(agreement(whole, samples))}
    for part, index in _PARTS.items():
        labels: Counter[tuple[int, int]] = Counter()
        for (own, other), count in whole.items():
            labels[own[index], other[index]] += count
        found[part] = entries(agreement(labels, samples))
    return found
