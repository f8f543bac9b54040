from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.util
import json
import random
import re

import pytest
from virtual_time import run

from pbclient.calls.retrying import Failures, Retrying, RetryPolicy, gives_up, wait
from providers import (
    AttemptTimedOut,
    AuthenticationFailed,
    BadRequest,
    ConnectionFailed,
    MalformedResponse,
    Message,
    ModelNotFound,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    Request,
    RequestRefused,
    Response,
    ServerFault,
)
from providers.hosted.wire import Hosted

REQUEST = Request((), {})
ASKED = Request((Message("user", ("hi",)),), {"max_tokens": 5})


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


@pytest.mark.parametrize("faults", [3, 10], ids=["answered", "given up"])
def test_what_was_tried_again_leaves_nothing_to_the_collector(faults):
    async def sleep(seconds: float) -> None:
        pass

    async def main() -> int:
        retrying = Retrying(Scripted(), rng=random.Random(1), sleep=sleep)
        for _ in range(100):
            retrying.inner = Scripted(*(ServerFault("Down.") for _ in range(faults)))
            with contextlib.suppress(ServerFault):
                await retrying.complete(REQUEST)
        return gc.collect()

    gc.collect()
    gc.disable()
    try:
        assert run(main()) < 100
    finally:
        gc.enable()


def test_calls_in_flight_together_are_counted_each_for_itself():
    """One call fails often enough to give up while another, in between, fails less often and is answered."""

    class Either:
        def __init__(self) -> None:
            self.providers = {
                0: Scripted(*[ServerFault("down")] * 10),
                1: Scripted(*[RateLimited("slow")] * 12),
            }

        async def complete(self, request: Request) -> Response:
            await asyncio.sleep(1)
            return await self.providers[request.turn].complete(request)

    async def main() -> list[Response | BaseException]:
        retrying = Retrying(Either(), rng=random.Random(1))
        calls = [retrying.complete(REQUEST._replace(turn=turn)) for turn in (0, 1)]
        return await asyncio.gather(*calls, return_exceptions=True)

    failed, answered = run(main())
    assert isinstance(failed, ServerFault)
    assert isinstance(answered, Response)


def test_a_cancellation_passes_at_once_whether_asking_or_waiting():
    async def main(provider: Scripted, seconds: float) -> int:
        task = asyncio.create_task(Retrying(provider, rng=random.Random(1)).complete(REQUEST))
        await asyncio.sleep(seconds)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return provider.attempts

    class Hanging(Scripted):
        async def complete(self, request: Request) -> Response:
            await super().complete(request)
            await asyncio.sleep(3600)
            raise AssertionError

    assert run(main(Hanging(), 1)) == 1
    assert run(main(Hanging(ServerFault("x", retry_after=5)), 1)) == 1  # while it waits
    assert run(main(Hanging(ServerFault("x", retry_after=5)), 6)) == 2  # while it asks again


LIMITED, FAULT = RateLimited("slow"), ServerFault("down")


@pytest.mark.parametrize(
    ("error", "failures", "last", "longest"),
    [
        (FAULT, Failures(faults=1), False, 1.0),
        (FAULT, Failures(faults=5), False, 16.0),
        (FAULT, Failures(faults=9), False, 30.0),
        (FAULT, Failures(faults=10), True, 30.0),
        (FAULT, Failures(faults=9, rate_limits=29), False, 30.0),
        (LIMITED, Failures(rate_limits=29), False, 30.0),
        (LIMITED, Failures(rate_limits=30), True, 30.0),
        (LIMITED, Failures(faults=9, rate_limits=2000), True, 30.0),
        (RateLimited("x", retry_after=900.0), Failures(rate_limits=1), False, 900.0),
        (RateLimited("x", retry_after=900.1), Failures(rate_limits=1), True, 900.1),
        (ServerFault("x", retry_after=7.0), Failures(faults=1), False, 7.0),
    ],
)
def test_rules(error, failures, last, longest):
    policy = RetryPolicy()
    assert gives_up(policy, failures, error) is last
    waits = [wait(policy, failures, error, random.Random(seed)) for seed in range(200)]
    assert max(waits) <= longest
    assert max(waits) > longest * 0.9
    assert min(waits) >= (error.retry_after or 0.0)


@pytest.mark.slow
def test_litellm_makes_one_attempt_a_call_though_tenacity_is_there():
    assert importlib.util.find_spec("tenacity")  # LiteLLM retries with it where it may
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(await reader.readexactly(int(re.search(rb"(?i)content-length: (\d+)", head)[1])))
        message = {"role": "assistant", "content": "B"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        body = json.dumps(answer if len(asked) == 3 else {"error": {"message": "down"}}).encode()
        status = b"200 OK" if len(asked) == 3 else b"500 Internal Server Error"
        writer.write(
            b"HTTP/1.1 %b\r\ncontent-type: application/json\r\nconnection: close\r\n" % status
            + b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )
        await writer.drain()
        writer.close()

    async def main() -> tuple[int, Response]:
        async with await asyncio.start_server(serve, "127.0.0.1") as server:
            port = server.sockets[0].getsockname()[1]
            hosted = Hosted("openai", "m", base_url=f"http://127.0.0.1:{port}/v1", api_key="k")
            with pytest.raises(ServerFault):
                await hosted.complete(ASKED)
            alone = len(asked)
            answer = await Retrying(hosted, sleep=sleep).complete(ASKED)
            await hosted.aclose()
            return alone, answer

    alone, answer = asyncio.run(main())
    assert (alone, len(asked), answer.text, len(waits)) == (1, 3, "B", 1)
