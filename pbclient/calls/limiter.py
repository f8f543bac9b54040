"""Limit how many calls are on the wire at once, and how many start a minute.

The limit adapts: it starts with one call, so that a wrong key or an empty account costs one
call and not hundreds; the end of that call opens it (or a few seconds, when it hangs). Every
answer that comes while the limit is fully used widens it. Only a rate limit shrinks it, by a
fifth and once per cooldown; a server fault only pauses growth. `--concurrency` is the ceiling.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from pbclient.progress import waits_for
from pbclient.turnstile import Turnstile
from providers import Provider, ProviderError, RateLimited, Request, Response, TransientError, Unusable

OPENED = 16  # the limit after the first call
PROBE = 5.0  # seconds that the others wait for the end of the first call: a refused key is told in less
SHRINK = 0.8
COOLDOWN = 15.0  # seconds in which further rate limits belong to the same event
PAUSE = 10.0  # seconds without growth after a server fault


@dataclass
class Slots:
    """The adaptive limit and its queue; calls of episodes already begun are served first."""

    ceiling: int
    clock: Callable[[], float] = time.monotonic
    limit: float = 1.0
    running: int = 0
    _opened: bool = False
    _probe: asyncio.TimerHandle | None = None
    _shrunk: float | None = None
    _paused_until: float = float("-inf")
    _queue: Turnstile[None, None] = field(default_factory=Turnstile)

    async def acquire(self, turn: int) -> None:
        """Take a slot, at once or in turn."""
        if self.running < int(self.limit) and self._queue.first is None:
            self._enter()
            return
        with waits_for("a slot"):
            await self._queue.wait(-min(turn, 1), None, lambda _: self.leave())

    def leave(self) -> None:
        """Give the slot to whoever waits."""
        self.running -= 1
        self._admit()

    def answered(self) -> None:
        """An answer came: widen, if the limit was what held calls back."""
        if not self._opened:
            self.open()
        elif self.running >= int(self.limit) and self.clock() >= self._paused_until:
            # Doubling a round until the first rate limit; a twentieth a round after it.
            self.limit = min(self.ceiling, self.limit + (1.0 if self._shrunk is None else 0.05))
        self._admit()

    def open(self) -> None:
        """The first call has shown that calls can be made, or takes too long to tell."""
        if self._probe is not None:
            self._probe.cancel()
        if not self._opened:
            self._opened = True
            self.limit = float(min(self.ceiling, OPENED))
            self._admit()

    def rate_limited(self) -> None:
        """A 429 came: shrink, once for all that were on the wire together."""
        self.open()
        now = self.clock()
        if self._shrunk is None or now - self._shrunk >= COOLDOWN:
            self._shrunk = now
            self.limit = max(1.0, self.limit * SHRINK)

    def faulted(self) -> None:
        """The server or the network failed: that is no reason to shrink, but none to grow."""
        self.open()
        self._paused_until = self.clock() + PAUSE

    def _enter(self) -> None:
        self.running += 1
        if not self._opened and self._probe is None:
            self._probe = asyncio.get_running_loop().call_later(PROBE, self.open)

    def _admit(self) -> None:
        while self._queue.first is not None and self.running < int(self.limit):
            self._enter()
            self._queue.grant(None)


@dataclass
class Bucket:
    """So many units a minute, evenly and without bursts, so that no minute holds more.

    May go into debt: those who come later wait it off.
    """

    per_minute: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _level: float = 0.0
    _seen: float | None = None

    async def take(self, amount: float) -> None:
        """Wait until the bucket is out of debt, then take `amount`."""
        now = self.clock()
        if self._seen is not None:
            self._level = min(0.0, self._level + (now - self._seen) * self.per_minute / 60)
        self._seen = now
        wait = -self._level * 60 / self.per_minute
        # Taken before the wait, so that those who come after queue behind it.
        self._level -= amount
        if wait > 0:
            with waits_for("the rate limit you set"):
                await self.sleep(wait)

    def give_back(self, amount: float) -> None:
        """Correct an estimate: positive gives back, negative takes more."""
        self._level += amount


@dataclass
class Limited:
    """A provider behind slots and the user's own `--rpm` and `--tpm`."""

    inner: Provider
    slots: Slots
    requests: Bucket | None = None
    tokens: Bucket | None = None
    # What a call usually takes, for --tpm: learned from the answers, this much before the first.
    _usual_tokens: float = 1500.0

    async def complete(self, request: Request) -> Response:
        await self.slots.acquire(request.turn)
        try:
            return await self._call(request)
        finally:
            self.slots.leave()

    async def _call(self, request: Request) -> Response:
        estimate = self._usual_tokens
        if self.requests:
            await self.requests.take(1)
        if self.tokens:
            await self.tokens.take(estimate)
        try:
            response = await self.inner.complete(request)
        except RateLimited:
            self.slots.rate_limited()
            raise
        except TransientError:
            self.slots.faulted()
            raise
        except Unusable:
            raise  # no call can be made: the others need not try
        except ProviderError:
            self.slots.open()
            raise
        self.slots.answered()
        if self.tokens and response.usage:
            actual = response.usage.input_tokens + response.usage.output_tokens
            self.tokens.give_back(estimate - actual)
            self._usual_tokens += 0.2 * (actual - self._usual_tokens)
        return response
