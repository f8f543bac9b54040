"""A crowd of tasks lets the rest of the loop in, and nothing else changes for those who keep a pace."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections import Counter

import pytest

from pbclient.calls.pace import AT_ONCE, Pace, Paced
from providers import Message, Request, Response


class Rounds:
    """Counts the rounds of the loop for as long as its block lasts."""

    def __init__(self) -> None:
        self.count = 0

    async def __aenter__(self) -> Rounds:
        self._task = asyncio.create_task(self._run())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(0)


async def crowd(size: int, drive) -> list[tuple[int, int]]:
    """Who went on in which round, when an event lets all go on at once."""
    event, went = asyncio.Event(), []
    async with Rounds() as rounds:

        async def member(number: int) -> None:
            await event.wait()
            went.append((number, rounds.count))

        async with asyncio.TaskGroup() as group:
            for number in range(size):
                group.create_task(drive(member, number))
            for _ in range(5 * size):
                await asyncio.sleep(0)
            event.set()
    return went


def test_a_crowd_goes_on_one_a_round_and_in_order():
    went = asyncio.run(crowd(50, Pace(share=0)))
    assert [number for number, _ in went] == list(range(50))
    assert len({at for _, at in went}) == 50


def test_without_a_pace_they_would_go_on_all_at_once():
    went = asyncio.run(crowd(50, lambda work, number: work(number)))
    assert len({at for _, at in went}) == 1


def test_those_who_need_little_time_do_not_wait():
    went = asyncio.run(crowd(50, Pace(share=3600)))
    assert len({at for _, at in went}) == 1


def test_those_who_waited_go_on_a_few_at_a_time_once_their_steps_are_known_to_be_short():
    async def main() -> list[int]:
        clock = iter(range(10**6))
        asyncio.get_running_loop().time = lambda: next(clock) * 1e-6  # each look at it takes a microsecond
        pace = Pace(share=20e-6)
        went = [*await crowd(50, pace), *await crowd(200, pace)]
        return [at for _, at in went[50:]]

    rounds = Counter(asyncio.run(main()))
    assert 1 < max(rounds.values()) <= 2 * AT_ONCE
    assert len(rounds) < 100


@pytest.mark.parametrize("share", [0, 3600])
def test_results_errors_and_contexts_pass(share):
    async def work(number: int, *, bad: bool = False) -> int:
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await asyncio.to_thread(int)
        if bad:
            raise LookupError(number)
        return number

    async def main() -> list[object]:
        pace = Pace(share)
        return await asyncio.gather(
            pace(work, 1), pace(work, 2, bad=True), pace(work, 3), return_exceptions=True
        )

    first, second, third = asyncio.run(main())
    assert (first, third) == (1, 3)
    assert isinstance(second, LookupError)


@pytest.mark.parametrize("share", [0, 3600])
@pytest.mark.parametrize("rounds", range(8))
def test_a_cancellation_arrives_at_any_time_and_may_be_answered(share, rounds):
    async def work(seen: list[str]) -> str:
        try:
            for _ in range(100):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            seen.append("cancelled")
            await asyncio.sleep(0)
            seen.append("cleaned up")
            raise
        return "done"

    async def main() -> None:
        pace, seen = Pace(share), []
        others = [asyncio.create_task(pace(work, [])) for _ in range(3)]
        task = asyncio.create_task(pace(work, seen))
        for _ in range(rounds):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen in ([], ["cancelled", "cleaned up"])  # nothing when it had not begun
        assert await asyncio.gather(*others) == ["done"] * 3

    asyncio.run(main())


def test_a_timeout_inside_ends_only_what_it_is_round():
    async def work() -> str:
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            return "timed out"
        return "went on"

    async def main() -> list[str]:
        pace = Pace(share=0)
        return await asyncio.gather(*(pace(work) for _ in range(5)))

    assert asyncio.run(main()) == ["timed out"] * 5


def test_what_is_never_finished_is_closed():
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def main() -> None:
        driven = Pace()(work)
        driven.send(None)
        driven.send(None)
        driven.close()

    asyncio.run(main())
    assert ended == [True]


def test_an_error_leaves_no_garbage():
    class Marked(Exception):
        pass

    async def main() -> weakref.ref[Marked]:
        async def work() -> None:
            await asyncio.sleep(0)
            raise Marked

        try:
            await Pace()(work)
        except Marked as error:
            return weakref.ref(error)
        raise AssertionError

    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(main())() is None
    finally:
        gc.enable()


async def hits(pace: Pace, rounds: Rounds, played: list[int]) -> None:
    """Play episodes that never wait, and note in which round of the loop each was."""
    for _ in range(20):
        played.append(rounds.count)
        await pace.rest()


@pytest.mark.parametrize(("share", "expected"), [(3600, 1), (0, 20)])
def test_work_that_never_waits_goes_on_until_its_share_is_used_up(share, expected):
    async def main() -> list[int]:
        pace, played = Pace(share), []
        async with Rounds() as rounds:
            await pace(hits, pace, rounds, played)
        return played

    assert len(set(asyncio.run(main()))) == expected


def test_half_of_a_share_is_worked_before_a_rest():
    async def main() -> list[int]:
        now, played = [0.0], []
        asyncio.get_running_loop().time = lambda: now[0]
        pace = Pace(share=10)

        async def work() -> None:
            for _ in range(20):
                played.append(rounds.count)
                now[0] += 1
                await pace.rest()

        async with Rounds() as rounds:
            await pace(work)
        return played

    assert set(Counter(asyncio.run(main())).values()) == {5}


def test_those_who_rest_take_turns():
    async def main() -> list[int]:
        pace, turns = Pace(share=0), []

        async def work(number: int) -> None:
            for _ in range(10):
                turns.append(number)
                await pace.rest()

        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(pace(work, number))
        return turns

    assert asyncio.run(main()) == [0, 1, 2] * 10


def test_who_is_woken_goes_before_all_who_rest():
    async def main() -> int:
        pace, event = Pace(share=0), asyncio.Event()

        async def paid() -> int:
            await event.wait()
            return rounds.count

        async with Rounds() as rounds, asyncio.TaskGroup() as group:
            call = group.create_task(pace(paid))
            for _ in range(50):
                group.create_task(pace(hits, pace, rounds, []))
            for _ in range(200):
                await asyncio.sleep(0)
            woken = rounds.count
            event.set()
        return call.result() - woken

    assert asyncio.run(main()) < 5


def test_those_who_are_cancelled_while_they_rest_hold_up_nobody():
    async def main() -> int:
        pace, played = Pace(share=0), []
        async with Rounds() as rounds:
            doomed = [asyncio.create_task(pace(hits, pace, rounds, [])) for _ in range(50)]
            other = asyncio.create_task(pace(hits, pace, rounds, played))
            while not played:
                await asyncio.sleep(0)
            for task in doomed:
                task.cancel()
            cancelled = rounds.count
            await other
            ends = await asyncio.gather(*doomed, return_exceptions=True)
        assert all([isinstance(each, asyncio.CancelledError) for each in ends])
        assert len(played) == 20
        return played[1] - cancelled

    assert asyncio.run(main()) < 5


def test_nobody_goes_on_while_others_wait():
    async def main() -> list[int]:
        now, order = [0.0], []
        asyncio.get_running_loop().time = lambda: now[0]
        pace = Pace(share=10)

        async def late() -> None:
            now[0] += 11  # the rest of the round must wait

        async def work(number: int) -> None:
            for _ in range(2):
                order.append(number)
                await pace.rest()

        async with asyncio.TaskGroup() as group:
            group.create_task(pace(late))
            for number in range(30):
                group.create_task(pace(work, number))
        return order

    assert asyncio.run(main())[:10] == list(range(10))


def test_a_provider_may_keep_a_pace():
    class Echo:
        async def complete(self, request: Request) -> Response:
            await asyncio.sleep(0)
            return Response(str(request.turn), "stop")

    async def main() -> list[str]:
        paced = Paced(Echo(), Pace(share=0))
        requests = [Request((Message("user", ("?",)),), {}, turn=turn) for turn in range(5)]
        return [each.text for each in await asyncio.gather(*map(paced.complete, requests))]

    assert asyncio.run(main()) == list("01234")
