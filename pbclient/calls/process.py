"""Room for connections: each call on the wire holds a file descriptor, and the system limits those."""

from __future__ import annotations

import gc
import resource
from collections.abc import Callable
from typing import Self

# What a run opens besides connections: the cache, the run folder, archives, frames, threads' files.
OTHERS = 100


def room_for(calls: int, say: Callable[[str], object], each: int = 1) -> int:
    """How many of so many calls can be on the wire at once, with `each` so many connections.

    Raises this process's own limit for it; `say` hears when that is not enough.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = calls * each + OTHERS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = _raised(wanted, hard) or soft
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return calls
    room = max(1, (soft - OTHERS) // each)
    say(f"--concurrency {calls} is lowered to {room}: the system allows {soft} open files (ulimit -n).")
    return room


def _raised(wanted: int, hard: int) -> int | None:
    """The new limit, or None where the system allows none."""
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (OSError, ValueError):
        return None
    return most


# New objects, less those that are gone, between two looks at them.
SELDOM = 10_000
# As good as never. A call in flight on the direct wire is 160 objects, and a run has a few a sample.
TIDY = 1_000_000
A_CALL = 200


class RareCollections:
    """Inside the block collections are rare.

    Where calls leave no cycles behind (`tidy`; measured on the direct wire: one object in twenty
    calls) nothing is looked at until a million objects tell that something else does. Those of calls
    in flight, of which there are at most `calls`, come on top.
    """

    def __init__(self, *, tidy: bool, calls: int) -> None:
        self._young = TIDY + A_CALL * calls if tidy else SELDOM
        self._before = gc.get_threshold()

    def __enter__(self) -> Self:
        young, *older = self._before = gc.get_threshold()
        # 0 is never, and somebody's own will.
        gc.set_threshold(young and max(young, self._young), *older)
        return self

    def __exit__(self, *_: object) -> None:
        gc.set_threshold(*self._before)
