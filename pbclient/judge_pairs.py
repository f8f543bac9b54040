"""The run's own judge beside the others: their verdicts on the same answers, paired.

Keeps a small entry for each episode that another judge has judged; without other judges, nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pbclient.agreement import agreement
from pbclient.checked import Episode
from pbclient.estimates import entry, independent, percent
from pbclient.recorded_verdicts import Verdict, check_judged, verdict_of

type _Identity = tuple[str, str, int]
type _Label = tuple[int, int]

# The places in a label.
_PARTS = {"category": 0, "suggestion": 1}


@dataclass
class JudgePairs:
    """First all lines of other judges are read, then the run's own episodes compared with them."""

    _others: dict[_Identity, dict[str, _Label]] = field(default_factory=dict)
    _pairs: dict[str, Counter[tuple[int, _Label, _Label]]] = field(default_factory=dict)

    def read(self, judge: str, line: Episode) -> None:
        """Remember a line of the judge of this name. Raises `InputError` for a damaged one."""
        check_judged(line)
        self._pairs.setdefault(judge, Counter())
        verdict = verdict_of(line)
        if verdict is not None and line["outcome"] == "resolved":
            self._others.setdefault(_identity(line), {})[judge] = _label(verdict)

    def compare(self, episode: Episode) -> None:
        """Pair the run's own verdict on an episode with those of the others."""
        verdict = verdict_of(episode)
        if verdict is None or episode["outcome"] != "resolved":
            return
        for judge, label in self._others.get(_identity(episode), {}).items():
            self._pairs[judge][episode["repeat"], _label(verdict), label] += 1

    def entry(self) -> dict[str, Any]:
        """As in a summary, by judge: over whole verdicts and over each of their two parts."""
        return {judge: _agreements(self._pairs[judge]) for judge in sorted(self._pairs)}


def _agreements(pairs: Mapping[tuple[int, _Label, _Label], int]) -> dict[str, Any]:
    by_repeat: Counter[int] = Counter()
    whole: Counter[tuple[_Label, _Label]] = Counter()
    for (repeat, own, other), count in pairs.items():
        by_repeat[repeat] += count
        whole[own, other] += count
    samples = independent(by_repeat.values())
    parts = {part: _agreement(_part(whole, place), samples) for part, place in _PARTS.items()}
    return {"n": whole.total(), **_agreement(whole, samples), **parts}


def _part(whole: Mapping[tuple[_Label, _Label], int], place: int) -> Mapping[tuple[int, int], int]:
    found: Counter[tuple[int, int]] = Counter()
    for (own, other), count in whole.items():
        found[own[place], other[place]] += count
    return found


def _agreement(pairs: Mapping[tuple[Any, Any], int], samples: float) -> dict[str, Any]:
    found = agreement(pairs, size=samples)
    if found is None:
        return {**entry("raw", None), **entry("kappa", None)}
    raw = 100 * found.raw, percent(found.raw_ci)
    if found.kappa is None or found.kappa_ci is None:
        return {**entry("raw", raw), **entry("kappa", None)}
    # No agreement is beyond 1, though the normal interval may be.
    cut = max(found.kappa_ci[0], -1.0), min(found.kappa_ci[1], 1.0)
    return {**entry("raw", raw), **entry("kappa", (found.kappa, cut))}


def _identity(line: Episode) -> _Identity:
    return line["dataset"], str(line.get("sample")), line["repeat"]


def _label(verdict: Verdict) -> _Label:
    return verdict["category_prediction"], verdict["proactive_suggestion"]
