from __future__ import annotations

import asyncio

import pytest
from virtual_time import now, run

from pbclient.calls.limiter import Limited
from pbclient.calls.rate import OPENED, PROBE, RateController
from providers import (
    AuthenticationFailed,
    ProviderError,
    RateLimit,
    RateLimited,
    Request,
    Response,
    ServerFault,
    Usage,
)


class Slow:
    """Answers after a second; records the most that ever ran at once."""

    def __init__(
        self, errors: list[Exception | None] | None = None, seconds: float = 1.0, limits: tuple = ()
    ) -> None:
        self.errors = errors or []
        self.seconds = seconds
        self.limits = limits
        self.running = self.most = self.calls = 0
        self.started: list[float] = []
        self.keys: list[str] = []

    async def complete(self, request: Request) -> Response:
        self.calls += 1
        self.started.append(now())
        self.keys.append(request.key)
        self.running += 1
        self.most = max(self.most, self.running)
        error = self.errors.pop(0) if self.errors else None
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.running -= 1
        if error:
            raise error
        return Response("A", "stop", Usage(100, 20), limits=self.limits)


REQUEST = Request((), {})


def controlled(provider: Slow, ceiling: int = 64, **caps: RateLimit) -> Limited:
    controller = RateController(ceiling, clock=now)
    for option, limit in caps.items():
        controller.cap(f"--{option}", limit)
    return Limited(provider, controller)


async def ask_all(limited: Limited, count: int) -> list[Response | BaseException]:
    return await asyncio.gather(*(limited.complete(REQUEST) for _ in range(count)), return_exceptions=True)


@pytest.mark.parametrize("ceiling", [1, 2, 7, 64])
def test_no_more_than_the_ceiling_run_at_once_and_all_of_it_is_used(ceiling):
    async def main():
        provider = Slow()
        await ask_all(controlled(provider, ceiling), 400)
        return provider

    provider = run(main())
    assert provider.calls == 400
    assert provider.most == ceiling


def test_a_server_with_a_queue_of_its_own_is_given_all_at_once():
    async def main():
        provider = Slow()
        await ask_all(Limited(provider, RateController(64, queues=True, clock=now)), 65)
        return provider.started

    started = run(main())
    assert [started.count(second) for second in (0.0, 1.0)] == [1, 64]


def test_a_first_call_that_hangs_or_fails_does_not_hold_up_the_rest():
    async def main(provider: Slow) -> list[float]:
        await ask_all(controlled(provider), 10)
        return provider.started

    assert run(main(Slow(seconds=60.0)))[:10] == [0.0] + [PROBE] * 3 + [2 * PROBE] * 4 + [3 * PROBE] * 2
    assert run(main(Slow([ServerFault("x")])))[:10] == [0.0] + [1.0] * 9


def test_an_unusable_account_opens_nothing():
    async def main():
        provider = Slow([AuthenticationFailed("wrong key")] * 3)
        await ask_all(controlled(provider), 3)
        return provider.started

    assert run(main()) == [0.0, 1.0, 2.0]


def test_an_announced_limit_is_the_pace_from_the_first_answer_on():
    async def main():
        provider = Slow(limits=(RateLimit("requests", 600),))
        await ask_all(controlled(provider), 60)
        return provider.started

    started = run(main())
    assert max(started) == pytest.approx(1 + 59 / 10 / 0.985, abs=0.2)


def test_every_error_is_handed_on_and_leaves_no_place_taken():
    errors: list[ProviderError] = [RateLimited("slow down", status=429), ServerFault("oops", status=503)]

    async def main():
        limited = controlled(Slow([None, *errors]))
        ends = [(await ask_all(limited, 1))[0] for _ in range(3)]
        return limited.controller, ends

    controller, ends = run(main())
    assert [type(end) for end in ends] == [Response, RateLimited, ServerFault]
    assert (controller.answers, controller.refusals, controller.running) == (1, 1, 0)


def test_what_was_never_sent_takes_nothing_of_the_limit():
    limits = (RateLimit("requests", 60),)

    async def main():
        provider = Slow([None, *[ValueError("no picture")] * 200], seconds=0.0, limits=limits)
        await ask_all(controlled(provider), 200)
        return now()

    assert run(main()) < 10


def test_a_refused_call_goes_before_those_that_wait_for_their_first_try():
    async def main():
        provider = Slow([None, RateLimited("slow down", status=429)])
        limited = controlled(provider, ceiling=1)

        async def ask(key: str) -> None:
            request = REQUEST._replace(key=key)
            try:
                await limited.complete(request)
            except RateLimited:
                await limited.complete(request)

        await asyncio.gather(*(ask(key) for key in "abcd"))
        return provider.keys

    assert run(main()) == ["a", "b", "b", "c", "d"]


def test_cancelled_waiters_and_holders_leave_no_place_behind():
    async def main():
        limited = controlled(Slow(), ceiling=1)
        tasks = [asyncio.create_task(limited.complete(REQUEST)) for _ in range(6)]
        await asyncio.sleep(0.5)
        for task in tasks[:3]:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        return limited.controller.running, ends

    running, ends = run(main())
    assert running == 0
    assert sum(isinstance(end, Response) for end in ends) == 3


@pytest.mark.parametrize("rpm", [30, 60, 1200])
def test_no_minute_holds_more_requests_than_the_user_allows(rpm):
    async def main():
        provider = Slow(seconds=0.0)
        await ask_all(controlled(provider, rpm=RateLimit("requests", rpm)), rpm * 2 + 1)
        return provider.started

    started = run(main())
    for start in started:
        assert sum(start <= other < start + 60 - 1e-6 for other in started) <= rpm
    assert max(started) == pytest.approx(120, rel=0.02)


def test_tokens_a_minute_are_learned_from_the_answers():
    async def main():
        provider = Slow(seconds=0.0)
        await ask_all(controlled(provider, ceiling=8, tpm=RateLimit("tokens", 1200)), 101)
        return max(provider.started)

    # 120 tokens a call and 1,200 a minute: ten calls a minute once the first estimates are corrected.
    assert run(main()) == pytest.approx(600, rel=0.25)


def test_sixteen_at_once_after_the_first_call():
    async def main():
        provider = Slow()
        await ask_all(controlled(provider), 40)
        return provider.started

    started = run(main())
    assert [started.count(second) for second in (0.0, 1.0)] == [1, OPENED]
