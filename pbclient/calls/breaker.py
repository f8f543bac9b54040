"""Refuse further calls once none can succeed any more, and hold them back while each may cost for nothing.

A wrong key, a missing model or an empty account opens the breaker at once: the first such error
costs one call, and without the breaker each waiting call would make it again. A server that cannot
be reached opens it after a while, sooner when it never answered: else every episode of the run
would try its ten attempts and fail. One that answers nothing but what may have been billed (a gateway
before a dead model) would eat the limit with kept holds: it is tried by one call at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from pbclient.progress import waits_for
from providers import (
    ConnectionFailed,
    Provider,
    ProviderError,
    Request,
    RequestRefused,
    Response,
    Unreachable,
    Unusable,
)

NEVER_ANSWERED = 15.0  # seconds of failed connections from the start
GONE = 180.0  # seconds of failed connections after an answer: a laptop may change its network
DOUBTS = 16  # calls in a row that may have been billed for nothing, before they go one by one
LONGEST_PAUSE = 30.0  # seconds between two of those


@dataclass
class Breaker:
    """A provider that lets calls through until one shows that none can succeed: that error is `shut`."""

    inner: Provider
    on_open: Callable[[Unusable], None] = lambda error: None
    clock: Callable[[], float] = time.monotonic
    shut: Unusable | None = None
    _answered: bool = False
    _failing_since: float | None = None
    _opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def pause(self, seconds: float) -> None:
        """Wait so long, but only until no call can succeed any more, or the next failure would show it."""
        if self._failing_since is not None:
            left = self._failing_since + self._patience - self.clock()
            seconds = min(seconds, left) if left > 0 else seconds
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._opened.wait()

    async def complete(self, request: Request) -> Response:
        if self.shut is not None:
            # Nothing was sent, so nothing was billed, whatever the first error cost.
            raise type(self.shut)(str(self.shut), billed=False, status=self.shut.status)
        try:
            response = await self.inner.complete(request)
        except Unusable as error:
            self.open(error)
            raise
        except ConnectionFailed as error:
            if not error.billed:  # else it was sent, so somebody is there
                now = self.clock()
                if self._failing_since is None:
                    self._failing_since = now
                if now - self._failing_since >= self._patience:
                    self.open(Unreachable(f"No connection for {self._patience:.0f} s: {error}"))
            raise
        self._answered, self._failing_since = True, None
        return response

    def open(self, error: Unusable) -> None:
        """Let no further call through, and say why; the first reason stays."""
        if self.shut is None:
            self.shut = error
            self._opened.set()
            self.on_open(error)

    @property
    def _patience(self) -> float:
        return GONE if self._answered else NEVER_ANSWERED


@dataclass
class Cautious:
    """A provider that asks one call at a time while it only fails and each failure may have been billed.

    Those who wait hold no money yet. The waits between the single calls double; when one of them fails
    after `GONE` seconds without any answer, the breaker opens.
    """

    inner: Provider
    breaker: Breaker
    _doubts: int = 0
    _since: float = 0.0
    _alone: int = 0
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def complete(self, request: Request) -> Response:
        while self._doubts >= DOUBTS and self.breaker.shut is None:
            with waits_for("the server to answer anything"):
                async with self._one:
                    if self._doubts < DOUBTS:
                        continue
                    await self.breaker.pause(min(LONGEST_PAUSE, 2.0 ** min(self._alone, 8)))
                    self._alone += 1
                    return await self._ask(request, alone=True)
        return await self._ask(request)

    async def _ask(self, request: Request, *, alone: bool = False) -> Response:
        try:
            response = await self.inner.complete(request)
        except ProviderError as error:
            # A filter's refusal is about its request; tokens that were counted are no doubt.
            if error.billed and error.usage is None and not isinstance(error, RequestRefused):
                now = self.breaker.clock()
                self._since = self._since if self._doubts else now
                self._doubts += 1
                if alone and now - self._since >= GONE:
                    words = f"For {GONE:.0f} s every call has failed, and may have been billed: {error}"
                    self.breaker.open(Unreachable(words))
            raise
        self._doubts = self._alone = 0
        return response
