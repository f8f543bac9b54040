"""What a run wants of its process: open files for its connections, and rare garbage collections."""

from __future__ import annotations

import gc
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Files that a run opens besides connections: the cache, the run folder, archives, frames, threads' files.
OTHERS = 100


def room_for(calls: int, say: Callable[[str], object], each: int = 1) -> int:
    """How many of so many calls can be on the wire at once, with `each` so many connections.

    Raises this process's own limit for it; `say` hears when that is not enough.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = calls * each + OTHERS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
        except (OSError, ValueError):
            pass  # the system allows no more
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return calls
    room = max(1, (soft - OTHERS) // each)
    say(f"--concurrency {calls} is lowered to {room}: the system allows {soft} open files (ulimit -n).")
    return room


# New objects, less those that are gone, between two collections.
SELDOM = 10_000
# As good as never. A call in flight on the direct wire is 160 objects, and a run has a few a sample.
TIDY = 1_000_000
A_CALL = 200


@contextmanager
def rare_collections(*, tidy: bool, calls: int) -> Iterator[None]:
    """Collect garbage rarely inside the block.

    Where calls leave no cycles behind (`tidy`; measured on the direct wire: one object in twenty
    calls) nothing is collected until a million objects tell that something else does. Those of calls
    in flight, of which there are at most `calls`, come on top. What LiteLLM's import leaves is taken
    out of the collector's sight by `providers.hosted.library`, which knows when that is loaded.
    """
    young, *older = before = gc.get_threshold()
    rare = TIDY + A_CALL * calls if tidy else SELDOM
    # 0 is never, and somebody's own will.
    gc.set_threshold(young and max(young, rare), *older)
    try:
        yield
    finally:
        gc.set_threshold(*before)
