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
from functools import lru_cache
from typing import Any, Protocol

from pbclient.benchmark.package import MCQA, OEG
from pbclient.errors import InputError
from pbclient.money.amounts import dollars, picodollars_up
from pbclient.record import calls
from pbclient.scores import mcqa as mcqa_scores
from pbclient.scores import oeg as oeg_scores
from pbclient.scores.checks import DATASETS, OUTCOMES, Checks, Episode, check, name
from pbclient.scores.judges import JudgePairs
from pbclient.scores.trajectory import trajectory_of
from pbclient.scores.verdicts import must_be, rescore_verdict

__all__ = [
    "DATASETS",
    "OUTCOMES",
    "SCHEMA",
    "LedgerTotals",
    "Tally",
    "dump",
    "mode_of",
    "rescore",
    "summarize",
]

SCHEMA = 1
MOST_SAVED = 1e9  # dollars, by one call: more than any answer is worth

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
    """The object of `summary.json`, from all that a `Tally` takes. Raises `InputError` as it does."""
    tally = Tally(manifest)
    tally.compare(judged or {})
    for episode in episodes:
        tally.add(episode)
    return tally.summary(ledger)


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
        shape = trajectory_of(episode)
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


class Tally:
    """The figures of a run while its episodes come in: first what other judges said, then each once.

    `manifest["config"]` says which figures they are. `manifest["planned"]` may say how many episodes
    of each data set the run is to have: those that are not recorded yet then count as unresolved
    instead of silently shrinking `n`.
    """

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        self._mode: _Mode[Any] = _OEG if mode_of(manifest) == OEG else _MCQA
        self._planned: Mapping[str, int] = manifest.get("planned") or {}
        self._tallies = {dataset: self._mode.tally(dataset, _config(manifest)) for dataset in DATASETS}
        self._outcomes: dict[str, Counter[str]] = {dataset: Counter() for dataset in DATASETS}
        self._hits = _Hits()
        self._pairs = JudgePairs()
        self._verdicts: dict[str, dict[str, oeg_scores.Tally]] = {}

    def compare(self, judged: Mapping[str, Iterable[Episode]]) -> None:
        """Take the lines of judges other than the run's own, by their names; before any episode.

        Raises `InputError` naming a line that is not one.
        """
        for judge, lines in judged.items():
            verdicts = self._verdicts.setdefault(judge, {})
            for line in lines:
                self._pairs.read(judge, line)
                verdicts.setdefault(line["dataset"], oeg_scores.Tally()).add(line)
                self._hits.add(line)

    def add(self, episode: Episode) -> None:
        """Count an episode. Raises `InputError` naming one that is not one."""
        check(episode, self._mode.checks)
        self._outcomes[episode["dataset"]][episode["outcome"]] += 1
        self._tallies[episode["dataset"]].add(episode)
        self._pairs.compare(episode)
        self._hits.add(episode)

    def summary(self, ledger: LedgerTotals) -> Summary:
        """The object of `summary.json`, as far as the run has come."""
        sizes = {
            dataset: n
            for dataset, outcomes in self._outcomes.items()
            if (n := max(self._planned.get(dataset, 0), outcomes.total()))
        }
        figures = {dataset: self._tallies[dataset].figures(n) for dataset, n in sizes.items()}
        others = {
            judge: {**agreed, **_judged(self._verdicts[judge], sizes)}
            for judge, agreed in self._pairs.entry().items()
        }
        return {
            "schema": SCHEMA,
            "datasets": {
                dataset: _entry(sizes[dataset], self._outcomes[dataset], found.entry())
                for dataset, found in figures.items()
            },
            "average": self._mode.averaged(figures),
            **({"judges": others} if others else {}),
            "cost": _cost(ledger, self._hits.saved),
            "calls": {"wire": ledger.calls, "hits": self._hits.count, "retries": ledger.retries},
        }


def _judged(tallies: Mapping[str, oeg_scores.Tally], sizes: Mapping[str, int]) -> Summary:
    """The figures that another judge gives the run."""
    none = oeg_scores.Tally()
    figures = {dataset: tallies.get(dataset, none).figures(n) for dataset, n in sizes.items()}
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
    if type(saved) not in (int, float) or not 0 <= saved <= MOST_SAVED:
        raise InputError(
            f"{name(episode)} has a turn that saved {saved!r:.40}, which is no amount of dollars."
        )
    return _picodollars(saved)


# Questions of one kind are worth the same few amounts again and again.
_picodollars = lru_cache(maxsize=1024)(picodollars_up)


def _cost(ledger: LedgerTotals, saved: int) -> Summary:
    return {
        "settled": round(float(ledger.settled), 12),
        "held": round(float(ledger.held), 12),
        "limit": None if ledger.limit is None else round(float(ledger.limit), 12),
        "saved_by_cache": round(dollars(saved), 12),
    }
