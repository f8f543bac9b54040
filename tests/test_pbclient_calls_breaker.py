from __future__ import annotations

import asyncio

import pytest

from pbclient.calls.breaker import GONE, NEVER_ANSWERED, Breaker
from providers import ConnectionFailed, QuotaExhausted, Request, Response, ServerFault, Unreachable

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
