"""How many calls at once a server answers well, found out from its answers.

It starts at what it is told and gains a call for every answer that came while all places were taken, so
doubles within a latency, as long as answers come as quickly as at first. Once they slow down, places are
tried upwards by STEP, and kept when more answers a second came; when only latency grew they are given back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

STEP = 1.25  # a trial's factor
GAIN = 1.08  # the least factor of answers a second that keeps a trial
AGAIN = 15.0  # seconds from a trial that failed to the next
SLOW = 1.5  # times the latency of a quiet server: a queue has formed there
FADE = 1.03  # growth of the quiet latency with each sample that does not show it
ROOM = 2.0  # times the places that a quiet server needs for its answers a second
QUICK = 1.4  # times the mean of the quickest quarter of them: the mean of them all, where none queued
FEW = 16  # answers that say something about latency
MANY = 50  # and about answers a second


@dataclass
class _Sample:
    """Answers to calls that left at `since` or later."""

    since: float
    first: float = 0.0
    answers: int = 0
    seconds: float = 0.0

    def add(self, now: float, seconds: float) -> None:
        if not self.answers:
            self.first = now
        self.answers += 1
        self.seconds += seconds

    def per_second(self, now: float) -> float:
        return (self.answers - 1) / (now - self.first) if now > self.first else math.inf

    @property
    def latency(self) -> float:
        return self.seconds / self.answers


@dataclass
class Concurrency:
    """The number of places, `limit`; `ceiling` is the most there may be. Times are in seconds."""

    ceiling: int
    limit: float
    quiet: float = math.inf  # the least mean latency of FEW answers
    latency: float = 0.0  # the mean latency of late
    _doubling: bool = True
    _slow: bool = False  # the sample before showed a queue
    _firsts: list[float] | None = field(default_factory=list)  # latencies of the first FEW answers
    _sample: _Sample = field(default_factory=lambda: _Sample(-math.inf))
    _before: float | None = None  # answers a second before the trial that runs
    _places_before: float = 1.0
    _next_trial: float = -math.inf

    def first_call(self, seconds: float) -> None:
        """The call that went alone took so long."""
        self.quiet = self.latency = seconds

    def answered(self, now: float, left: float, seconds: float, full: bool) -> None:
        """A call that left at `left` was answered after `seconds`; `full`: no place was free meanwhile."""
        self.latency += (seconds - self.latency) / FEW
        if left < self._sample.since:
            return
        self._sample.add(now, seconds)
        if self._doubling:
            self._double(now, seconds, full)
        elif self._sample.answers >= max(MANY, 2 * self.limit):
            self._try(now, full)

    def _double(self, now: float, seconds: float, full: bool) -> None:
        if full and seconds <= SLOW * self.quiet:
            self.limit = min(self.ceiling, self.limit + 1)
        if self._firsts is not None:
            self._firsts.append(seconds)
        if self._sample.answers < FEW:
            return
        latency = self._sample.latency
        if self._firsts is not None:
            # The call that went alone may have been a lucky one.
            quickest = sorted(self._firsts)[: FEW // 4]
            self.quiet = max(self.quiet, QUICK * sum(quickest) / len(quickest))
            self._firsts = None
        slow, before = full and latency > SLOW * self.quiet, self._slow
        self._slow = slow
        if slow and before:  # one such sample may be chance
            self._doubling = False
            self.limit = max(1.0, self.limit * min(1.0, ROOM * self.quiet / latency))
        self.quiet = min(self.quiet, latency)
        self._sample = _Sample(now if not self._doubling else -math.inf)

    def _try(self, now: float, full: bool) -> None:
        """End the trial that runs, or begin one."""
        rate, latency = self._sample.per_second(now), self._sample.latency
        # Answers may become longer in earnest: the memory of a quiet server fades.
        self.quiet = min(self.quiet * FADE, latency)
        if self._before is not None:
            if rate < GAIN * self._before:
                self.limit = self._places_before
                self._next_trial = now + AGAIN
            self._before = None
        elif full and latency < ROOM * self.quiet and self.limit < self.ceiling and now >= self._next_trial:
            self._before, self._places_before = rate, self.limit
            self.limit = min(self.ceiling, max(self.limit + 1, self.limit * STEP))
        self._sample = _Sample(now)
