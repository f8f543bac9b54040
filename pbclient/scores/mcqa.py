"""The figures of multiple-choice episodes: of one data set, and averaged over data sets.

All are over resolved episodes; shares are in percent. Shares over turns take at most as many
turns for independent as they are worth when an episode always does the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from pbclient.scores.checks import Checks, Episode, is_count
from pbclient.scores.figures import Figure, average, average_span, entry, independent, pair, share, span
from pbclient.scores.intervals import Interval, bootstrap_mean
from pbclient.scores.trajectory import Trajectory, trajectory_of

CHECKS: Checks = {"correct": lambda value: isinstance(value, bool), "suggestions": is_count}

type _Count = Callable[[Trajectory], int]

# What was done in a turn: the first four are all turns, "invalid" is part of "proactive".
_ACTIONS: Mapping[str, _Count] = {
    "proactive": lambda shape: shape.accepted + (shape.last == "refused"),
    "abstain": lambda shape: shape.last == "abstain",
    "category": lambda shape: shape.last in ("right", "wrong"),
    "mismatch": lambda shape: shape.last == "mismatch",
    "invalid": lambda shape: shape.last == "refused",
}


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one data set; None where nothing is resolved. `by_turns` is number of turns -> (episodes, acc)."""

    acc: Figure | None
    acc_bounds: Interval
    ps: Figure | None
    first_turn_acc: Figure | None
    step_limit: Figure | None
    actions: Mapping[str, Figure | None]
    by_turns: Mapping[int, tuple[int, Figure | None]]

    def entry(self) -> dict[str, Any]:
        """As in a summary."""
        return {
            **entry("acc", self.acc),
            "acc_bounds": pair(self.acc_bounds),
            **entry("ps", self.ps),
            **entry("first_turn_acc", self.first_turn_acc),
            **entry("step_limit", self.step_limit),
            "actions": _joined(self.actions),
            "by_turns": {
                str(turns): {"n": n, **entry("acc", acc)} for turns, (n, acc) in self.by_turns.items()
            },
        }


@dataclass(slots=True)
class Tally:
    """Counts over one data set: enough for every figure, whatever the number of episodes."""

    dataset: str
    random_options: bool = False
    shapes: Counter[tuple[int, Trajectory]] = field(default_factory=Counter)

    @classmethod
    def of(cls, dataset: str, config: Mapping[str, Any]) -> Self:
        """An empty tally for a run with this configuration."""
        return cls(dataset, config.get("options") == "random")

    def add(self, episode: Episode) -> None:
        """Count an episode whose fields have been checked."""
        if episode["outcome"] == "resolved":
            shape = trajectory_of(episode, random_options=self.random_options)
            self.shapes[episode["repeat"], shape] += 1

    def figures(self, n: int) -> Figures:
        """Those of a data set with `n` episodes, all that are not counted here unresolved."""
        right = self._sum(lambda shape: shape.right)
        resolved = self.shapes.total()
        return Figures(
            acc=self._share(lambda shape: shape.right),
            acc_bounds=span(right, n - resolved, n),
            ps=self._suggestions(),
            first_turn_acc=self._share(lambda shape: shape.right and shape.turns == 1),
            step_limit=self._share(lambda shape: shape.limited),
            actions={name: self._share_of_turns(count) for name, count in _ACTIONS.items()},
            by_turns=self._by_turns(),
        )

    def _sum(self, count: _Count) -> int:
        return sum(count(shape) * times for (_, shape), times in self.shapes.items())

    def samples(self, turns: int | None = None) -> float:
        """How many episodes (of so many turns) count as independent."""
        by_repeat: Counter[int] = Counter()
        for (repeat, shape), times in self.shapes.items():
            by_repeat[repeat] += times * (turns in (None, shape.turns))
        return independent(by_repeat.values())

    def _share(self, hit: _Count) -> Figure | None:
        return share(self._sum(hit), self.shapes.total(), self.samples())

    def _share_of_turns(self, count: _Count) -> Figure | None:
        turns = self._sum(lambda shape: shape.turns)
        if not turns:
            return None
        # As for repeats (see `independent`): an episode is a cluster of turns.
        clusters = turns * turns / self._sum(lambda shape: shape.turns**2)
        return share(self._sum(count), turns, clusters * self.samples() / self.shapes.total())

    def _suggestions(self) -> Figure | None:
        counts: Counter[int] = Counter()
        for (_, shape), times in self.shapes.items():
            counts[shape.suggestions] += times
        # Seeded by the data set alone: the order of a run must not move its figures.
        interval = bootstrap_mean(counts, seed=self.dataset, size=int(self.samples()))
        total = self._sum(lambda shape: shape.suggestions)
        return None if interval is None else (total / self.shapes.total(), interval)

    def _by_turns(self) -> dict[int, tuple[int, Figure | None]]:
        episodes: Counter[int] = Counter()
        right: Counter[int] = Counter()
        for (_, shape), times in self.shapes.items():
            episodes[shape.turns] += times
            right[shape.turns] += times * shape.right
        return {
            turns: (n, share(right[turns], n, self.samples(turns))) for turns, n in sorted(episodes.items())
        }


def averaged(datasets: Mapping[str, Figures]) -> dict[str, Any]:
    """The figures averaged over data sets. Bounds cover all of them, the rest those that have the figure."""
    figures = list(datasets.values())
    actions = {name: average(each.actions[name] for each in figures) for name in _ACTIONS}
    return {
        **entry("acc", average(each.acc for each in figures)),
        "acc_bounds": pair(average_span(each.acc_bounds for each in figures)),
        **entry("ps", average(each.ps for each in figures)),
        **entry("first_turn_acc", average(each.first_turn_acc for each in figures)),
        **entry("step_limit", average(each.step_limit for each in figures)),
        "actions": _joined(actions),
        "by_turns": _by_turns(datasets),
        "over": [name for name, each in datasets.items() if each.acc is not None],
    }


def _by_turns(datasets: Mapping[str, Figures]) -> dict[str, Any]:
    # Long episodes exist in few data sets: each entry says over which it is.
    found = {}
    for turns in sorted({turns for each in datasets.values() for turns in each.by_turns}):
        those = {name: each.by_turns[turns] for name, each in datasets.items() if turns in each.by_turns}
        acc = average(acc for _, acc in those.values())
        found[str(turns)] = {"n": sum(n for n, _ in those.values()), **entry("acc", acc), "over": list(those)}
    return found


def _joined(estimates: Mapping[str, Figure | None]) -> dict[str, Any]:
    return {key: value for name, each in estimates.items() for key, value in entry(name, each).items()}
