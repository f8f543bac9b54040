"""The rate controller on a virtual clock: what a limit allows is used, and hardly ever more."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limited_calls import play
from virtual_time import now, run

from benchmarks.limited_server import Account
from pbclient.calls.meters import Estimate
from pbclient.calls.rate import LET_FILL, OPENED, PROBE, RateController
from providers import RateLimit, Usage


def allowed(account: Account) -> float:
    """Calls a second."""
    limits = [account.rpm and account.rpm / 60, account.tpm and account.tpm / 60 / account.tokens]
    return min(limit for limit in limits if limit)


@pytest.mark.parametrize("headers", ["openai", "anthropic"])
@pytest.mark.parametrize(
    ("calls", "limits"),
    [
        (500, {"rpm": 500}),
        (1500, {"rpm": 3000}),
        (4000, {"rpm": 12_000}),
        (200, {"tpm": 100_000}),
        (600, {"rpm": 3000, "tpm": 400_000}),
    ],
)
def test_an_announced_limit_is_used_and_never_passed(calls, limits, headers):
    account = Account(**limits, headers=headers)
    played = play(account, calls)
    end = account.answered[-1]
    assert len(account.answered) == calls
    assert played.rate(15, end - 3 * account.latency) >= 0.95 * allowed(account)
    assert len(account.refused) <= calls / 100


@pytest.mark.parametrize(
    ("calls", "limits"),
    [(1000, {"rpm": 500}), (2500, {"rpm": 3000}), (800, {"tpm": 400_000})],
)
def test_a_limit_that_nobody_announces_is_found_from_few_refusals(calls, limits):
    account = Account(**limits, headers="")
    played = play(account, calls)
    end = account.answered[-1]
    assert played.rate(20, end - 3 * account.latency) >= 0.9 * allowed(account)
    assert len(account.refused) <= 3 * calls / 100
    assert max(played.refusals_of_a_call) <= 3


@pytest.mark.parametrize("headers", ["openai", ""])
@pytest.mark.parametrize("rpm", [900])
def test_a_limit_that_drops_to_a_third_and_comes_back(rpm, headers):
    account = Account(rpm=rpm, headers=headers)
    changes = [(40.0, {"requests": rpm / 3}), (80.0, {"requests": float(rpm)})]
    played = play(account, int(rpm * 2.2), changes=changes)
    assert played.refused(40, 80) <= 20
    assert played.refused(80, 140) <= 20
    assert played.rate(55, 80) >= 0.9 * rpm / 60 / 3
    assert played.rate(130, 140) >= 0.9 * rpm / 60


@pytest.mark.parametrize("headers", ["openai", ""])
def test_two_processes_share_an_account(headers):
    account = Account(rpm=1500, headers=headers)
    played = play(account, 2400, clients=2)
    assert played.rate(15, account.answered[-1] - 20) >= 0.85 * 25
    assert len(account.refused) <= 5 * 24
    shares = [controller.answers for controller in played.controllers]
    assert shares == [1200, 1200]


@pytest.mark.parametrize(("slots", "latency"), [(8, 0.5), (24, 2.0), (100, 0.5)])
def test_a_server_that_only_queues_is_filled_and_not_flooded(slots, latency):
    account = Account(slots=slots, latency=latency, headers="")
    calls = slots * 40
    played = play(account, calls)
    assert account.refused == []
    assert played.rate(12 * latency, account.answered[-1] - 4 * latency) >= 0.95 * slots / latency
    assert account.most_in_flight <= 4 * slots


@settings(max_examples=12, deadline=None)
@given(
    rpm=st.floats(60, 20_000),
    burst=st.floats(0.2, 5.0),
    latency=st.floats(0.05, 8.0),
    spread=st.floats(0.0, 0.6),
    faults=st.sampled_from([0.0, 0.05, 0.2]),
    seed=st.integers(0, 2**16),
)
def test_never_faster_than_what_was_announced_and_all_are_answered(rpm, burst, latency, spread, faults, seed):
    rng = random.Random(seed)
    account = Account(rpm=rpm, burst=burst, latency=latency, spread=spread, rng=rng)
    played = play(account, 300, faults=faults)
    assert len(account.answered) == 300
    # After the first answer has told it, no second holds more than a second's worth and one call.
    departures = played.left[OPENED + 1 :]
    for index, since in enumerate(departures):
        within = sum(since <= when < since + 1.0 for when in departures[index:])
        assert within <= 1.1 * rpm / 60 + 2


def test_the_first_call_goes_alone_until_it_has_ended():
    async def main():
        controller = RateController(1024, clock=now)
        first = await controller.leave(0)
        others = [asyncio.ensure_future(controller.leave(0)) for _ in range(20)]
        await asyncio.sleep(PROBE / 2)
        assert controller.running == 1
        assert controller.reason == "the first call"
        controller.answered(first, Usage(1, 1))
        controller.back()
        await asyncio.sleep(0)
        assert controller.running == OPENED
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    run(main())


def test_a_first_call_that_hangs_holds_the_others_up_only_so_long():
    async def main():
        controller = RateController(1024, clock=now)
        await controller.leave(0)
        await controller.leave(0)
        return now()

    assert run(main()) == PROBE


def test_a_call_that_is_given_up_while_it_waits_takes_no_place():
    async def main():
        controller = RateController(1, clock=now)
        first = await controller.leave(0)
        waiting = asyncio.ensure_future(controller.leave(0))
        after = asyncio.ensure_future(controller.leave(0))
        await asyncio.sleep(0)
        waiting.cancel()
        controller.answered(first, None)
        controller.back()
        await after
        assert controller.running == 1
        with pytest.raises(asyncio.CancelledError):
            await waiting

    run(main())


def test_episodes_that_have_begun_go_first():
    async def main():
        controller = RateController(1, clock=now)
        first = await controller.leave(0)
        order = []

        async def call(turn):
            await controller.leave(turn)
            order.append(turn)
            controller.back()

        tasks = [asyncio.ensure_future(call(turn)) for turn in (0, 0, 3, 1)]
        await asyncio.sleep(0)
        controller.answered(first, None)
        controller.back()
        await asyncio.gather(*tasks)
        return order

    assert run(main()) == [3, 1, 0, 0]


def test_what_was_learned_is_the_first_guess_of_the_next_run():
    account = Account(rpm=3000, headers="")
    learned = play(account, 3000).learned
    again = Account(rpm=3000, headers="")
    played = play(again, 1500, learned=learned)
    assert played.rate(3, 12) >= 0.85 * 50
    assert len(again.refused) <= 15


def test_what_calls_wait_for_is_told():
    async def main():
        controller = RateController(2, clock=now)
        first = await controller.leave(0)
        controller.answered(first, None, [RateLimit("requests", 600)])
        controller.back()
        await controller.leave(0)
        waiting = asyncio.ensure_future(controller.leave(0))
        await asyncio.sleep(0)
        paced = controller.reason
        await waiting
        return paced, controller.reason

    assert run(main()) == ("the provider's 600 requests/min", "--concurrency 2")


def test_no_call_leaves_while_this_process_is_behind():
    async def main():
        backlog = [True]
        controller = RateController(64, behind=lambda: backlog[0], clock=now)
        leaving = asyncio.ensure_future(controller.leave(0))
        await asyncio.sleep(1)
        waited, reason = controller.running, controller.reason
        backlog[0] = False
        await leaving
        return waited, reason, now()

    assert run(main()) == (0, "this processor", pytest.approx(1.02))


def test_several_limits_hold_together():
    controller = RateController(1024, clock=now)

    async def main():
        first = await controller.leave(0)
        limits = [
            RateLimit("requests", 6000),
            RateLimit("input tokens", 60_000),
            RateLimit("output tokens", 1200),
        ]
        controller.answered(first, Usage(100, 10), limits)
        controller.back()
        moments = []
        for _ in range(30):
            departure = await controller.leave(0)
            moments.append(now())
            controller.answered(departure, Usage(100, 10), limits)
            controller.back()
        return [later - earlier for earlier, later in pairwise(moments[5:])]

    # 1,200 output tokens a minute are two calls of ten a second: the scarcest decides.
    assert all(gap == pytest.approx(0.5 / 0.985, rel=0.01) for gap in run(main()))


def test_a_refusal_while_little_was_asked_costs_no_minute():
    async def main():
        controller = RateController(1, clock=now)
        departure = await controller.leave(0)
        controller.refused(departure, None)
        controller.back()
        for _ in range(3):
            departure = await controller.leave(0)
            controller.answered(departure, None)
            controller.back()
        return now()

    assert run(main()) < 10


def test_of_two_periods_of_one_resource_the_slower_is_kept_to():
    async def main():
        controller = RateController(64, clock=now)
        limits = [RateLimit("requests", 600), RateLimit("requests", 100, 1)]
        for _ in range(12):
            departure = await controller.leave(0)
            controller.answered(departure, None, limits)
            controller.back()
        return now()

    assert run(main()) >= 9 * 0.1  # a tenth of a second each, but for the one that a gap lets leave at once


def test_what_waits_for_a_refused_first_call_does_not_leave_before_the_pause():
    async def main():
        controller = RateController(1024, clock=now)
        first = await controller.leave(0)
        others = [asyncio.ensure_future(controller.leave(0)) for _ in range(20)]
        await asyncio.sleep(0)
        controller.refused(first, None)
        controller.back()
        await asyncio.sleep(LET_FILL / 2)
        left = controller.running
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        return left

    assert run(main()) == 0


def test_the_estimate_does_not_grow_while_nothing_is_sent():
    estimate = Estimate()
    estimate.cut(10.0, 100.0)
    estimate.take(100.0)
    before = estimate.rate(100.0)
    estimate.take(700.0)  # ten minutes later
    assert estimate.rate(700.0) == pytest.approx(before, rel=0.02)


def test_one_absurd_count_of_tokens_costs_no_more_than_a_period():
    async def main():
        controller = RateController(64, clock=now)
        limits = [RateLimit("tokens", 60_000)]
        departure = await controller.leave(0)
        controller.answered(departure, Usage(100, 10), limits)
        controller.back()
        departure = await controller.leave(0)
        controller.answered(departure, Usage(10**12, 10), limits)
        controller.back()
        await controller.leave(0)
        return now()

    assert run(main()) <= 70


def test_a_lucky_first_call_does_not_keep_a_server_half_empty():
    account = Account(slots=200, latency=1.0, spread=0.1, headers="")
    usual, tries = account.seconds, iter(range(10_000))
    account.seconds = lambda: 0.2 if next(tries) == 0 else usual()
    played = play(account, 6000)
    assert played.rate(15, 25) >= 0.8 * 200
