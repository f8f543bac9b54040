"""Who waits is served by rank, then in order; nothing granted is lost with a cancelled owner."""

from __future__ import annotations

import asyncio

import pytest
from virtual_time import run

from pbclient.turnstile import Turnstile


async def settled() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def test_the_lowest_rank_goes_first_and_among_equals_the_first_come() -> None:
    async def main() -> list[tuple[str, int]]:
        turnstile: Turnstile[str, int] = Turnstile()
        passed: list[tuple[str, int]] = []

        async def enter(rank: int, name: str) -> None:
            passed.append((name, await turnstile.wait(rank, name, passed.append)))

        async with asyncio.TaskGroup() as group:
            for rank, name in ((0, "a"), (-1, "b"), (0, "c"), (-1, "d")):
                group.create_task(enter(rank, name))
            await settled()
            for number in range(4):
                assert turnstile.first is not None
                turnstile.grant(number)
                await settled()
        assert turnstile.first is None
        return passed

    assert run(main()) == [("b", 0), ("d", 1), ("a", 2), ("c", 3)]


def test_who_is_cancelled_while_waiting_is_passed_over() -> None:
    async def main() -> None:
        turnstile: Turnstile[str, int] = Turnstile()
        first, second = (
            asyncio.create_task(turnstile.wait(0, name, lambda _: pytest.fail("nothing was granted")))
            for name in "ab"
        )
        await settled()
        first.cancel()
        await settled()
        assert turnstile.first == (0, "b")
        turnstile.grant(7)
        assert await second == 7

    run(main())


def test_what_was_granted_to_somebody_just_cancelled_is_given_back() -> None:
    async def main() -> list[int]:
        turnstile: Turnstile[None, int] = Turnstile()
        returned: list[int] = []
        task = asyncio.create_task(turnstile.wait(0, None, returned.append))
        await settled()
        turnstile.grant(7)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return returned

    assert run(main()) == [7]


def test_a_refusal_is_raised_and_gives_nothing_back() -> None:
    async def main() -> None:
        turnstile: Turnstile[None, int] = Turnstile()
        tasks = [
            asyncio.create_task(turnstile.wait(0, None, lambda _: pytest.fail("nothing was granted")))
            for _ in range(2)
        ]
        await settled()
        turnstile.refuse(LookupError("none"))
        turnstile.refuse(LookupError("none"))
        tasks[1].cancel()
        with pytest.raises(LookupError):
            await tasks[0]
        with pytest.raises(asyncio.CancelledError):
            await tasks[1]

    run(main())
