"""Requests of many episodes as batches for one device, run by the one thread that owns it.

The owner begins when for a few milliseconds nobody has come, or all who were likely to have; what arrives
while a batch runs is taken together when it ends. A batch holds the oldest job and those nearest to it in
size, so nobody starves and little is padded. What a job is, and how a batch is run, is the caller's business.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Protocol

WAIT = 0.005  # s
_GAPS = 10  # so many of them at most before a batch begins
# Jobs of one batch differ in size by no more than a factor, or by an amount that padding makes cheap.
SPREAD = 2
SLACK = 256


class ClosedError(Exception):
    """The owner has ended."""

    def __init__(self) -> None:
        super().__init__("The model was closed.")


class OutOfMemory(Exception):
    """A batch did not fit into the device's memory; what it took there has been freed."""


class Job(Protocol):
    """One request in the queue."""

    @property
    def kind(self) -> Hashable:
        """Jobs of different kinds never share a batch."""
        ...

    @property
    def shape(self) -> Hashable:
        """Jobs of different shapes share a batch unless the model turns out not to take that."""
        ...

    @property
    def size(self) -> int:
        """About how many tokens it has."""
        ...

    @property
    def over(self) -> bool:
        """Whether it is answered or failed, or nobody waits for it any more."""
        ...

    def fail(self, error: Exception) -> None:
        """Ends it without an answer."""
        ...


class Gatherer[J: Job]:
    """Owns one thread, in which `run` is called with one batch at a time.

    `run` settles every job it is given, or raises: `OutOfMemory` halves the batches from then on, any
    other exception sends the jobs that are left through alone, so that only the one at fault fails.
    `most` is the largest batch, `wait` the seconds without news after which one begins. Its methods may
    be called from any thread.
    """

    def __init__(
        self,
        run: Callable[[Sequence[J]], None],
        *,
        most: int,
        wait: float = WAIT,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.most = most
        self.closing = False
        self._run = run
        self._wait = wait
        self._say = say
        self._mixes = True
        self._jobs: deque[J] = deque()
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._expected = most  # how many are likely to ask at once
        self._coming = 0
        self._news = threading.Condition()
        # A daemon, so that an owner whom nobody closed does not keep the process alive.
        self._thread = threading.Thread(target=self._own, name="device-owner", daemon=True)
        self._thread.start()

    @contextmanager
    def announced(self) -> Iterator[None]:
        """Whoever prepares a job in this block is waited for, if it does not take long."""
        with self._news:
            self._coming += 1
        try:
            yield
        finally:
            with self._news:
                self._coming -= 1
                self._news.notify()

    def put(self, job: J) -> None:
        """Queue a job; after `close` it fails at once, with `ClosedError`."""
        with self._news:
            if not self.closing:
                self._jobs.append(job)
                self._news.notify()
                return
        job.fail(ClosedError())

    def call[T](self, work: Callable[[], T]) -> Future[T]:
        """Have `work` done by the owner, before any further batch. Raises `ClosedError`."""
        done: Future[T] = Future()
        with self._news:
            if self.closing:
                raise ClosedError
            self._calls.append((done, work))
            self._news.notify()
        return done

    def close(self, last: Callable[[], None] = lambda: None) -> Future[None]:
        """End the thread after the batch that runs; queued jobs fail, `last` is the owner's last work.

        A `run` that looks at `closing` can end early.
        """
        done: Future[None] = Future()
        with self._news:
            if self.closing:
                done.set_result(None)
                return done
            self.closing = True
            self._calls.append((done, last))
            self._news.notify()
        return done

    def _own(self) -> None:
        while True:
            call = self._next_call()
            if call is not None:
                _do(*call)
                continue
            if self.closing:
                break
            if batch := self._gathered():
                self._serve(batch)
                with self._news:
                    self._expected = min(self.most, len(batch) + len(self._jobs))
        _fail(self._jobs, ClosedError())

    def _next_call(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._news:
            self._news.wait_for(lambda: self._calls or self._jobs or self.closing)
            return self._calls.popleft() if self._calls else None

    def _gathered(self) -> list[J]:
        """The next batch; empty when nobody waits any more."""
        with self._news:
            self._wait_for_company()
            waiting = [job for job in self._jobs if not job.over]
            batch = self._batch(waiting) if waiting and not self.closing else []
            taken = set(map(id, batch))
            self._jobs = deque(job for job in waiting if id(job) not in taken)
        return batch

    def _wait_for_company(self) -> None:
        """Until those who are likely to ask have asked, or for a moment nobody has come."""
        longest = time.monotonic() + _GAPS * self._wait
        # Whose batch has just ended come back one after the other with their next turns.
        while not self.closing and len(self._jobs) < self.most:
            left = longest - time.monotonic()
            if not self._coming:
                if len(self._jobs) >= self._expected:
                    return
                left = min(left, self._wait)
            if not self._news.wait(left):
                return

    def _batch(self, waiting: Sequence[J]) -> list[J]:
        oldest = waiting[0]
        fitting = [job for job in waiting if self._together(oldest, job)]
        return sorted(fitting, key=lambda job: abs(job.size - oldest.size))[: self.most]

    def _together(self, one: J, other: J) -> bool:
        small, large = sorted((one.size, other.size))
        near = large <= SPREAD * small + SLACK
        return one.kind == other.kind and near and (self._mixes or one.shape == other.shape)

    def _serve(self, batch: Sequence[J]) -> bool:
        """Run a batch; whether it went through."""
        try:
            self._run(batch)
        except OutOfMemory as error:
            trouble: Exception = error
        except Exception as error:
            # Its frames would keep the batch's tensors in memory.
            trouble = error.with_traceback(None)
        else:
            _fail(batch, ClosedError() if self.closing else RuntimeError("The model gave no answer."))
            return True
        left = [job for job in batch if not job.over]
        if len(batch) == 1:
            _fail(left, trouble)
        elif isinstance(trouble, OutOfMemory):
            self._halve(len(batch), left)
        else:
            self._one_by_one(left)
        return False

    def _halve(self, size: int, left: Sequence[J]) -> None:
        self.most = min(self.most, size // 2)
        self._say(f"A batch of {size} did not fit into memory: from now on at most {self.most} at once.")
        with self._news:
            self._jobs.extendleft(reversed(left))

    def _one_by_one(self, jobs: Sequence[J]) -> None:
        good = [self._serve([job]) for job in jobs]
        if all(good) and len({job.shape for job in jobs}) > 1:
            self._mixes = False


def _do(done: Future[Any], work: Callable[[], Any]) -> None:
    if done.set_running_or_notify_cancel():
        try:
            done.set_result(work())
        except Exception as error:
            done.set_exception(error)


def _fail[J: Job](jobs: Iterable[J], error: Exception) -> None:
    for job in jobs:
        if not job.over:
            job.fail(error)
