"""What holds the event loop up is named."""

from __future__ import annotations

import asyncio
import logging
import time

from pbclient.cli.live import SLOW, slow_callbacks


def watched(seconds: float) -> list[str]:
    """What is said of a step that works for so long."""
    said: list[str] = []

    async def step() -> None:
        ends = time.perf_counter() + seconds
        while time.perf_counter() < ends:
            pass

    async def main() -> None:
        with slow_callbacks(said.append):
            await asyncio.create_task(step())
        assert not asyncio.get_running_loop().get_debug()

    asyncio.run(main())
    assert logging.getLogger("asyncio").handlers == []
    return said


def test_a_step_that_works_too_long_is_named_and_counted() -> None:
    *steps, ending = watched(2 * SLOW)
    (sentence,) = [sentence for sentence in steps if "step()" in sentence]
    assert sentence.startswith("Executing <Task finished")
    assert "took 0." in sentence
    times = "once" if len(steps) == 1 else f"{len(steps)} times"  # a busy machine may hold up others
    assert ending == f"Event loop held up {times} for more than 50 ms."


def test_a_short_step_is_not() -> None:
    *steps, ending = watched(0)
    assert not any("step()" in sentence for sentence in steps)
    assert ending.endswith("for more than 50 ms.")
