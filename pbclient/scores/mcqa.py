"""The figures of multiple-choice episodes: of one data set, and averaged over data sets.

All are over resolved episodes; shares are in percent. Shares over turns take at most as many
turns for independent as they are worth when an episode always does the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pbclient.scores.checks import Checks, is_count
from pbclient.scores.figures import Figure, average, average_span, averages, entries, independent, share, span
from pbclient.scores.intervals import Interval, bootstrap_mean
from pbclient.scores.trajectory import Trajectory, trajectory_of
from runs import Episode

CHECKS: Checks = {
    "correct": lambda value: isinstance(value, bool),
    # The paper's protocol counts -1 where no answer came to the environment.
    "suggestions": lambda value: is_count(value) or value == -1,
}

type _Count = Callable[[Trajectory], int]

_SHARES: Mapping[str, _Count] = {
    "acc": lambda trajectory: trajectory.right,
    "first_turn_acc": lambda trajectory: trajectory.right and trajectory.turns == 1,
    "step_limit": lambda trajectory: trajectory.limited,
}
# What was done in a turn: the first four are all turns, "invalid" is part of "proactive".
_ACTIONS: Mapping[str, _Count] = {
    "proactive": lambda trajectory: trajectory.accepted + (trajectory.last == "refused"),
    "abstain": lambda trajectory: trajectory.last == "abstain",
    "category": lambda trajectory: trajectory.last in ("right", "wrong"),
    "mismatch": lambda trajectory: trajectory.last == "mismatch",
    "invalid": lambda trajectory: trajectory.last == "refused",
}


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one data set; None where nothing is resolved. `by_turns` is number of turns -> (episodes, acc)."""

    shares: Mapping[str, Figure | None]  # and ps
    acc_bounds: Interval
    actions: Mapping[str, Figure | None]
    by_turns: Mapping[int, tuple[int, Figure | None]]

    def entry(self) -> dict[str, Any]:
        """As in a summary."""
        return {
            **entries(self.shares, {"acc": self.acc_bounds}),
            "actions": entries(self.actions),
            "by_turns": {
                str(turns): {"n": n, **entries({"acc": acc})} for turns, (n, acc) in self.by_turns.items()
            },
        }


@dataclass(slots=True)
class Tally:
    """Counts over one data set: enough for every figure, whatever the number of episodes."""

    dataset: str
    random_options: bool = False
    trajectories: Counter[tuple[int, Trajectory]] = field(default_factory=Counter)  # with their repeats

    def add(self, episode: Episode) -> None:
        """Count an episode whose fields have been checked."""
        if episode["outcome"] == "resolved":
            trajectory = trajectory_of(episode, random_options=self.random_options)
            self.trajectories[episode["repeat"], trajectory] += 1

    def figures(self, n: int) -> Figures:
        """Those of a data set with `n` episodes, all that are not counted here unresolved."""
        resolved, samples = self.trajectories.total(), self.samples()
        counts = {name: self._sum(success) for name, success in _SHARES.items()}
        shares = {name: share(count, resolved, samples) for name, count in counts.items()}
        return Figures(
            shares={"acc": shares.pop("acc"), "ps": self._suggestions(), **shares},
            acc_bounds=span(counts["acc"], n - resolved, n),
            actions={name: self._share_of_turns(success) for name, success in _ACTIONS.items()},
            by_turns=self._by_turns(),
        )

    def samples(self, turns: int | None = None) -> float:
        """How many episodes (of so many turns) count as independent."""
        by_repeat: Counter[int] = Counter()
        for (repeat, trajectory), times in self.trajectories.items():
            by_repeat[repeat] += times * (turns in (None, trajectory.turns))
        return independent(by_repeat.values())

    def _sum(self, count: _Count) -> int:
        return sum(count(trajectory) * times for (_, trajectory), times in self.trajectories.items())

    def _share_of_turns(self, success: _Count) -> Figure | None:
        turns = self._sum(lambda trajectory: trajectory.turns)
        if not turns:
            return None
        # As for repeats (see `independent`): an episode is a cluster of turns.
        clusters = turns * turns / self._sum(lambda trajectory: trajectory.turns**2)
        return share(self._sum(success), turns, clusters * self.samples() / self.trajectories.total())

    def _suggestions(self) -> Figure | None:
        counts: Counter[int] = Counter()
        for (_, trajectory), times in self.trajectories.items():
            counts[trajectory.suggestions] += times
        # Seeded by the data set alone: the order of a run must not move its figures.
        interval = bootstrap_mean(counts, seed=self.dataset, size=int(self.samples()))
        total = sum(count * times for count, times in counts.items())
        return None if interval is None else (total / counts.total(), interval)

    def _by_turns(self) -> dict[int, tuple[int, Figure | None]]:
        episodes: Counter[int] = Counter()
        right: Counter[int] = Counter()
        for (_, trajectory), times in self.trajectories.items():
            episodes[trajectory.turns] += times
            right[trajectory.turns] += times * trajectory.right
        return {
            turns: (n, share(right[turns], n, self.samples(turns))) for turns, n in sorted(episodes.items())
        }


def averaged(datasets: Mapping[str, Figures]) -> dict[str, Any]:
    """The figures averaged over data sets. Bounds cover all of them, the rest those that have the figure."""
    figures = list(datasets.values())
    # Long episodes exist in few data sets: each entry says over which it is.
    by_turns = {}
    for turns in sorted({turns for of in figures for turns in of.by_turns}):
        over = {name: of.by_turns[turns] for name, of in datasets.items() if turns in of.by_turns}
        acc = average(acc for _, acc in over.values())
        by_turns[str(turns)] = {
            "n": sum(n for n, _ in over.values()),
            **entries({"acc": acc}),
            "over": list(over),
        }
    names = ("acc", "ps", *(name for name in _SHARES if name != "acc"))
    bounds = {"acc": average_span(of.acc_bounds for of in figures)}
    return {
        **entries(averages(names, [of.shares for of in figures]), bounds),
        "actions": entries(averages(_ACTIONS, [of.actions for of in figures])),
        "by_turns": by_turns,
        "over": [name for name, of in datasets.items() if of.shares["acc"] is not None],
    }
