from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable

import pytest
from virtual_time import now, run

from pbclient.calls.breaker import GONE, NEVER_ANSWERED, Breaker, Cautious
from pbclient.calls.retrying import Retrying
from providers import (
    ConnectionFailed,
    MalformedResponse,
    ProviderError,
    QuotaExhausted,
    Request,
    Response,
    ServerFault,
    Unreachable,
    Usage,
)

REQUEST = Request((), {})


class Account:
    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.calls = 0

    async def complete(self, request: Request) -> Response:
        self.calls += 1
        if self.error:
            raise self.error
        return Response("A", "stop")


def test_the_first_unusable_account_stops_all_later_calls_unbilled():
    account = Account(QuotaExhausted("The account is empty.", billed=True, status=429))
    said: list[str] = []
    breaker = Breaker(account, lambda error: said.append(str(error)))

    async def main():
        for _ in range(5):
            with pytest.raises(QuotaExhausted, match="empty") as caught:
                await breaker.complete(REQUEST)
        return caught.value

    last = asyncio.run(main())
    assert account.calls == 1
    assert said == ["The account is empty."]
    assert not last.billed
    assert last.status == 429


def test_other_errors_leave_the_gate_open():
    account = Account(ServerFault("x"))
    breaker = Breaker(account)
    with pytest.raises(ServerFault):
        asyncio.run(breaker.complete(REQUEST))
    account.error = None
    assert asyncio.run(breaker.complete(REQUEST)).text == "A"
    assert breaker.shut is None


@pytest.mark.parametrize(("answered", "patience"), [(False, NEVER_ANSWERED), (True, GONE)])
def test_a_server_that_is_gone_for_long_stops_the_run(answered, patience):
    clock = [0.0]
    account = Account(None if answered else ConnectionFailed("nobody listens"))
    breaker = Breaker(account, clock=lambda: clock[0])

    async def ask() -> type[BaseException] | None:
        try:
            await breaker.complete(REQUEST)
        except Exception as error:
            return type(error)
        return None

    async def main():
        if answered:
            await ask()
            account.error = ConnectionFailed("nobody listens")
        for clock[0] in (10.0, 10.0 + patience - 1):
            assert await ask() is ConnectionFailed
            assert breaker.shut is None
        clock[0] = 10.0 + patience
        assert await ask() is ConnectionFailed
        calls = account.calls
        assert await ask() is Unreachable
        assert account.calls == calls

    asyncio.run(main())


def test_broken_connections_and_single_failures_stop_nothing():
    clock = [0.0]
    account = Account(ConnectionFailed("broke off", billed=True))
    breaker = Breaker(account, clock=lambda: clock[0])

    async def main():
        for clock[0] in (0.0, 1000.0, 5000.0):
            with pytest.raises(ConnectionFailed):
                await breaker.complete(REQUEST)

    asyncio.run(main())
    assert breaker.shut is None


class Paid:
    """A paid server on a virtual clock that fails until `recovers`, and bills what it has failed."""

    def __init__(self, recovers: float, error: Callable[[], ProviderError]) -> None:
        self.recovers, self.error = recovers, error
        self.sent: list[float] = []

    async def complete(self, request: Request) -> Response:
        self.sent.append(now())
        await asyncio.sleep(0.05)
        if now() < self.recovers:
            raise self.error()
        return Response("A", "stop")


def play(account: Paid, calls: int, *, cautious: bool = True) -> tuple[Counter[str], float]:
    """How so many calls at once ended, and after how many seconds."""
    ends: Counter[str] = Counter()

    async def main() -> float:
        breaker = Breaker(account, clock=now)
        inner = Cautious(breaker, breaker) if cautious else breaker
        retrying = Retrying(inner, rng=random.Random(5), sleep=breaker.pause)

        async def call() -> None:
            try:
                ends[type(await retrying.complete(Request((), {}))).__name__] += 1
            except ProviderError as error:
                ends[type(error).__name__] += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(calls):
                group.create_task(call())
        return now()

    return ends, run(main())


def test_who_waits_for_a_retry_wakes_when_nobody_can_be_reached():
    # They slept on for up to half a minute each, and the run with them.
    for calls in (1, 300):
        account = Paid(1e9, lambda: ConnectionFailed("nobody there"))
        ends, seconds = play(account, calls)
        assert sum(ends.values()) == ends["Unreachable"] + ends["ConnectionFailed"] == calls
        assert ends["Unreachable"]
        assert 15 <= seconds < 15.5


def test_an_outage_behind_a_gateway_keeps_the_holds_of_few_calls():
    def gateway() -> ProviderError:
        return ServerFault("502", billed=True, status=502)

    account = Paid(60, gateway)
    ends, seconds = play(account, 100)
    assert ends == {"Response": 100}
    assert len([moment for moment in account.sent if moment < 60]) <= 100 + 8
    assert seconds < 60 + 31
    # Without it each of them would have been sent, and held, again and again.
    account = Paid(60, gateway)
    play(account, 100, cautious=False)
    assert len([moment for moment in account.sent if moment < 60]) > 500


def test_a_server_that_only_fails_and_may_bill_is_given_up_after_three_minutes():
    # As many at once as a run has by default: what was on the wire when it began is all that is lost.
    account = Paid(1e9, lambda: MalformedResponse("<html>", billed=True))
    ends, seconds = play(account, 1100)
    assert ends["Unreachable"] > 1000
    assert 180 <= seconds < 215
    assert len(account.sent) <= 1100 + 12


def test_failures_that_cost_nothing_or_are_counted_hold_nobody_back():
    def counted() -> ProviderError:
        error = MalformedResponse("an empty answer", billed=True)
        error.usage = Usage(5, 5)
        return error

    for fault in (counted, lambda: ServerFault("500", status=500)):
        account = Paid(1, fault)
        _, seconds = play(account, 50)
        assert seconds < 20
