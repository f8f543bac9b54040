"""The figures of a run, made from its recorded episodes alone: `summary.json`.

One pass in any order, memory that does not grow with the number of episodes. Accuracies are in
percent, `ps` is the mean number of suggestions per resolved episode, money is in dollars; a figure
that nothing resolved stands behind is null. How figures look to people is the business of `tables`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from pbclient.benchmark import DATA_SETS
from pbclient.errors import InputError
from pbclient.intervals import Interval, bootstrap_mean, stratified_mean, wilson
from pbclient.money import dollars, owed

SCHEMA = 1
DATASETS = tuple(each.acronym for each in DATA_SETS)
OUTCOMES = ("resolved", "refused", "truncated", "failed", "judge_failed", "budget")

type Summary = dict[str, Any]
type Episode = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LedgerTotals:
    """What a run has spent so far: dollars, and attempts on the wire. `limit` None means none was set."""

    settled: float
    held: float
    limit: float | None
    calls: int
    retries: int


def summarize(manifest: Mapping[str, Any], episodes: Iterable[Episode], ledger: LedgerTotals) -> Summary:
    """The object of `summary.json`. Raises `InputError` naming an episode that is not one.

    `manifest["planned"]` may say how many episodes of each data set the run is to have: those
    that are not recorded yet then count as unresolved instead of silently shrinking `n`.
    """
    planned: Mapping[str, int] = manifest.get("planned") or {}
    tallies = {name: _Tally(planned.get(name, 0)) for name in DATASETS}
    hits = saved = 0
    for episode in episodes:
        _check(episode)
        tallies[episode["dataset"]].add(episode)
        cached = [turn for turn in episode["turns"] if turn.get("cached") is True]
        hits += len(cached)
        saved += sum(_saved(episode, turn) for turn in cached)
    ran = {name: tally for name, tally in tallies.items() if tally.n}
    figures = {name: tally.figures(name) for name, tally in ran.items()}
    return {
        "schema": SCHEMA,
        "datasets": {name: _entry(tally, figures[name]) for name, tally in ran.items()},
        "average": _average(figures),
        "cost": _cost(ledger, saved),
        "calls": {"wire": ledger.calls, "hits": hits, "retries": ledger.retries},
    }


def dump(summary: Summary) -> bytes:
    """The bytes of `summary.json`: equal figures give equal bytes."""
    return (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode("ascii")


def rescore(episode: Episode) -> Episode:
    """The episode, when its recorded turns give its recorded score as the environment defines both.

    A suggestion goes on, anything else ends the episode; it is correct when its last turn names
    the right category. Raises `InputError` naming the episode otherwise. An outcome other than
    `resolved` carries no score, so there is nothing to check.
    """
    _check(episode)
    if episode["outcome"] != "resolved":
        return episode
    turns = episode["turns"]
    if not turns:
        raise InputError(f"{_name(episode)} is recorded as resolved but has no turns.")
    for number, turn in enumerate(turns[:-1], start=1):
        if turn.get("category") == "correct" or turn.get("action") != "correct":
            raise InputError(f"{_name(episode)} goes on after turn {number}, which ended it.")
    correct, suggestions = turns[-1].get("category") == "correct", len(turns) - 1
    if (correct, suggestions) != (episode["correct"], episode["suggestions"]):
        raise InputError(
            f"{_name(episode)} is recorded as {_score(episode['correct'], episode['suggestions'])}, "
            f"but its turns say {_score(correct, suggestions)}."
        )
    return episode


@dataclass(frozen=True, slots=True)
class _Figures:
    """One data set's figures before rounding; None where nothing is resolved."""

    acc: float | None
    acc_ci: Interval | None
    acc_bounds: Interval
    ps: float | None
    ps_ci: Interval | None
    first_turn_acc: float | None


@dataclass(slots=True)
class _Tally:
    """Counts over one data set: enough for every figure, whatever the number of episodes."""

    planned: int
    outcomes: Counter[str] = field(default_factory=Counter)
    suggestions: Counter[int] = field(default_factory=Counter)
    resolved_by_repeat: Counter[int] = field(default_factory=Counter)
    correct: int = 0
    first_turn: int = 0

    def add(self, episode: Episode) -> None:
        self.outcomes[episode["outcome"]] += 1
        if episode["outcome"] != "resolved":
            return
        self.resolved_by_repeat[episode["repeat"]] += 1
        self.suggestions[episode["suggestions"]] += 1
        if episode["correct"]:
            self.correct += 1
            self.first_turn += episode["suggestions"] == 0

    @property
    def n(self) -> int:
        return max(self.planned, self.outcomes.total())

    @property
    def resolved(self) -> int:
        return self.outcomes["resolved"]

    def figures(self, name: str) -> _Figures:
        best = self.correct + self.n - self.resolved
        bounds = 100 * self.correct / self.n, 100 * best / self.n
        if not self.resolved:
            return _Figures(None, None, bounds, None, None, None)
        # Repeats of a sample are not new samples. Taking as many independent ones as the fullest
        # repeat resolved never makes an interval too narrow, and needs no memory per sample.
        samples = max(self.resolved_by_repeat.values())
        successes = self.correct if samples == self.resolved else self.correct / self.resolved * samples
        return _Figures(
            acc=100 * self.correct / self.resolved,
            acc_ci=_percent(wilson(successes, samples)),
            acc_bounds=bounds,
            ps=sum(value * count for value, count in self.suggestions.items()) / self.resolved,
            # Seeded by the data set alone: the order of a run must not move its figures.
            ps_ci=bootstrap_mean(self.suggestions, seed=name, size=samples),
            first_turn_acc=100 * self.first_turn / self.resolved,
        )


def _entry(tally: _Tally, figures: _Figures) -> Summary:
    return {
        "n": tally.n,
        "resolved": tally.resolved,
        "acc": _figure(figures.acc),
        "acc_ci": _pair(figures.acc_ci),
        "acc_bounds": _pair(figures.acc_bounds),
        "ps": _figure(figures.ps),
        "ps_ci": _pair(figures.ps_ci),
        "first_turn_acc": _figure(figures.first_turn_acc),
        "outcomes": {name: tally.outcomes[name] for name in OUTCOMES if tally.outcomes[name]},
    }


def _average(figures: Mapping[str, _Figures]) -> Summary:
    # Each data set weighs the same. The bounds cover all of them, the figures those in "over".
    acc = [(of.acc, of.acc_ci) for of in figures.values() if of.acc is not None and of.acc_ci is not None]
    ps = [(of.ps, of.ps_ci) for of in figures.values() if of.ps is not None and of.ps_ci is not None]
    return {
        "acc": _mean([value for value, _ in acc]),
        "acc_ci": _pair(stratified_mean(acc)),
        "acc_bounds": _mean_bounds([of.acc_bounds for of in figures.values()]),
        "ps": _mean([value for value, _ in ps]),
        "ps_ci": _pair(stratified_mean(ps)),
        "over": [name for name, of in figures.items() if of.acc is not None],
    }


def _cost(ledger: LedgerTotals, saved: int) -> Summary:
    return {
        "settled": round(float(ledger.settled), 12),
        "held": round(float(ledger.held), 12),
        "limit": None if ledger.limit is None else round(float(ledger.limit), 12),
        "saved_by_cache": round(dollars(saved), 12),
    }


def _saved(episode: Episode, turn: Mapping[str, Any]) -> int:
    # In picodollars: sums of floats would depend on the order of the lines.
    saved = turn.get("saved")
    if saved is None:
        return 0
    if not isinstance(saved, int | float) or not isfinite(saved) or saved < 0:
        raise InputError(f"{_name(episode)} has a turn that saved {saved!r}, which is no amount of dollars.")
    return owed(saved)


def _check(episode: Episode) -> None:
    checks: dict[str, Callable[[Any], bool]] = {
        "dataset": lambda value: value in DATASETS,
        "outcome": lambda value: value in OUTCOMES,
        "repeat": _is_count,
        "turns": lambda value: isinstance(value, list) and all(isinstance(turn, Mapping) for turn in value),
    }
    if episode.get("outcome") == "resolved":
        checks |= {"correct": lambda value: isinstance(value, bool), "suggestions": _is_count}
    for key, fits in checks.items():
        if not fits(episode.get(key)):
            raise InputError(f"{_name(episode)} has no valid {key!r}: the line in episodes.jsonl is damaged.")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _name(episode: Episode) -> str:
    return f"Episode {episode.get('dataset')} {episode.get('sample')} (repeat {episode.get('repeat')})"


def _score(correct: bool, suggestions: int) -> str:
    return f"{'correct' if correct else 'wrong'} with {suggestions} suggestions"


def _mean(values: Sequence[float]) -> float | None:
    return _figure(sum(values) / len(values)) if values else None


def _mean_bounds(bounds: Sequence[Interval]) -> list[float] | None:
    if not bounds:
        return None
    worst, best = zip(*bounds, strict=True)
    return _pair((sum(worst) / len(worst), sum(best) / len(best)))


def _percent(interval: Interval | None) -> Interval | None:
    return None if interval is None else (100 * interval[0], 100 * interval[1])


def _figure(value: float | None) -> float | None:
    # The last digits of a float are noise; six decimals hide it and hold every real difference.
    return None if value is None else round(value, 6)


def _pair(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [round(limit, 6) for limit in interval]
