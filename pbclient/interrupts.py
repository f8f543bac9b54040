"""Ctrl-C: once finishes what is on the wire and stores it, twice stops at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Interrupts:
    """Cancels the tasks it watches each time it is called.

    A call that has left finishes and is stored through the first cancellation (`budget.finish`);
    the second ends it too.
    """

    count: int = 0
    _tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    def watch(self, task: asyncio.Task[Any]) -> None:
        """Cancel `task` with the others, or at once when it comes too late."""
        self._tasks.append(task)
        for _ in range(self.count):
            task.cancel()

    def __call__(self) -> None:
        self.count += 1
        for task in self._tasks:
            task.cancel()
