"""Retry transient errors: which ones, how often and after what wait.

The one owner of retries: below this, every provider makes exactly one attempt. tenacity drives the
attempts, the rules are `gives_up` and `wait`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn, cast

from pbclient.progress import waits_for
from providers import Provider, RateLimited, Request, Response, TransientError

if TYPE_CHECKING:
    from tenacity import RetryCallState
    from tenacity.asyncio import AsyncRetrying

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


@dataclass(slots=True)
class Failures:
    """The failed attempts of one call, by kind; `uncounted` is the first, until tenacity hears of it."""

    faults: int = 0
    rate_limits: int = 0
    uncounted: list[TransientError] = field(default_factory=list)

    def count(self, error: TransientError) -> None:
        """One more attempt has ended in `error`."""
        if isinstance(error, RateLimited):
            self.rate_limits += 1
        else:
            self.faults += 1


def gives_up(policy: RetryPolicy, failures: Failures, error: TransientError) -> bool:
    """Whether the attempt that ended in `error` was the last.

    Rate limits have a longer patience than faults: they say that the request is good and only early.
    """
    return (
        failures.faults >= policy.faults
        or failures.rate_limits >= policy.rate_limits
        or (error.retry_after or 0.0) > policy.patience
    )


def wait(policy: RetryPolicy, failures: Failures, error: TransientError, rng: random.Random) -> float:
    """Seconds until the next attempt: full jitter, or what the provider named if that is longer."""
    bound = min(policy.longest, policy.first * 2.0 ** min(failures.faults + failures.rate_limits, 32))
    return max(rng.uniform(0, bound), error.retry_after or 0.0)


@dataclass
class Retrying:
    """A provider that tries transient errors again; `on_retry` hears of the error and the wait."""

    inner: Provider
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    rng: random.Random = field(default_factory=random.Random)
    sleep: Sleep = asyncio.sleep
    on_retry: Callable[[TransientError, float], None] = lambda error, wait: None

    async def complete(self, request: Request) -> Response:
        """The first answer; the last error as it was raised when there is none."""
        try:
            return await self.inner.complete(request)
        except TransientError as error:
            failures = Failures(uncounted=[error])
        # Only now tenacity, which takes a tenth of a direct call's own time: most calls never fail.
        return await self._retrying(self._attempt, request, failures)

    async def _attempt(self, request: Request, failures: Failures) -> Response:
        try:
            if failures.uncounted:
                raise failures.uncounted.pop()
            return await self.inner.complete(request)
        except TransientError as error:
            failures.count(error)
            raise

    async def _pause(self, seconds: float) -> None:
        with waits_for(f"a retry in {seconds:.0f} s"):
            await self.sleep(seconds)

    @cached_property
    def _retrying(self) -> AsyncRetrying:
        # One for all calls, which is safe while none of these functions waits: what is counted of a call
        # is handed on with its request. Made when a call has failed: the others need no tenacity.
        from tenacity import retry_if_exception_type
        from tenacity.asyncio import AsyncRetrying

        def failed(state: RetryCallState) -> tuple[Failures, TransientError]:
            assert state.outcome is not None
            return state.args[1], cast(TransientError, state.outcome.exception())

        def give_up(state: RetryCallState) -> NoReturn:
            try:
                raise failed(state)[1]
            finally:
                state.outcome = None  # else the error holds frames that hold the error, and the request

        return AsyncRetrying(
            retry=retry_if_exception_type(TransientError),
            stop=lambda state: gives_up(self.policy, *failed(state)),
            wait=lambda state: wait(self.policy, *failed(state), self.rng),
            before_sleep=lambda state: self.on_retry(failed(state)[1], state.upcoming_sleep),
            sleep=self._pause,
            retry_error_callback=give_up,
        )
