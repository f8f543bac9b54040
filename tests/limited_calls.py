"""Calls through a rate controller to an account that refuses, on a virtual clock."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from virtual_time import now, run

from benchmarks.limited_server import Account
from pbclient.calls.rate import RateController
from providers import Usage
from providers.replies.rate_limits import rate_limits

WAY = 0.005  # seconds to the server


@dataclass
class Played:
    """How `calls` calls went."""

    account: Account
    controllers: list[RateController]
    left: list[float] = field(default_factory=list)
    refusals_of_a_call: list[int] = field(default_factory=list)
    learned: dict = field(default_factory=dict)

    def rate(self, start: float, end: float) -> float:
        """Answers a second between two moments."""
        return sum(start < when <= end for when in self.account.answered) / (end - start)

    def refused(self, start: float, end: float) -> int:
        return sum(start < when <= end for when in self.account.refused)


async def attempt(
    played: Played, controller: RateController, faults: float, rng: random.Random
) -> float | None:
    """One try of a call: None for an answer, else the seconds to wait before the next."""
    account = played.account
    departure = await controller.leave(0)
    played.left.append(now())
    try:
        await asyncio.sleep(WAY)
        if rng.random() < faults:
            controller.faulted()
            return 1.0
        wait = account.admit()
        if wait is not None:
            said = account.said(wait)
            after = float(said["retry-after"]) if "retry-after" in said else None
            controller.refused(departure, after, rate_limits(said))
            return max(rng.uniform(0, 1), after or 0)
        async with account.serving():
            await asyncio.sleep(account.seconds())
        account.answered.append(now())
        controller.answered(departure, Usage(account.tokens - 60, 60), rate_limits(account.said()))
        return None
    finally:
        controller.back()


def play(
    account: Account,
    calls: int,
    *,
    ceiling: int = 1024,
    clients: int = 1,
    changes: Iterable[tuple[float, dict[str, float]]] = (),
    faults: float = 0.0,
    learned: dict | None = None,
) -> Played:
    """Play `calls` calls of `clients` processes; `changes` are (moment, limits a minute from then on)."""
    played = Played(account, [])
    account.clock = now
    rng = random.Random(1)

    async def work(controller: RateController, queue: Iterator[int]) -> None:
        for _ in queue:
            tries = 0
            while (wait := await attempt(played, controller, faults, rng)) is not None:
                tries += 1
                await asyncio.sleep(wait)
            played.refusals_of_a_call.append(tries)

    async def change() -> None:
        for moment, limits in changes:
            await asyncio.sleep(moment - now())
            account.change(**limits)

    async def main() -> None:
        played.controllers = [RateController(ceiling, clock=now) for _ in range(clients)]
        async with asyncio.TaskGroup() as group:
            group.create_task(change())
            for controller in played.controllers:
                if learned:
                    controller.begin_with(learned)
                queue = iter(range(calls // clients))
                for _ in range(min(ceiling, calls // clients)):
                    group.create_task(work(controller, queue))
        played.learned = played.controllers[0].learned()

    run(main())
    return played
