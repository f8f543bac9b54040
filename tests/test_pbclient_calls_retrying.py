from __future__ import annotations

import gc
import random

import pytest
from virtual_time import run

from pbclient.calls.retrying import Retrying, RetryPolicy
from providers import (
    AttemptTimedOut,
    AuthenticationFailed,
    BadRequest,
    ConnectionFailed,
    MalformedResponse,
    ModelNotFound,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    Request,
    RequestRefused,
    Response,
    ServerFault,
)

REQUEST = Request((), {})


class Scripted:
    """Ends each attempt as the script says, then answers."""

    def __init__(self, *script: ProviderError) -> None:
        self.script = list(script)
        self.attempts = 0

    async def complete(self, request: Request) -> Response:
        self.attempts += 1
        if self.script:
            raise self.script.pop(0)
        return Response("A", "stop")


def ask(
    provider: Scripted, policy: RetryPolicy | None = None
) -> tuple[Response | ProviderError, list[float]]:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    retrying = Retrying(provider, policy or RetryPolicy(), random.Random(1), sleep)

    async def main() -> Response | ProviderError:
        try:
            return await retrying.complete(REQUEST)
        except ProviderError as error:
            return error

    return run(main()), waits


@pytest.mark.parametrize(
    "kind", [RateLimited, ServerFault, ConnectionFailed, AttemptTimedOut, MalformedResponse]
)
def test_transient_errors_are_tried_again(kind):
    provider = Scripted(kind("once"), kind("twice"))
    answer, waits = ask(provider)
    assert isinstance(answer, Response)
    assert (provider.attempts, len(waits)) == (3, 2)


@pytest.mark.parametrize(
    "kind", [BadRequest, RequestRefused, AuthenticationFailed, ModelNotFound, QuotaExhausted]
)
def test_what_can_never_succeed_is_asked_once(kind):
    provider = Scripted(kind("no"))
    answer, waits = ask(provider)
    assert isinstance(answer, kind)
    assert (provider.attempts, waits) == (1, [])


def test_a_call_gives_up_after_ten_faults_with_the_last_error_itself():
    errors = [ServerFault(f"fault {number}") for number in range(1, 12)]
    provider = Scripted(*errors)
    answer, waits = ask(provider)
    assert answer is errors[9]
    assert provider.attempts == 10
    assert len(waits) == 9


def test_rate_limits_have_a_patience_of_their_own():
    script = [RateLimited("slow")] * 25 + [ServerFault("x")] * 9
    answer, _ = ask(Scripted(*script))
    assert isinstance(answer, Response)
    answer, _ = ask(Scripted(*[RateLimited("slow")] * 30))
    assert isinstance(answer, RateLimited)


def test_waits_are_jittered_within_a_doubling_bound():
    policy = RetryPolicy(first=1.0, longest=8.0)
    _, waits = ask(Scripted(*[ServerFault("x")] * 9), policy)
    bounds = [min(8.0, 2.0**n) for n in range(1, 10)]
    assert all(0 <= wait <= bound for wait, bound in zip(waits, bounds, strict=True))
    assert len(set(waits)) == len(waits)


def test_the_providers_own_wait_is_obeyed():
    _, waits = ask(Scripted(RateLimited("slow", retry_after=40.0), ServerFault("x", retry_after=0.0)))
    assert waits[0] == 40.0
    assert waits[1] > 0


def test_a_wait_beyond_patience_ends_the_call_at_once():
    provider = Scripted(RateLimited("come back tomorrow", retry_after=86_400.0))
    answer, waits = ask(provider)
    assert isinstance(answer, RateLimited)
    assert (provider.attempts, waits) == (1, [])


def test_retries_are_noticed():
    retries: list[tuple[str, float]] = []

    async def sleep(seconds: float) -> None:
        pass

    retrying = Retrying(
        Scripted(ServerFault("x"), RateLimited("y", retry_after=7.0)),
        sleep=sleep,
        on_retry=lambda error, wait: retries.append((str(error), wait)),
    )
    run(retrying.complete(REQUEST))
    assert [said for said, _ in retries] == ["x", "y"]
    assert retries[1][1] >= 7.0


def test_what_was_tried_again_leaves_nothing_to_the_collector():
    async def sleep(seconds: float) -> None:
        pass

    async def main() -> int:
        for _ in range(100):
            faults = (ServerFault("Down.") for _ in range(3))
            await Retrying(Scripted(*faults), rng=random.Random(1), sleep=sleep).complete(REQUEST)
        return gc.collect()

    gc.collect()
    gc.disable()
    try:
        assert run(main()) < 100
    finally:
        gc.enable()
