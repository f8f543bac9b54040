"""Do all items of a queue, so many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from pbclient.calls.pace import Pace
from pbclient.scheduler.interrupts import Interrupts


async def work[T](
    queue: Iterable[T],
    workers: int,
    do: Callable[[T], Awaitable[None]],
    *,
    until: Callable[[], object],
    interrupts: Interrupts,
) -> None:
    """`do` each item of `queue`, until `until` says that no further one can succeed.

    Of several errors the first is raised as itself, since one sentence is what people read.
    """
    items, pace = iter(queue), Pace()

    async def one_after_the_other() -> None:
        for item in items:
            if until():
                return
            await do(item)
            await pace.rest()  # an episode of hits never waits: let the panel and Ctrl-C in

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                interrupts.watch(group.create_task(pace(one_after_the_other)))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors
