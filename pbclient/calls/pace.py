"""Keep hundreds of tasks from holding up the event loop when all of them could go on at once.

A task that is woken runs until it next waits. When a hundred answers arrive together, a hundred
steps of milliseconds would stand between two looks at the network, at Ctrl-C and at the panel.
The steps of coroutines that are driven through one `Pace` have a share of each round instead:

    round of the loop:  network, timers | step step step | everybody else | next round
                                          <--- share --->  those that come later queue up,
                                                           and rest() once half of it is used

At the start of the next round a few from the head of the queue go on, as many as usually use up
the share, and before any that only rest. Work that never waits, as an episode of hits, has to
`rest` of its own accord.
"""

from __future__ import annotations

import asyncio
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, field
from typing import Any

from providers import Provider, Request, Response

# Seconds of steps after which the others of a round must wait.
SHARE = 0.01
# The most of those who wait that go on in one round, since nobody knows how long their steps will be. A
# round costs the loop as much as a short step; eight long ones, of LiteLLM's, take 30 ms.
AT_ONCE = 8
# Steps that wait from which on it is the processor that calls wait for: more of them would only queue here.
BACKLOG = 4 * AT_ONCE


class Pace:
    """Of one event loop: `await pace(work, ...)` is `await work(...)`, with others let in between."""

    def __init__(self, share: float = SHARE) -> None:
        self._share = share
        # When the steps of this round of the loop have had their share; None before its first.
        self._ends: float | None = None
        # What a step has lately taken, in seconds; at first the worst is feared.
        self._step = 1.0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._resting: deque[asyncio.Future[None]] = deque()

    async def __call__[**P, T](
        self, work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        result: T = await self._drive(work(*args, **kwargs))
        return result

    def behind(self) -> bool:
        """Whether so many steps wait that no further work should begin."""
        return len(self._waiting) >= BACKLOG

    async def rest(self) -> None:
        """Let others in when this round has had half of its share, for work that may otherwise never wait.

        Those who wait go before those who rest: what came over the wire stands behind no queue of hits.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        ends = self._begin(loop, now) if self._ends is None else self._ends
        # Half of it, since a timer or an answer takes two rounds and more until it is heard.
        if self._waiting or now >= ends - self._share / 2:
            turn: asyncio.Future[None] = loop.create_future()
            self._resting.append(turn)
            await turn

    @types.coroutine
    def _drive(self, work: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Run `work` step by step: hand on what it waits for, and wait for a turn before the next step."""
        loop = asyncio.get_running_loop()
        clock = loop.time
        awaited = None
        while True:
            thrown: BaseException | None = None
            try:
                yield awaited
                begun = clock()
                ends = self._begin(loop, begun) if self._ends is None else self._ends
                if self._waiting or begun >= ends:
                    turn: asyncio.Future[None] = loop.create_future()
                    self._waiting.append(turn)
                    yield from turn
                    begun = clock()
            except GeneratorExit:
                work.close()
                raise
            except BaseException as error:  # a cancellation, or what went wrong with what was awaited
                thrown, begun = error, clock()
            try:
                awaited = work.send(None) if thrown is None else work.throw(thrown)
            except StopIteration as done:
                return done.value
            finally:
                thrown = None  # its traceback holds this frame
                self._step += (clock() - begun - self._step) / AT_ONCE

    def _begin(self, loop: asyncio.AbstractEventLoop, now: float) -> float:
        """The first step of this round of the loop comes: from when on the others must wait."""
        self._ends = ends = now + self._share
        loop.call_soon(self._next_round, loop)
        return ends

    def _next_round(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let as many of those who wait take their step as usually use up the share, one at least."""
        self._ends = None
        room = max(1, min(AT_ONCE, int(self._share / self._step)))
        while room and (queue := self._waiting or self._resting):
            turn = queue.popleft()
            if not turn.done():
                turn.set_result(None)
                room -= 1
                if self._ends is None:
                    self._begin(loop, loop.time())


@dataclass(frozen=True)
class Paced:
    """A provider whose calls keep a pace: through LiteLLM each works for several milliseconds."""

    inner: Provider
    pace: Pace = field(default_factory=Pace)

    async def complete(self, request: Request) -> Response:
        return await self.pace(self.inner.complete, request)
