"""How far a run has come: counters that the run moves and a panel or a log reads."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from pbclient.record import calls

type Say = Callable[[str], None]


@dataclass(slots=True)
class Activity:
    """One running episode: its name, what it waits for and since when (seconds of the run's clock)."""

    name: str
    since: float = 0.0
    state: str = "starting"


_CURRENT: ContextVar[Activity | None] = ContextVar("pbclient_activity", default=None)


class waits_for:  # noqa: N801 - used like a function
    """Name what is waited for inside the block."""

    __slots__ = ("_activity", "_before", "_what")

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        self._activity = activity = _CURRENT.get()
        if activity is not None:
            self._before, activity.state = activity.state, self._what

    def __exit__(self, *_: object) -> None:
        if self._activity is not None:
            self._activity.state = self._before


MANY_REASONS = 1000


@dataclass
class Tally:
    """One data set so far."""

    planned: int = 0
    finished: int = 0
    resolved: int = 0
    correct: int = 0
    suggestions: int = 0


@dataclass
class Progress:
    """What a run has done. `say` carries sentences that a person should read now."""

    say: Callable[[str], None] = lambda sentence: None
    clock: Callable[[], float] = time.monotonic
    # Seconds of processor time that this process has used, and what to do when that is the limit.
    worked: Callable[[], float] = time.process_time
    remedy: str = ""
    # What is being done before the first episode can end.
    stage: str = ""
    datasets: dict[str, Tally] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    # Why episodes were not resolved, in the words of their errors; of very many words, the first.
    reasons: Counter[str] = field(default_factory=Counter)
    _unaffordable: str = ""
    hits: int = 0
    retries: int = 0
    saved: float = 0.0
    started: float = 0.0
    active: dict[int, Activity] = field(default_factory=dict)
    # Read live by the panel: (settled, held, limit) in dollars, (calls, those on the wire), and what holds
    # further calls up, in words.
    money: Callable[[], tuple[float, float, float | None]] = lambda: (0.0, 0.0, None)
    wire: Callable[[], tuple[int, int]] = lambda: (0, 0)
    limited: Callable[[], str] = lambda: ""

    @property
    def planned(self) -> int:
        return sum(tally.planned for tally in self.datasets.values())

    @property
    def finished(self) -> int:
        return sum(tally.finished for tally in self.datasets.values())

    @contextmanager
    def activity(self, name: str) -> Iterator[None]:
        """Show `name` among what is running; in the block this task says what it waits for."""
        activity = Activity(name, since=self.clock())
        self.active[id(activity)] = activity
        _CURRENT.set(activity)
        try:
            yield
        finally:
            del self.active[id(activity)]

    def plan(self, planned: Mapping[str, int]) -> None:
        """How many episodes each data set will have."""
        self.started = self.clock()
        self.datasets = {name: Tally(planned=count) for name, count in planned.items()}

    def count(self, episode: Mapping[str, Any]) -> None:
        """Count an episode that is finished, now or in an earlier life of this run."""
        tally = self.datasets.setdefault(episode["dataset"], Tally())
        tally.finished += 1
        self.outcomes[episode["outcome"]] += 1
        if episode["outcome"] == "resolved":
            tally.resolved += 1
            tally.correct += bool(episode.get("correct"))
            tally.suggestions += episode.get("suggestions") or 0
        elif "error" in episode:
            reason = episode["error"]
            if episode["outcome"] == "budget":
                # Hardly two are held at the same amount: the first of them speaks for all.
                reason = self._unaffordable = self._unaffordable or reason
            if reason in self.reasons or len(self.reasons) < MANY_REASONS:
                self.reasons[reason] += 1
        for call in calls(episode):
            self.hits += bool(call.get("cached"))
            self.saved += call.get("saved") or 0.0
