"""The invariant of --max-cost, asserted at every event, over random prices, latencies, faults,
cancellations and limits on a virtual clock."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import run

from pbclient.money.budget import Budget, BudgetExhausted, Held, finish
from providers import (
    AttemptTimedOut,
    BadRequest,
    ConnectionFailed,
    ProviderError,
    RateLimited,
    Request,
    Response,
    ServerFault,
    Usage,
)
from runs import Ledger


@dataclass
class Bank:
    """A model server that bills; knows the truth that the budget must bound."""

    rng: random.Random
    most: int
    faults: float
    billed: int = 0
    sent: int = 0

    async def complete(self, request: Request) -> Response:
        self.sent += 1
        price = self.rng.randint(0, self.most)
        await asyncio.sleep(self.rng.uniform(0, 5))
        if self.rng.random() < self.faults:
            raise self._fault(price)
        self.billed += price
        return Response(str(price), "stop", Usage(price, 0), cost=price / 10**12, key=request.key)

    def _fault(self, price: int) -> ProviderError:
        kind = self.rng.choice([RateLimited, ServerFault, BadRequest, AttemptTimedOut, ConnectionFailed])
        if kind in (AttemptTimedOut, ConnectionFailed):
            self.billed += price  # ambiguous: it did bill, though nobody will ever say so
            return kind("ended without a word", billed=True)
        return kind("no")


class Watched(Ledger):
    """A ledger that holds the invariant against every step that is written."""

    limit: int | None = None

    def hold(self, amount: int) -> int:
        number = super().hold(amount)
        assert self.limit is None or amount == 0 or self.spent_or_held <= self.limit
        return number


def bill(request: Request, usage: Usage | None, told: float | None) -> int | None:
    return None if usage is None else usage.input_tokens


async def in_parts(request: Request) -> str:
    return "all of it for thought"


@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 2**32),
    limit=st.integers(0, 3000),
    most=st.integers(1, 120),
    calls=st.integers(1, 60),
    faults=st.sampled_from([0.0, 0.2, 0.7]),
    cancelled=st.sampled_from([0.0, 0.2]),
)
def test_what_is_billed_never_exceeds_the_limit(
    tmp_path_factory, seed, limit, most, calls, faults, cancelled
):
    rng = random.Random(seed)
    path = tmp_path_factory.mktemp("budget") / "ledger.jsonl"

    async def main():
        with Watched.open(path) as ledger:
            ledger.limit = limit
            bank = Bank(rng, most, faults)
            budget = Budget(ledger, limit)

            async def bound(request: Request) -> int:
                return most

            held = Held(bank, budget, bound, bill, in_parts)
            tasks = [
                asyncio.create_task(held.complete(Request((), {}, turn=rng.randint(0, 2), key=str(number))))
                for number in range(calls)
            ]
            for task in tasks:
                if rng.random() < cancelled:
                    asyncio.get_running_loop().call_later(rng.uniform(0, 8), task.cancel)
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            assert bank.billed <= ledger.spent_or_held <= limit
            assert ledger.held == 0
            return ends, bank, ledger.spent_or_held

    ends, bank, spent = run(main())
    refused = sum(isinstance(end, BudgetExhausted) for end in ends)
    if refused:
        # Nobody is turned away while a whole call could still be covered.
        assert limit - spent < most
    answered = sum(isinstance(end, Response) for end in ends)
    if faults == 0 and cancelled == 0:
        assert answered == bank.sent == calls - refused
    with Ledger.open(path) as again:
        assert again.spent_or_held == spent


def purse_with(path, limit: int | None, cost: int, seconds: float = 1.0):
    class Till:
        sent: list[int]

        def __init__(self) -> None:
            self.sent = []

        async def complete(self, request: Request) -> Response:
            self.sent.append(request.turn)
            await asyncio.sleep(seconds)
            return Response(str(cost), "stop", Usage(cost, 0), key=request.key)

    async def bound(request: Request) -> int:
        return 100

    till = Till()
    ledger = Ledger.open(path / "ledger.jsonl")
    return till, ledger, Held(till, Budget(ledger, limit), bound, bill, in_parts)


async def ask(held: Held, *turns: int) -> list[Response | BaseException]:
    calls = (held.complete(Request((), {}, turn=turn, key=f"k{n}")) for n, turn in enumerate(turns))
    return await asyncio.gather(*calls, return_exceptions=True)


def test_those_who_wait_are_served_from_what_settles(tmp_path):
    _till, ledger, held = purse_with(tmp_path, 150, cost=10)
    with ledger:
        ends = run(ask(held, *[0] * 6))
    # Each call holds 100 and settles 10: one after the other until less than a hold is left.
    assert [type(end) for end in ends] == [Response] * 6
    assert ledger.settled == 60


def test_the_last_call_is_refused_only_when_nothing_in_flight_can_cover_it(tmp_path):
    _till, ledger, held = purse_with(tmp_path, 250, cost=100)
    with ledger:
        ends = run(ask(held, 0, 0, 0, 0))
    assert [type(end) for end in ends] == [Response, Response, BudgetExhausted, BudgetExhausted]
    assert str(ends[2]) == (
        "The money that is left ($0.00000000005) cannot cover the next call, which is held at $0.0000000001: "
        "all of it for thought. Raise --max-cost and run the same command again."
    )


def test_started_episodes_are_served_before_new_ones(tmp_path):
    till, ledger, held = purse_with(tmp_path, 100, cost=0)
    with ledger:
        run(ask(held, 0, 0, 0, 3, 1))
    assert till.sent == [0, 3, 1, 0, 0]


def test_no_limit_holds_and_settles_all_the_same(tmp_path):
    _till, ledger, held = purse_with(tmp_path, None, cost=70)
    with ledger:
        run(ask(held, *[0] * 50))
    assert (ledger.settled, ledger.kept, ledger.calls) == (3500, 0, 50)


def test_what_costs_nothing_runs_when_the_money_is_gone(tmp_path):
    _till, ledger, held = purse_with(tmp_path, 0, cost=0)

    async def nothing(request: Request) -> int:
        return 0

    held.bound = nothing
    with ledger:
        ledger.keep(ledger.hold(500))
        assert all(isinstance(end, Response) for end in run(ask(held, 0, 0, 0)))


def test_a_bill_above_its_hold_is_said_and_raises_all_later_holds(tmp_path):
    _till, ledger, held = purse_with(tmp_path, 10_000, cost=150)
    said = []
    held.budget.overrun = lambda bill, hold, raised: said.append((bill, hold, raised.ratio))
    with ledger:
        run(ask(held, 0))
        run(ask(held, 0))
        assert said == [(150, 100, Fraction(3, 2))]
        holds = [line for line in (tmp_path / "ledger.jsonl").read_text().splitlines() if "hold" in line]
    assert "150" in holds[1]
    assert "100" in holds[0]


def test_calls_in_flight_are_counted_higher_once_a_bill_exceeded_its_hold(tmp_path):
    _till, ledger, held = purse_with(tmp_path, 900, cost=200)

    async def main() -> list[Response | BaseException]:
        early = asyncio.create_task(held.complete(Request((), {}, key="early")))
        await asyncio.sleep(0.5)
        flying = [asyncio.create_task(held.complete(Request((), {}, key=f"flying {n}"))) for n in range(2)]
        await asyncio.sleep(0.6)
        # early has settled 200 instead of 100; the two in flight now count 200 each: 300 are left.
        assert held.budget.free == 300
        later = await ask(held, 0, 0)
        await asyncio.gather(early, *flying)
        return later

    with ledger:
        assert [type(end) for end in run(main())] == [Response, BudgetExhausted]
    assert ledger.settled == 800


def test_a_bill_that_nobody_names_is_the_whole_hold(tmp_path):
    _till, ledger, held = purse_with(tmp_path, None, cost=3)
    held.bill = lambda request, usage, told: None
    with ledger:
        run(ask(held, 0))
    assert ledger.settled == 100


def test_the_first_cancellation_finishes_what_was_sent_and_the_second_ends_it(tmp_path):
    async def main(times: int) -> tuple[int, int]:
        _till, ledger, held = purse_with(tmp_path / str(times), None, cost=7, seconds=10.0)
        with ledger:
            task = asyncio.create_task(held.complete(Request((), {}, key="k")))
            for _ in range(times):
                await asyncio.sleep(1)
                task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return ledger.settled, ledger.kept

    for times in (1, 2):
        (tmp_path / str(times)).mkdir()
    assert run(main(1)) == (7, 0)
    assert run(main(2)) == (0, 100)


def test_finish_passes_results_errors_and_nothing_else():
    async def value() -> int:
        return 3

    async def error() -> int:
        raise KeyError("k")

    assert run(finish(value())) == 3
    with pytest.raises(KeyError):
        run(finish(error()))


def test_calls_that_wait_are_held_at_the_raised_bound(tmp_path):
    _till, ledger, held = purse_with(tmp_path, 3000, cost=200)
    with ledger:
        run(ask(held, *[0] * 60))
    assert ledger.spent_or_held <= 3000
    assert ledger.settled >= 2800


def test_a_free_model_that_costs_something_after_all_is_stopped(tmp_path):
    _till, ledger, held = purse_with(tmp_path, 1000, cost=300)

    async def nothing(request: Request) -> int:
        return 0

    held.bound = nothing

    async def one_by_one() -> list[type]:
        return [type((await ask(held, 0))[0]) for _ in range(5)]

    with ledger:
        assert run(one_by_one()) == [Response] * 3 + [BudgetExhausted] * 2
        assert "held at $0.0000000003, raised since a call cost more than its hold: all of it" in str(
            run(ask(held, 0))[0]
        )
    assert ledger.settled == 900
