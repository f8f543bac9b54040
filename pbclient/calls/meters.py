"""When a call may leave by one limit: by what the provider or the user said, or by what refusals taught."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from providers import RateLimit, Usage

SHARE = 0.985  # of an announced limit, which leaves room for the jitter of the way there
BURST = 0.05  # seconds of a rate that may leave at once after a gap
CUT = 0.9  # of the rate at a refusal
CURVE = 2e-4  # of that rate, by the third power of seconds: back at it after 8 s, three times it after 30
FLAT = math.cbrt((1 - CUT) / CURVE)  # seconds from a cut until the curve is at the refused rate again
USUAL_TOKENS = 1500.0  # of a call, before any answer has said


@dataclass
class Meter:
    """One limit: when the next call may take from it, and what a call takes.

    `cost` is the mean of what such calls took so far, in the limit's units; `option` is the user's own
    option that set the limit, else the provider announced it.
    """

    limit: RateLimit
    cost: float
    option: str = ""
    next: float = -math.inf

    def __str__(self) -> str:
        return (
            f"your {self.option} {self.limit.limit:,.0f}" if self.option else f"the provider's {self.limit}"
        )

    @property
    def per_second(self) -> float:
        return SHARE * self.limit.per_second

    def take(self, now: float) -> float:
        """Book a call that leaves: the next one may when its cost has come in again."""
        self.next = max(self.next, now - BURST) + self.cost / self.per_second
        return self.cost

    def took(self, amount: float, booked: float) -> None:
        """A call for which `booked` was taken has taken `amount`."""
        amount = min(amount, self.limit.limit)  # no call takes more, whatever its server counts
        self.give_back(booked - amount)
        self.cost += 0.1 * (amount - self.cost)

    def give_back(self, amount: float) -> None:
        """So much of what was booked was not taken."""
        self.next -= amount / self.per_second


@dataclass
class Estimate:
    """The rate in calls a second that a provider grants without saying so, known from its refusals."""

    peak: float = math.inf
    since: float = -math.inf
    next: float = -math.inf

    def rate(self, now: float) -> float:
        """What to try now."""
        if math.isinf(self.peak):
            return math.inf
        return self.peak * (1 + CURVE * (now - self.since - FLAT) ** 3)

    def take(self, now: float) -> None:
        """Book a call that leaves. Time in which none did teaches nothing: the curve stands still."""
        if not math.isinf(self.peak):
            self.since += max(0.0, now - BURST - self.next)
            self.next = max(self.next, now - BURST) + 1 / self.rate(now)

    def cut(self, rate: float, now: float) -> None:
        """Calls were refused at `rate`."""
        self.peak = max(rate, 1 / 60)
        self.since = self.next = now

    def known(self, rate: float, now: float) -> None:
        """Take `rate` for the one that is granted."""
        self.peak, self.since, self.next = rate, now - FLAT, now


def amount_of(resource: str, usage: Usage | None) -> float:
    """What a call took of a resource; a guess where nobody said."""
    if usage is None:
        return USUAL_TOKENS
    if resource == "input tokens":
        return usage.input_tokens
    return usage.output_tokens if resource == "output tokens" else usage.input_tokens + usage.output_tokens


def positive(number: Any) -> float:
    """The number as such. Raises what comes of anything else."""
    amount = float(number)
    if not 0 < amount < 1e12:
        raise ValueError("no amount")
    return amount
