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
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pbclient.calls.concurrency import Concurrency
from pbclient.calls.meters import USUAL_TOKENS, Estimate, Meter, amount_of, positive
from pbclient.progress import waits_for
from pbclient.turnstile import Turnstile
from providers import RateLimit, Usage

OPENED = 16  # calls at once after the first one
PROBE = 5.0  # seconds that the others wait for the end of the first call: a refused key is told in less
MEANWHILE = 4  # calls at once from then on, and twice as many after each further PROBE
PAUSE = 10.0  # seconds without growth after a server fault
WINDOW = 3.0  # seconds over which the rate of departures is taken
AT_LEAST = 12  # and so many of them
SOON = 2.0  # seconds after a cut in which another refusal says that the limit is far below
LET_FILL = 0.3  # seconds without departures after a refusal
LOOK_AGAIN = 0.02  # seconds until this process may have caught up
PROCESSOR = "this processor"
LONGEST_WAIT = 60.0  # seconds that all wait when the provider asks for it
ROOM = 2.0  # times rate and latency: the places that a known rate may fill


@dataclass(slots=True)
class Departure:
    """A call on its way: when it left, and what was booked for it at which meter."""

    at: float
    booked: dict[str, float]


@dataclass
class RateController:
    """Lets the calls to one account leave at its rate; those of an episode already begun go first.

    `ceiling` is the most calls at once; with `queues` the server has a queue of its own that may hold all
    of them. While this process is `behind` with those that have left, no further one leaves. `clock` is in
    seconds. It belongs to one event loop.
    """

    ceiling: int
    queues: bool = False
    behind: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.monotonic
    running: int = 0
    answers: int = 0
    refusals: int = 0
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

    def __post_init__(self) -> None:
        self.places = Concurrency(self.ceiling, 1.0)

    def raise_to(self, ceiling: int) -> None:
        """Allow so many calls at once, if it is more: another run on this account may have more workers."""
        self.ceiling = self.places.ceiling = max(self.ceiling, ceiling)

    def cap(self, option: str, limit: RateLimit) -> None:
        """Keep to a limit of the user's own, which she set with `option`; of two the lower."""
        known = self._meters.get(option)
        if known is None or limit.per_second < known.limit.per_second:
            cost = 1.0 if limit.resource == "requests" else USUAL_TOKENS
            self._meters[option] = Meter(limit, cost, option)

    async def leave(self, turn: int) -> Departure:
        """Wait until a call may leave; `turn` is how many of its episode's turns are answered."""
        now = self.clock()
        when, reason = self._ready_at(now)
        if self._queue.first is None:
            if when <= now:
                return self._depart(now)
            self._reason = reason
            self._wake(when - now)
        with waits_for(reason):
            return await self._queue.wait(-min(turn, 1), None, lambda _: self.back())

    def withdrawn(self, departure: Departure) -> None:
        """A call never left: what was booked for it is free again."""
        if departure.at in self._left:
            self._left.remove(departure.at)
        for name, booked in departure.booked.items():
            if name in self._meters:
                self._meters[name].give_back(booked)
        if self._estimate.next > departure.at:
            self._estimate.next -= 1 / self._estimate.rate(self.clock())

    def back(self) -> None:
        """A call has come back, however it ended."""
        self.running -= 1
        self._admit()

    def answered(self, departure: Departure, usage: Usage | None, limits: Iterable[RateLimit] = ()) -> None:
        """An answer came, with what it took and what the provider announced."""
        now, limits = self.clock(), tuple(limits)
        self.answers += 1
        if self.answers == 1:
            # What an earlier run was told and this one is not holds no longer.
            told = {limit.resource for limit in limits}
            for name in [name for name in self._meters if name not in told and not name.startswith("--")]:
                del self._meters[name]
        self._announced(limits, usage)
        if usage is not None:
            for name, booked in departure.booked.items():
                meter = self._meters.get(name)
                if meter is not None and meter.limit.resource != "requests":
                    meter.took(amount_of(meter.limit.resource, usage), booked)
        if not self.opened:
            self.places.first_call(now - departure.at)
            self.open()
        elif not self.queues:
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
        if departure.at >= self._slowed_at:
            self._slow(before, wait, now)
        self.open()  # what waits for the first call leaves at the rate that this one has taught

    def faulted(self) -> None:
        """The server or the network failed: no reason to slow down, but none to grow."""
        self._paused_until = self.clock() + PAUSE
        self.open()

    def _go_on(self) -> None:
        """The first call takes long: a few more go before anybody has said how many may."""
        self._probe = None
        if self.running == 0:
            return  # nothing is on its way: the next one is the first again
        more = MEANWHILE if self.places.limit == 1 else 2
        self.places.limit = min(self.ceiling, self._guess, more * self.places.limit)
        self._probe = asyncio.get_running_loop().call_later(PROBE, self._go_on)
        self._admit()

    def open(self) -> None:
        """The first call has shown that calls can be made."""
        if self._probe is not None:
            self._probe.cancel()
        if not self.opened:
            self.opened, self._opened_at = True, self.clock()
            self.places.limit = float(self.ceiling if self.queues else min(self.ceiling, self._guess))
            self._admit()

    @property
    def reason(self) -> str:
        """What keeps further calls from leaving, in words; empty where nothing does."""
        if self._queue.first is not None:
            return self._reason
        return self._why_no_place() if self.running >= self.ceiling else ""

    def learned(self) -> dict[str, Any]:
        """What the next run may begin with, as JSON."""
        now = self.clock()
        rate = self._estimate.rate(now)
        # The curve has long left it behind: the refusal says nothing any more.
        forgotten = math.isinf(rate) or rate > 10 * self._estimate.peak
        return {
            "limits": [
                [meter.limit.resource, meter.limit.limit, meter.limit.period, round(meter.cost, 1)]
                for meter in self._meters.values()
                if not meter.option
            ],
            "calls_per_second": None if forgotten else round(min(rate, self._estimate.peak), 4),
            "at_once": int(self.places.limit),
        }

    def begin_with(self, learned: Mapping[str, Any]) -> None:
        """Take what an earlier run learned for a first guess. Raises what comes of any other JSON."""
        meters = {
            str(resource): Meter(RateLimit(str(resource), positive(limit), positive(period)), positive(cost))
            for resource, limit, period, cost in learned["limits"]
        }
        rate, at_once = learned["calls_per_second"], int(positive(learned["at_once"]))
        if rate is not None:
            self._estimate.known(positive(rate), self.clock())
        self._meters |= meters
        self._guess = max(OPENED, at_once)

    def _admit(self) -> None:
        """Let leave whoever may, and come back when the next one may."""
        now = self.clock()
        while self._queue.first is not None:
            when, self._reason = self._ready_at(now)
            if when > now:
                self._wake(when - now)
                return
            self._queue.grant(self._depart(now))

    def _wake(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if math.isfinite(seconds):
            self._timer = asyncio.get_running_loop().call_later(seconds, self._admit)

    def _ready_at(self, now: float) -> tuple[float, str]:
        """When the next call may leave, and what it waits for until then."""
        if self.running >= int(self._places(now)):
            return math.inf, self._why_no_place()
        if self.behind():
            # They would leave here and be sent later, all at once.
            return now + LOOK_AGAIN, PROCESSOR
        when, reason = self._blocked_until, "the provider's refusals (429)"
        if self._estimate.next > when:
            when, reason = self._estimate.next, "the provider's rate limit, which only refusals tell"
        for meter in self._meters.values():
            if meter.next > when:
                when, reason = meter.next, str(meter)
        return when, reason

    def _why_no_place(self) -> str:
        if not self.opened:
            return "the first call"
        if self.queues:
            return "the engine on this machine"
        if self.running >= self.ceiling:
            return f"--concurrency {self.ceiling:,}"
        return "a place at the server"

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
            self._probe = asyncio.get_running_loop().call_later(PROBE, self._go_on)
        self.running += 1
        self._left.append(now)
        self._estimate.take(now)
        return Departure(now, {name: meter.take(now) for name, meter in self._meters.items()})

    def _slow(self, before: float, wait: float | None, now: float) -> None:
        """Cut the rate, which was `before`, unless an announcement has; and pause."""
        soon, self._slowed_at = now - self._slowed_at < SOON, now
        if self._rate(now) >= before:
            # Few departures may only say that few were wanted: one cut goes no further down than to a third.
            floor = before / 3 if math.isfinite(before) else 1.0
            self._estimate.cut(min(before, max(self._granted(now), floor)), now)
        pause = min(wait or LET_FILL, LONGEST_WAIT) if soon else LET_FILL
        self._blocked_until = max(self._blocked_until, now + pause)

    def _granted(self, now: float) -> float:
        """Calls a second that left of late and were not refused, pauses included."""
        # Where they leave slowly a longer look back is needed for as many.
        since = min(now - WINDOW, self._left[-AT_LEAST] if len(self._left) >= AT_LEAST else -math.inf)
        since = max(since, self._opened_at)
        return sum(when >= since for when in self._left) / max(now - since, 1.0)

    def _announced(self, limits: Iterable[RateLimit], usage: Usage | None) -> None:
        slowest: dict[str, RateLimit] = {}
        for limit in limits:
            known = slowest.setdefault(limit.resource, limit)
            if limit.per_second < known.per_second:
                slowest[limit.resource] = limit
        for limit in slowest.values():
            meter = self._meters.get(limit.resource)
            if meter is None:
                cost = 1.0 if limit.resource == "requests" else amount_of(limit.resource, usage)
                self._meters[limit.resource] = Meter(limit, cost)
                continue
            if limit.per_second > meter.limit.per_second:
                # What was refused or booked under the old limit says nothing of the new.
                self._estimate = Estimate()
                meter.next = min(meter.next, self.clock())
            meter.limit = limit
