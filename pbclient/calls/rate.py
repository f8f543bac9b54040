"""Find out how fast a provider lets us go, and let calls leave at that rate.

    what the provider announces --> a meter for each resource: requests, tokens, input, output
    a refusal (429)             --> an estimate: cut, then grown along a cubic curve
                                                              __
         rate at the refusal ...................._______......./.....   beyond it: faster and faster
                                \\           ___/                        near it: hardly at all
                                 \\_________/                            at once: by CUT
    answers and their latency   --> how many at once (`Concurrency`)

A call leaves when all of them let it: evenly, at the lowest rate, while a place is free. With a known rate
the places follow from rate times latency (Little's law); without one they are the only lever. The curve is
that of TCP CUBIC (RFC 9438), in calls a second. The first call goes alone, so that a wrong key costs one
call and not hundreds.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pbclient.calls.concurrency import Concurrency
from pbclient.progress import waits_for
from pbclient.turnstile import Turnstile
from providers import Usage
from providers.replies.rate_limits import RateLimit

OPENED = 16  # calls at once after the first one
PROBE = 5.0  # seconds that the others wait for the end of the first call: a refused key is told in less
PAUSE = 10.0  # seconds without growth after a server fault
SHARE = 0.985  # of an announced limit, which leaves room for the jitter of the way there
BURST = 0.05  # seconds of a rate that may leave at once after a gap
CUT = 0.9  # of the rate at a refusal
CURVE = 2e-4  # of that rate, by the third power of seconds: back at it after 8 s, three times it after 30
FLAT = math.cbrt((1 - CUT) / CURVE)  # seconds from a cut until the curve is at the refused rate again
WINDOW = 3.0  # seconds over which the rate of departures is taken
AT_LEAST = 12  # and so many of them
SOON = 2.0  # seconds after a cut in which another refusal says that the limit is far below
LET_FILL = 0.3  # seconds without departures after a refusal
LONGEST_WAIT = 60.0  # seconds that all wait when the provider asks for it
USUAL_TOKENS = 1500.0  # of a call, before any answer has said
ROOM = 2.0  # times rate and latency: the places that a known rate may fill


@dataclass
class Meter:
    """One announced limit: when the next call may take from it, and what a call takes.

    `cost` is the mean of what such calls took so far, in the limit's units.
    """

    limit: RateLimit
    cost: float
    next: float = -math.inf

    @property
    def per_second(self) -> float:
        return SHARE * self.limit.per_second

    def take(self, now: float) -> float:
        """Book a call that leaves: the next one may when its cost has come in again."""
        self.next = max(self.next, now - BURST) + self.cost / self.per_second
        return self.cost

    def took(self, amount: float, booked: float) -> None:
        """A call for which `booked` was taken has taken `amount`."""
        self.next += (amount - booked) / self.per_second
        self.cost += 0.1 * (amount - self.cost)


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
        """Book a call that leaves."""
        if not math.isinf(self.peak):
            self.next = max(self.next, now - BURST) + 1 / self.rate(now)

    def cut(self, rate: float, now: float) -> None:
        """Calls were refused at `rate`."""
        self.peak = max(rate, 1 / 60)
        self.since = self.next = now

    def known(self, rate: float, now: float) -> None:
        """Take `rate` for the one that is granted."""
        self.peak, self.since = rate, now - FLAT


@dataclass(slots=True)
class Departure:
    """A call on its way: when it left, and what was booked for it by resource."""

    at: float
    booked: dict[str, float]


@dataclass
class RateController:
    """Lets the calls to one account leave at its rate; those of an episode already begun go first.

    `ceiling` is the most calls at once; `clock` is in seconds. It belongs to one event loop. `limited` are
    the seconds in which calls waited, by what for.
    """

    ceiling: int
    clock: Callable[[], float] = time.monotonic
    running: int = 0
    answers: int = 0
    refusals: int = 0
    limited: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    opened: bool = False
    places: Concurrency = field(init=False)
    _guess: float = OPENED
    _meters: dict[str, Meter] = field(default_factory=dict)
    _estimate: Estimate = field(default_factory=Estimate)
    _queue: Turnstile[None, Departure] = field(default_factory=Turnstile)
    _left: deque[float] = field(default_factory=lambda: deque(maxlen=4096))
    _blocked_until: float = -math.inf
    _opened_at: float = -math.inf
    _slowed_at: float = -math.inf
    _paused_until: float = -math.inf
    _timer: asyncio.TimerHandle | None = None
    _probe: asyncio.TimerHandle | None = None
    _reason: str = ""
    _since: float = 0.0

    def __post_init__(self) -> None:
        self.places = Concurrency(self.ceiling, 1.0)

    async def leave(self, turn: int) -> Departure:
        """Wait until a call may leave; `turn` is how many of its episode's turns are answered."""
        now = self.clock()
        when, reason = self._ready_at(now)
        if self._queue.first is None:
            if when <= now:
                return self._depart(now)
            self._since, self._reason = now, reason
            self._wake(when - now)
        with waits_for(reason):
            return await self._queue.wait(-min(turn, 1), None, lambda _: self.back())

    def back(self) -> None:
        """A call has come back, however it ended."""
        self.running -= 1
        self._admit()

    def answered(self, departure: Departure, usage: Usage | None, limits: Iterable[RateLimit] = ()) -> None:
        """An answer came, with what it took and what the provider announced."""
        now = self.clock()
        self.answers += 1
        self._announced(limits, usage)
        if usage is not None:
            for resource, booked in departure.booked.items():
                if resource in self._meters and resource != "requests":
                    self._meters[resource].took(_amount(resource, usage), booked)
        if not self.opened:
            self.places.first_call(now - departure.at)
            self.open()
        else:
            full = self.running >= int(self.places.limit) and now >= self._paused_until
            self.places.answered(now, departure.at, now - departure.at, full)

    def refused(self, departure: Departure, wait: float | None, limits: Iterable[RateLimit] = ()) -> None:
        """A rate limit (429): slow down, once for all calls that were on their way together."""
        now = self.clock()
        self.refusals += 1
        if departure.at in self._left:
            self._left.remove(departure.at)
        before = self._rate(now)
        self._announced(limits, None)
        self.open()
        if departure.at < self._slowed_at:
            return
        slowed_before, self._slowed_at = self._slowed_at, now
        soon = now - slowed_before < SOON
        if self._rate(now) >= before:  # no announcement explains it
            self._estimate.cut(min(before, self._granted(now)), now)
        pause = min(wait or LET_FILL, LONGEST_WAIT) if soon else LET_FILL
        self._blocked_until = max(self._blocked_until, now + pause)

    def faulted(self) -> None:
        """The server or the network failed: no reason to slow down, but none to grow."""
        self._paused_until = self.clock() + PAUSE
        self.open()

    def open(self) -> None:
        """The first call has shown that calls can be made, or takes too long to tell."""
        if self._probe is not None:
            self._probe.cancel()
        if not self.opened:
            self.opened, self._opened_at = True, self.clock()
            self.places.limit = float(min(self.ceiling, self._guess))
            self._admit()

    @property
    def reason(self) -> str:
        """What the next call waits for, in words; empty when none waits."""
        return "" if self._queue.first is None else self._reason

    def learned(self) -> dict[str, Any]:
        """What the next run may begin with, as JSON."""
        now = self.clock()
        rate = self._estimate.rate(now)
        return {
            "limits": [
                [meter.limit.resource, meter.limit.limit, meter.limit.period, round(meter.cost, 1)]
                for meter in self._meters.values()
            ],
            "calls_per_second": None if math.isinf(rate) else round(min(rate, self._estimate.peak), 4),
            "at_once": int(self.places.limit),
        }

    def begin_with(self, learned: Mapping[str, Any]) -> None:
        """Take what an earlier run learned for a first guess. Raises what comes of any other JSON."""
        for resource, limit, period, cost in learned["limits"]:
            self._meters[resource] = Meter(RateLimit(resource, float(limit), float(period)), float(cost))
        if learned["calls_per_second"]:
            self._estimate.known(float(learned["calls_per_second"]), self.clock())
        self._guess = max(OPENED, int(learned["at_once"]))

    def _admit(self) -> None:
        """Let leave whoever may, and come back when the next one may."""
        now = self.clock()
        self._account(now)
        while self._queue.first is not None:
            when, self._reason = self._ready_at(now)
            if when > now:
                self._wake(when - now)
                return
            self._queue.grant(self._depart(now))
        self._reason = ""

    def _wake(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if math.isfinite(seconds):
            self._timer = asyncio.get_running_loop().call_later(seconds, self._admit)

    def _ready_at(self, now: float) -> tuple[float, str]:
        """When the next call may leave, and what it waits for until then."""
        if self.running >= int(self._places(now)):
            return math.inf, self._why_no_place()
        when, reason = self._blocked_until, "the provider's refusals"
        if self._estimate.next > when:
            when, reason = self._estimate.next, "the provider's refusals"
        for meter in self._meters.values():
            if meter.next > when:
                when, reason = meter.next, f"the provider's {meter.limit}"
        return when, reason

    def _why_no_place(self) -> str:
        if not self.opened:
            return "the first call"
        if self.places.limit >= self.ceiling:
            return f"--concurrency {self.ceiling}"
        return "what the server answers at once"

    def _places(self, now: float) -> float:
        """How many calls there may be at once."""
        rate = self._rate(now)
        if not self.opened or math.isinf(rate):
            return self.places.limit
        return min(self.ceiling, max(self.places.limit, ROOM * rate * self.places.latency))

    def _rate(self, now: float) -> float:
        """Calls a second that may leave."""
        rates = [meter.per_second / meter.cost for meter in self._meters.values() if meter.cost > 0]
        return min([self._estimate.rate(now), *rates])

    def _depart(self, now: float) -> Departure:
        if not self.opened and self._probe is None:
            self._probe = asyncio.get_running_loop().call_later(PROBE, self.open)
        self.running += 1
        self._left.append(now)
        self._estimate.take(now)
        return Departure(now, {resource: meter.take(now) for resource, meter in self._meters.items()})

    def _granted(self, now: float) -> float:
        """Calls a second that left of late and were not refused, pauses included."""
        # Where they leave slowly a longer look back is needed for as many.
        since = min(now - WINDOW, self._left[-AT_LEAST] if len(self._left) >= AT_LEAST else -math.inf)
        since = max(since, self._opened_at)
        return sum(when >= since for when in self._left) / max(now - since, 1.0)

    def _announced(self, limits: Iterable[RateLimit], usage: Usage | None) -> None:
        for limit in limits:
            meter = self._meters.get(limit.resource)
            if meter is None:
                cost = 1.0 if limit.resource == "requests" else _amount(limit.resource, usage)
                self._meters[limit.resource] = Meter(limit, cost)
                continue
            if limit.per_second > meter.limit.per_second:
                self._estimate = Estimate()  # what was refused under the old limit says nothing of the new
            meter.limit = limit

    def _account(self, now: float) -> None:
        """Book the time since the last look to what calls waited for in it."""
        if self._reason and self._queue.first is not None:
            self.limited[self._reason] += now - self._since
        self._since = now


def _amount(resource: str, usage: Usage | None) -> float:
    """What a call took of a resource; a guess where nobody said."""
    if usage is None:
        return USUAL_TOKENS
    if resource == "input tokens":
        return usage.input_tokens
    return usage.output_tokens if resource == "output tokens" else usage.input_tokens + usage.output_tokens
