"""The one owner of retries: which errors are tried again, how often and after what wait.

The wait is full jitter (uniform between zero and a doubling bound) or what the provider
named, whichever is longer. Rate limits have a longer patience than faults, since they say that
the request is good and only early. Below this, every provider makes exactly one attempt.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from pbclient.progress import waits_for
from providers import Provider, RateLimited, Request, Response, TransientError

type Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class RetryPolicy:
    """`faults` and `rate_limits` are the most attempts that may end so before the call gives up.

    Waits are uniform in [0, min(longest, first * 2**failures)] seconds; a provider's own
    Retry-After is obeyed up to `patience` seconds and ends the call beyond it.
    """

    faults: int = 10
    rate_limits: int = 30
    first: float = 0.5
    longest: float = 30.0
    patience: float = 900.0


@dataclass
class Retrying:
    """Tries transient errors again. `noticed` hears of every retry: the error and the wait."""

    inner: Provider
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    rng: random.Random = field(default_factory=random.Random)
    sleep: Sleep = asyncio.sleep
    on_retry: Callable[[TransientError, float], None] = lambda error, wait: None

    async def complete(self, request: Request) -> Response:
        """The first answer; the last error as it was raised when there is none."""
        attempts = _Attempts(self.policy)
        while True:
            try:
                return await self.inner.complete(request)
            except TransientError as error:
                wait = attempts.wait(error, self.rng)
                if wait is None:
                    raise
                self.on_retry(error, wait)
            with waits_for(f"retry in {wait:.0f} s"):
                await self.sleep(wait)


@dataclass(slots=True)
class _Attempts:
    """Counts the failed attempts of one call by kind."""

    policy: RetryPolicy
    faults: int = 0
    limited: int = 0

    def wait(self, error: TransientError, rng: random.Random) -> float | None:
        """Seconds until the next attempt, now that one has ended in `error`; None when it was the last."""
        if isinstance(error, RateLimited):
            self.limited += 1
        else:
            self.faults += 1
        policy, named = self.policy, error.retry_after or 0.0
        if self.faults >= policy.faults or self.limited >= policy.rate_limits or named > policy.patience:
            return None
        bound = min(policy.longest, policy.first * 2.0 ** min(self.faults + self.limited, 32))
        return max(rng.uniform(0, bound), named)
