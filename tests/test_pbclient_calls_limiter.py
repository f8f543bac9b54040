from __future__ import annotations

import asyncio

import pytest
from virtual_time import now, run

from pbclient.calls.limiter import COOLDOWN, OPENED, PAUSE, PROBE, Bucket, Limited, Slots
from providers import AuthenticationFailed, ProviderError, RateLimited, Request, Response, ServerFault, Usage


class Slow:
    """Answers after a second; records the most that ever ran at once."""

    def __init__(self, errors: list[ProviderError | None] | None = None, seconds: float = 1.0) -> None:
        self.errors = errors or []
        self.seconds = seconds
        self.running = self.most = self.calls = 0
        self.started: list[float] = []

    async def complete(self, request: Request) -> Response:
        self.calls += 1
        self.started.append(now())
        self.running += 1
        self.most = max(self.most, self.running)
        error = self.errors.pop(0) if self.errors else None
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.running -= 1
        if error:
            raise error
        return Response("A", "stop", Usage(100, 20))


REQUEST = Request((), {})


async def ask_all(limited: Limited, count: int) -> list[Response | BaseException]:
    return await asyncio.gather(*(limited.complete(REQUEST) for _ in range(count)), return_exceptions=True)


@pytest.mark.parametrize("ceiling", [1, 2, 7, 64])
def test_no_more_than_the_ceiling_run_at_once_and_all_of_it_is_used(ceiling):
    async def main():
        provider = Slow()
        await ask_all(Limited(provider, Slots(ceiling, now)), 400)
        return provider

    provider = run(main())
    assert provider.calls == 400
    assert provider.most == ceiling


def test_the_first_call_goes_alone_and_opens_the_rest():
    async def main():
        provider = Slow()
        await ask_all(Limited(provider, Slots(64, now)), 40)
        return provider.started

    started = run(main())
    assert [started.count(second) for second in (0.0, 1.0)] == [1, OPENED]


def test_a_first_call_that_hangs_or_fails_does_not_hold_up_the_rest():
    async def main(provider: Slow) -> list[float]:
        await ask_all(Limited(provider, Slots(64, now)), 10)
        return provider.started

    assert run(main(Slow(seconds=60.0)))[:10] == [0.0] + [PROBE] * 9
    assert run(main(Slow([ServerFault("x")])))[:10] == [0.0] + [1.0] * 9


def test_an_unusable_account_opens_nothing():
    async def main():
        provider = Slow([AuthenticationFailed("wrong key")] * 3)
        await ask_all(Limited(provider, Slots(64, now)), 3)
        return provider.started

    assert run(main()) == [0.0, 1.0, 2.0]


def test_growth_doubles_each_round_while_the_limit_is_used():
    async def main():
        provider = Slow()
        await ask_all(Limited(provider, Slots(256, now)), 600)
        return provider.started

    started = run(main())
    assert [started.count(float(second)) for second in range(1, 6)] == [16, 32, 64, 128, 256]


def test_rate_limits_of_one_round_shrink_once_and_the_next_round_again():
    clock = [0.0]
    slots = Slots(100, lambda: clock[0])
    slots.open()
    slots.limit = 100.0
    for _ in range(30):
        slots.rate_limited()
    assert slots.limit == 80
    clock[0] = COOLDOWN
    slots.rate_limited()
    assert slots.limit == 64


def test_a_server_fault_pauses_growth_and_shrinks_nothing():
    clock = [0.0]
    slots = Slots(100, lambda: clock[0])
    slots.answered()
    slots.running = OPENED
    slots.faulted()
    slots.answered()
    assert slots.limit == OPENED
    clock[0] = PAUSE
    slots.answered()
    assert slots.limit == OPENED + 1


def test_the_limit_does_not_grow_while_it_is_not_used():
    async def main():
        slots = Slots(256, now)
        limited = Limited(Slow(), slots)
        for _ in range(50):
            await ask_all(limited, 3)
        return slots.limit

    assert run(main()) == OPENED


def test_errors_reach_the_slots_and_the_caller():
    async def main():
        slots = Slots(64, now)
        limited = Limited(
            Slow([None, RateLimited("slow down", status=429), ServerFault("oops", status=503)]), slots
        )
        ends = [(await ask_all(limited, 1))[0] for _ in range(3)]
        return slots, ends

    slots, ends = run(main())
    assert [type(end) for end in ends] == [Response, RateLimited, ServerFault]
    assert slots.limit == OPENED * 0.8
    assert slots.running == 0


def test_episodes_already_begun_are_served_first():
    served: list[int] = []

    class Recording(Slow):
        async def complete(self, request: Request) -> Response:
            served.append(request.turn)
            return await super().complete(request)

    async def main():
        limited = Limited(Recording(), Slots(1, now))
        await asyncio.gather(*(limited.complete(Request((), {}, turn=turn)) for turn in (0, 0, 0, 2, 1)))

    run(main())
    assert served == [0, 2, 1, 0, 0]


def test_cancelled_waiters_and_holders_leave_no_slot_behind():
    async def main():
        slots = Slots(1, now)
        limited = Limited(Slow(), slots)
        tasks = [asyncio.create_task(limited.complete(REQUEST)) for _ in range(6)]
        await asyncio.sleep(0.5)
        for task in tasks[:3]:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        return slots.running, ends

    running, ends = run(main())
    assert running == 0
    assert sum(isinstance(end, Response) for end in ends) == 3


@pytest.mark.parametrize("rpm", [30, 60, 1200])
def test_no_minute_holds_more_requests_than_the_user_allows(rpm):
    async def main():
        provider = Slow(seconds=0.0)
        slots = Slots(64, now)
        await ask_all(Limited(provider, slots, requests=Bucket(rpm, now)), rpm * 2 + 1)
        return provider.started

    started = run(main())
    for start in started:
        assert sum(start <= other < start + 60 - 1e-6 for other in started) <= rpm
    assert max(started) == pytest.approx(120, rel=0.02)


def test_tokens_a_minute_are_learned_from_the_answers():
    async def main():
        provider = Slow(seconds=0.0)
        await ask_all(Limited(provider, Slots(8, now), tokens=Bucket(1200, now)), 101)
        return max(provider.started)

    # 120 tokens a call and 1,200 a minute: ten calls a minute once the first estimates are corrected.
    assert run(main()) == pytest.approx(600, rel=0.25)
