"""Do all items of a queue, so many at once; Ctrl-C once finishes what is on the wire, twice stops at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from pbclient.calls.pace import Pace

# Seconds. Without a terminal `uv run` passes on, 0.2 s later, a Ctrl-C that the whole group of processes has
# had already: taken for a second one it would give up calls that are paid for.
ECHO = 0.5


@dataclass
class Interrupts:
    """Cancels the tasks it watches each time it is called; `echo` seconds after the first are not heard.

    A call that has left finishes and is stored through the first cancellation (`budget.finish`);
    the second ends it too.
    """

    count: int = 0
    echo: float = 0.0
    clock: Callable[[], float] = time.monotonic
    _echoes_until: float = 0.0
    _tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    def watch(self, task: asyncio.Task[Any]) -> None:
        """Cancel `task` with the others, or at once when it comes too late."""
        self._tasks.append(task)
        for _ in range(self.count):
            task.cancel()

    def __call__(self) -> None:
        now = self.clock()
        if self.count == 1 and now < self._echoes_until:
            return
        self._echoes_until = now + self.echo
        self.count += 1
        for task in self._tasks:
            task.cancel()


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
