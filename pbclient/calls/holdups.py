"""What holds a run up: at this moment, and for which share of the time."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pbclient.calls.rate import PROCESSOR, RateController
from pbclient.money.budget import Budget

EVERY = 0.5  # seconds between two looks
BUSY = 0.9  # share of a core from which on this process is what the run waits for
LONG_AGO = 0.25  # weight of the last look in how busy it is
SHOWN = 0.01  # of the time: less is not worth a word
MONEY = "the money that is held (--max-cost)"


@dataclass
class HoldUps:
    """Looks every now and then at what calls wait for, and adds up the seconds.

    `clock` and `worked`, the processor time of this process, are in seconds.
    """

    budget: Budget
    clock: Callable[[], float] = time.monotonic
    worked: Callable[[], float] = time.process_time
    controllers: list[RateController] = field(default_factory=list)
    reason: str = ""
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    active: float = 0.0
    _busy: float = 0.0
    _before: tuple[int, int] = (0, 0)
    _seen: tuple[float, float] | None = None

    def watch(self, controller: RateController) -> None:
        """Look at this one too, once; what it did for others before is not counted."""
        if not any(controller is known for known in self.controllers):
            self.controllers.append(controller)
            answers, refusals = self._before
            self._before = (answers + controller.answers, refusals + controller.refusals)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look every now and then, in the running loop."""
        loop = asyncio.get_running_loop()
        handle: asyncio.TimerHandle

        def again() -> None:
            nonlocal handle
            self.look()
            handle = loop.call_later(EVERY, again)

        again()
        try:
            yield
        finally:
            handle.cancel()

    def look(self) -> None:
        """Add the time since the last look to what calls have waited for."""
        now, worked = self.clock(), self.worked()
        since, worked_then = self._seen or (now, worked)
        self._seen = now, worked
        self.reason = self._reason()
        if not any(controller.running for controller in self.controllers):
            return
        if now > since:
            self._busy += LONG_AGO * ((worked - worked_then) / (now - since) - self._busy)
        self.active += now - since
        if self.reason:
            self.seconds[self.reason] += now - since

    def _reason(self) -> str:
        if self._busy >= BUSY:
            return PROCESSOR
        if self.budget.waiting:
            return MONEY
        return next((controller.reason for controller in self.controllers if controller.reason), "")

    def speed(self) -> dict[str, Any] | None:
        """How fast this life of the run was, as run.json keeps it; None where nobody was asked."""
        self.look()
        answers = sum(controller.answers for controller in self.controllers) - self._before[0]
        refusals = sum(controller.refusals for controller in self.controllers) - self._before[1]
        if not answers or not self.active:
            return None
        return {
            "answers": answers,
            "refusals": refusals,
            "seconds": round(self.active, 1),
            "answers_per_minute": round(60 * answers / self.active, 1),
            "limited_by": {
                reason: round(seconds / self.active, 3)
                for reason, seconds in sorted(self.seconds.items(), key=lambda item: -item[1])
                if seconds >= SHOWN * self.active
            },
        }


def told(speed: dict[str, Any]) -> str:
    """The speed of a run in a sentence."""
    refusals = f"{speed['refusals']:,} {'refusal' if speed['refusals'] == 1 else 'refusals'} (429)"
    shares = [f"{reason} {share:.0%} of the time" for reason, share in speed["limited_by"].items()]
    limited = f"; limited by {', '.join(shares)}" if shares else ""
    return f"Speed: {speed['answers_per_minute']:,.0f} answers/min, {refusals}{limited}."
