"""What each running episode waits for at this moment, so that a stalled run can say so.

A record travels with the task in a context variable: wrappers name what they wait for
without knowing whose call it is.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Activity:
    """One running episode: its name, what it waits for and since when (seconds of the run's clock)."""

    name: str
    since: float = 0.0
    state: str = "starting"


_CURRENT: ContextVar[Activity | None] = ContextVar("pbclient_activity", default=None)


def begin(activity: Activity) -> None:
    """Make `activity` the one that this task and its children report to."""
    _CURRENT.set(activity)


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
