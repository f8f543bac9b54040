"""The figures of a run, made from its recorded episodes alone: `summary.json`.

One pass in any order, memory that does not grow with the number of episodes unless other judges are
compared. Shares are in percent, money is in dollars; a figure that nothing resolved stands behind
is null. What the figures mean is said in `mcqa_scores` and `oeg_scores`; how they look to people is
the business of `tables`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Protocol

from pbclient import mcqa_scores, oeg_scores
from pbclient.checked import DATASETS, OUTCOMES, Checks, Episode, check, name
from pbclient.config import MCQA, OEG
from pbclient.errors import InputError
from pbclient.judge_pairs import JudgePairs
from pbclient.lines import calls
from pbclient.money import dollars, owed
from pbclient.recorded_verdicts import must_be, rescore_verdict
from pbclient.shapes import shape_of

__all__ = ["DATASETS", "OUTCOMES", "SCHEMA", "LedgerTotals", "dump", "mode_of", "rescore", "summarize"]

SCHEMA = 1

type Summary = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LedgerTotals:
    """What a run has spent so far: dollars, and attempts on the wire. `limit` None means none was set."""

    settled: float
    held: float
    limit: float | None
    calls: int
    retries: int


def summarize(
    manifest: Mapping[str, Any],
    episodes: Iterable[Episode],
    ledger: LedgerTotals,
    judged: Mapping[str, Iterable[Episode]] | None = None,
) -> Summary:
    """The object of `summary.json`. Raises `InputError` naming an episode that is not one.

    `manifest["config"]` says which figures they are. `manifest["planned"]` may say how many episodes
    of each data set the run is to have: those that are not recorded yet then count as unresolved
    instead of silently shrinking `n`. `judged` are the lines of judges other than the run's own, by
    their names.
    """
    if mode_of(manifest) == OEG:
        return _summary(_OEG, manifest, episodes, ledger, judged or {})
    return _summary(_MCQA, manifest, episodes, ledger, judged or {})


def dump(summary: Summary) -> bytes:
    """The bytes of `summary.json`: equal figures give equal bytes."""
    return (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode("ascii")


def mode_of(manifest: Mapping[str, Any]) -> str:
    """The mode of the run with this run.json."""
    return str(_config(manifest).get("mode", MCQA))


def rescore(episode: Episode, mode: str = MCQA) -> Episode:
    """The episode, when what is recorded of its turns gives its recorded score.

    Multiple choice: a suggestion goes on, anything else ends the episode; it is correct when its
    last turn names the right category. Open-ended: the recorded answers of the judge, read again
    by the package's parser, give the verdict. Raises `InputError` naming the episode otherwise.
    """
    check(episode, (_OEG if mode == OEG else _MCQA).checks)
    if mode == OEG:
        _rescore_open(episode)
    elif episode["outcome"] == "resolved":
        shape = shape_of(episode)
        must_be(episode, "its turns", {"correct": shape.right, "suggestions": shape.suggestions}, episode)
    return episode


def _rescore_open(episode: Episode) -> None:
    rescore_verdict(episode)
    if episode["outcome"] == "resolved":
        verdict = episode.get("verdict")
        correct = None if verdict is None else verdict["category_prediction"] == 1
        suggestions = None if verdict is None else verdict["proactive_suggestion"]
        must_be(episode, "its verdict", {"correct": correct, "suggestions": suggestions}, episode)


class _Figures(Protocol):
    def entry(self) -> dict[str, Any]: ...


class _Tally[F](Protocol):
    def add(self, episode: Episode) -> None: ...

    def figures(self, n: int) -> F: ...


@dataclass(frozen=True)
class _Mode[F: _Figures]:
    """What differs between the modes: which scores a line must hold, and which figures come of them."""

    checks: Checks
    tally: Callable[[str, Mapping[str, Any]], _Tally[F]]
    averaged: Callable[[Mapping[str, F]], dict[str, Any]]


_MCQA = _Mode(mcqa_scores.CHECKS, mcqa_scores.Tally.of, mcqa_scores.averaged)
_OEG = _Mode(oeg_scores.CHECKS, oeg_scores.Tally.of, oeg_scores.averaged)


def _summary[F: _Figures](
    mode: _Mode[F],
    manifest: Mapping[str, Any],
    episodes: Iterable[Episode],
    ledger: LedgerTotals,
    judged: Mapping[str, Iterable[Episode]],
) -> Summary:
    tallies = {dataset: mode.tally(dataset, _config(manifest)) for dataset in DATASETS}
    outcomes: dict[str, Counter[str]] = {dataset: Counter() for dataset in DATASETS}
    judges, hits = JudgePairs(), _Hits()
    verdicts: dict[str, dict[str, oeg_scores.Tally]] = {judge: {} for judge in judged}
    for judge, lines in judged.items():
        for line in lines:
            judges.read(judge, line)
            verdicts[judge].setdefault(line["dataset"], oeg_scores.Tally()).add(line)
            hits.add(line)
    for episode in episodes:
        check(episode, mode.checks)
        outcomes[episode["dataset"]][episode["outcome"]] += 1
        tallies[episode["dataset"]].add(episode)
        judges.compare(episode)
        hits.add(episode)
    planned: Mapping[str, int] = manifest.get("planned") or {}
    sizes = {dataset: max(planned.get(dataset, 0), outcomes[dataset].total()) for dataset in DATASETS}
    figures = {dataset: tallies[dataset].figures(n) for dataset, n in sizes.items() if n}
    others = {
        judge: {**agreed, **_judged(verdicts[judge], sizes)} for judge, agreed in judges.entry().items()
    }
    return {
        "schema": SCHEMA,
        "datasets": {
            dataset: _entry(sizes[dataset], outcomes[dataset], found.entry())
            for dataset, found in figures.items()
        },
        "average": mode.averaged(figures),
        **({"judges": others} if others else {}),
        "cost": _cost(ledger, hits.saved),
        "calls": {"wire": ledger.calls, "hits": hits.count, "retries": ledger.retries},
    }


def _judged(tallies: Mapping[str, oeg_scores.Tally], sizes: Mapping[str, int]) -> Summary:
    """The figures that another judge gives the run."""
    none = oeg_scores.Tally()
    figures = {dataset: tallies.get(dataset, none).figures(n) for dataset, n in sizes.items() if n}
    datasets = {dataset: found.entry() for dataset, found in figures.items()}
    return {"datasets": datasets, "average": oeg_scores.averaged(figures)}


def _entry(n: int, outcomes: Counter[str], figures: Summary) -> Summary:
    counted = {outcome: outcomes[outcome] for outcome in OUTCOMES if outcomes[outcome]}
    return {"n": n, "resolved": outcomes["resolved"], **figures, "outcomes": counted}


def _config(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    config: Mapping[str, Any] = manifest.get("config") or {}
    return config


@dataclass
class _Hits:
    """What the cache gave: answers, and the picodollars that they would have cost."""

    count: int = 0
    saved: int = 0

    def add(self, episode: Episode) -> None:
        for call in calls(episode):
            if call.get("cached") is True:
                self.count += 1
                self.saved += _saved(episode, call)


def _saved(episode: Episode, call: Mapping[str, Any]) -> int:
    # In picodollars: sums of floats would depend on the order of the lines.
    saved = call.get("saved")
    if saved is None:
        return 0
    if not isinstance(saved, int | float) or not isfinite(saved) or saved < 0:
        raise InputError(f"{name(episode)} has a turn that saved {saved!r}, which is no amount of dollars.")
    return owed(saved)


def _cost(ledger: LedgerTotals, saved: int) -> Summary:
    return {
        "settled": round(float(ledger.settled), 12),
        "held": round(float(ledger.held), 12),
        "limit": None if ledger.limit is None else round(float(ledger.limit), 12),
        "saved_by_cache": round(dollars(saved), 12),
    }
