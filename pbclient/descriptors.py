"""Room for connections: each call on the wire holds a file descriptor, and the system limits those."""

from __future__ import annotations

import resource
from collections.abc import Callable

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
