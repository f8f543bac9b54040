"""What each running episode waits for at this moment, so that a stalled run can say so.

A record travels with the task in a context variable: wrappers name what they wait for
without knowing whose call it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def waits_for(what: str) -> Iterator[None]:
    """Name what is waited for inside the block."""
    activity = _CURRENT.get()
    if activity is None:
        yield
        return
    before, activity.state = activity.state, what
    try:
        yield
    finally:
        activity.state = before
