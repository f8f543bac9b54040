"""Refuse further calls once none can succeed any more.

A wrong key, a missing model or an empty account opens the breaker at once: the first such error
costs one call, and without the breaker each waiting call would make it again. A server that cannot
be reached opens it after a while, sooner when it never answered: else every episode of the run
would try its ten attempts and fail.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from providers import ConnectionFailed, Provider, Request, Response, Unreachable, Unusable

NEVER_ANSWERED = 15.0  # seconds of failed connections from the start
GONE = 180.0  # seconds of failed connections after an answer: a laptop may change its network


@dataclass
class Breaker:
    """A provider that lets calls through until one shows that none can succeed: that error is `shut`."""

    inner: Provider
    on_open: Callable[[Unusable], None] = lambda error: None
    clock: Callable[[], float] = time.monotonic
    shut: Unusable | None = None
    _answered: bool = False
    _failing_since: float | None = None

    async def complete(self, request: Request) -> Response:
        if self.shut is not None:
            # Nothing was sent, so nothing was billed, whatever the first error cost.
            raise type(self.shut)(str(self.shut), billed=False, status=self.shut.status)
        try:
            response = await self.inner.complete(request)
        except Unusable as error:
            self._open(error)
            raise
        except ConnectionFailed as error:
            if not error.billed:  # else it was sent, so somebody is there
                now = self.clock()
                if self._failing_since is None:
                    self._failing_since = now
                patience = GONE if self._answered else NEVER_ANSWERED
                if now - self._failing_since >= patience:
                    self._open(Unreachable(f"No connection for {patience:.0f} s: {error}"))
            raise
        self._answered, self._failing_since = True, None
        return response

    def _open(self, error: Unusable) -> None:
        if self.shut is None:
            self.shut = error
            self.on_open(error)
