"""Whether something holds the event loop up: how often, how long, and where.

While the loop is held up no answer is taken, no panel drawn and no Ctrl-C heard. A tick on the loop
tells how late it comes; a thread looks at the loop's stack once a tick is overdue. Part of a stall may
be other programs' doing: `busy` is what the loop's own thread worked in it.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

TICK = 0.01  # seconds
LIMIT = 0.05

_OURS = str(Path(__file__).parents[2])


@dataclass
class Stalls:
    """What was seen of one loop, in seconds. `where` is the place of the longest, innermost call of ours."""

    limit: float = LIMIT
    count: int = 0
    longest: float = 0.0
    busy: float = 0.0
    where: str | None = None

    def note(self, stall: float, worked: float, where: str | None) -> None:
        """A tick came so much too late, while the loop's thread worked for so long."""
        self.count += stall > self.limit
        self.busy = max(self.busy, min(stall, worked))
        if stall > self.longest:
            self.longest, self.where = stall, where

    def __str__(self) -> str:
        times = "once" if self.count == 1 else f"{self.count} times"
        often = f"{times} for more than {1000 * self.limit:.0f} ms" if self.count else "never for long"
        where = f" in {self.where}" if self.count and self.where else ""
        return (
            f"Event loop held up {often}, at most {1000 * self.longest:.0f} ms{where} "
            f"({1000 * self.busy:.0f} ms of own work at most)."
        )


@contextmanager
def watching(say: Callable[[str], object], limit: float = LIMIT) -> Iterator[Stalls]:
    """Watch the running event loop for as long as the block lasts, then `say` what was seen."""
    stalls = Stalls(limit)
    watch = _Watch(asyncio.get_running_loop(), stalls)
    watch.start()
    try:
        yield stalls
    finally:
        watch.stop()
        say(str(stalls))


@dataclass
class _Watch:
    loop: asyncio.AbstractEventLoop
    stalls: Stalls
    thread: int = field(default_factory=threading.get_ident)
    _due: float = 0.0
    _worked: float = 0.0
    _seen: str | None = None
    _handle: asyncio.TimerHandle | None = None
    _done: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        # First the thread: a busy machine takes 100 ms to start it, which would be seen as a stall.
        threading.Thread(target=self._look, name="pbclient-stalls", daemon=True).start()
        self._schedule()

    def stop(self) -> None:
        self._done.set()
        if self._handle is not None:
            self._handle.cancel()
        self._note()  # a tick that never came may have been overdue

    def _schedule(self) -> None:
        self._seen, self._worked = None, time.thread_time()
        self._due = self.loop.time() + TICK
        self._handle = self.loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        self._note()
        self._schedule()

    def _note(self) -> None:
        self.stalls.note(self.loop.time() - self._due, time.thread_time() - self._worked, self._seen)

    def _look(self) -> None:
        """In a thread: see where the loop is, once a tick is overdue."""
        while not self._done.wait(self.stalls.limit / 2):
            if self._seen is None and self.loop.time() > self._due + self.stalls.limit / 2:
                self._seen = place(sys._current_frames().get(self.thread))


def place(frame: FrameType | None) -> str | None:
    """File, line and function of the innermost call of ours, or of the innermost one at all."""
    innermost = frame
    while frame is not None and not frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
    found = frame or innermost
    if found is None:
        return None
    path = Path(found.f_code.co_filename)
    return f"{path.parent.name}/{path.name}:{found.f_lineno} {found.f_code.co_name}"
