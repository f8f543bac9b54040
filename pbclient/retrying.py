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

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from pbclient.waiting import waits_for
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
    noticed: Callable[[TransientError, float], None] = lambda error, wait: None

    async def complete(self, request: Request) -> Response:
        """The first answer; the last error as it was raised when there is none."""
        try:
            return await self.inner.complete(request)
        except TransientError as error:
            # Only now is tenacity put to work: it takes as long as everything else around a call.
            failed = [error]
        return await self._again(request, failed)

    async def _again(self, request: Request, failed: list[TransientError]) -> Response:
        """What follows an attempt that has failed."""
        counted = _Attempts(self.policy, self.rng)
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(TransientError),
            stop=counted.exhausted,
            wait=counted.wait,
            sleep=self._sleep,
            before_sleep=self._notice,
            reraise=True,
        )

        async def attempt() -> Response:
            if failed:
                raise failed.pop()
            return await self.inner.complete(request)

        return await retrying(attempt)

    async def _sleep(self, seconds: float) -> None:
        with waits_for(f"retry in {seconds:.0f} s"):
            await self.sleep(seconds)

    def _notice(self, state: RetryCallState) -> None:
        self.noticed(_error(state), state.upcoming_sleep)


class _Attempts:
    """Counts the failed attempts of one call by kind."""

    def __init__(self, policy: RetryPolicy, rng: random.Random) -> None:
        self._policy = policy
        self._rng = rng
        self._limited = 0

    def exhausted(self, state: RetryCallState) -> bool:
        # Tenacity asks this once after each failed attempt, before it asks for the wait.
        error = _error(state)
        if (error.retry_after or 0) > self._policy.patience:
            return True
        if isinstance(error, RateLimited):
            self._limited += 1
            return self._limited >= self._policy.rate_limits
        return state.attempt_number - self._limited >= self._policy.faults

    def wait(self, state: RetryCallState) -> float:
        bound = min(self._policy.longest, self._policy.first * 2.0 ** min(state.attempt_number, 32))
        return max(self._rng.uniform(0, bound), _error(state).retry_after or 0.0)


def _error(state: RetryCallState) -> TransientError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, TransientError)  # the only kind that the policy retries
    return error
