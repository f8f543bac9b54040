"""One loop of workers: how many at once, when it ends, and whose error comes out."""

from __future__ import annotations

import asyncio

import pytest

from pbclient.scheduler.workers import Interrupts, work


def never() -> bool:
    return False


def test_every_item_is_done_once_and_no_more_at_once_than_there_are_workers() -> None:
    done: list[int] = []
    running, most = 0, 0

    async def do(item: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        done.append(item)

    asyncio.run(work(range(20), 3, do, until=never, interrupts=Interrupts()))
    assert sorted(done) == list(range(20))
    assert most == 3


def test_nothing_is_begun_once_no_item_can_succeed() -> None:
    done: list[int] = []

    async def do(item: int) -> None:
        done.append(item)

    asyncio.run(work(range(20), 2, do, until=lambda: len(done) >= 5, interrupts=Interrupts()))
    assert done == [0, 1, 2, 3, 4]


def test_the_first_of_several_errors_comes_out_as_itself() -> None:
    async def do(item: int) -> None:
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 0") as caught:
        asyncio.run(work(range(4), 4, do, until=never, interrupts=Interrupts()))
    assert isinstance(caught.value.__cause__, ExceptionGroup)


def test_an_interrupt_ends_the_workers_and_is_no_error() -> None:
    interrupts = Interrupts()
    ended: list[int] = []

    async def do(item: int) -> None:
        if item == 1:
            interrupts()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(item)

    asyncio.run(work(range(9), 2, do, until=never, interrupts=interrupts))
    assert sorted(ended) == [0, 1]
