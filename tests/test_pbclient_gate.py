from __future__ import annotations

import asyncio

import pytest

from pbclient.gate import Gate
from providers import QuotaExhausted, Request, Response, ServerFault

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
    gate = Gate(account, lambda error: said.append(str(error)))

    async def main():
        for _ in range(5):
            with pytest.raises(QuotaExhausted, match="empty") as caught:
                await gate.complete(REQUEST)
        return caught.value

    last = asyncio.run(main())
    assert account.calls == 1
    assert said == ["The account is empty."]
    assert not last.billed
    assert last.status == 429


def test_other_errors_leave_the_gate_open():
    account = Account(ServerFault("x"))
    gate = Gate(account)
    with pytest.raises(ServerFault):
        asyncio.run(gate.complete(REQUEST))
    account.error = None
    assert asyncio.run(gate.complete(REQUEST)).text == "A"
    assert gate.shut is None
