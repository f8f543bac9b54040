"""What one Ctrl-C does, what a second does, and what is none."""

from __future__ import annotations

import asyncio

import pytest

from pbclient.scheduler.workers import ECHO, Interrupts


@pytest.mark.parametrize(
    ("times", "count"),
    [
        ([0.0], 1),
        ([5.0, 5.0], 1),
        ([5.0, 5.0 + ECHO / 2, 5.0 + ECHO * 0.9], 1),
        ([5.0, 5.0 + ECHO * 1.1], 2),
        ([5.0, 5.0, 6.0], 2),
        ([5.0, 6.0, 6.0], 3),  # who has stopped at once does not wait for an echo
    ],
)
def test_an_echo_of_the_first_is_no_second(times: list[float], count: int) -> None:
    async def main() -> None:
        ticks = iter(times)
        interrupts = Interrupts(echo=ECHO, clock=lambda: next(ticks))
        task = asyncio.create_task(asyncio.sleep(3600))
        interrupts.watch(task)
        for _ in times:
            interrupts()
        late = asyncio.create_task(asyncio.sleep(3600))
        interrupts.watch(late)
        assert (interrupts.count, task.cancelling(), late.cancelling()) == (count, count, count)
        await asyncio.gather(task, late, return_exceptions=True)

    asyncio.run(main())


def test_at_a_terminal_each_counts() -> None:
    interrupts = Interrupts(clock=lambda: 5.0)
    interrupts()
    interrupts()
    assert interrupts.count == 2
