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
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    def __call__(self) -> None:
        self.count += 1
        for task in self.tasks:
            task.cancel()
