"""Gather the requests of many episodes into batches, and run them in the one thread that owns the device.

A batch begins when all who were likely to ask have asked, or nobody has for a few milliseconds; what arrives
while it runs is taken together when it ends. It holds the oldest row and those nearest to it in size, so
nobody starves and little is padded.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from providers.errors import Unusable
from providers.hf.batch import OutOfMemory, Row

WAIT = 0.005  # s
_GAPS = 10  # so many of them at most before a batch begins
# Rows of one batch differ in size by no more than a factor, or by an amount that padding makes cheap.
SPREAD = 2
SLACK = 256
_CLOSED = "The model was closed."


class Gatherer:
    """Owns one thread, in which `run` is called with one batch at a time.

    `run` settles every row it is given, or raises: `OutOfMemory` halves the batches from then on, any
    other exception sends the rows that are left through alone, so that only the one at fault fails.
    `most` is the largest batch, `wait` the seconds without news after which one begins. Its methods may
    be called from any thread.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Row]], None],
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
        self._mixes_shapes = True
        self._rows: deque[Row] = deque()
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._expected = most  # how many are likely to ask at once
        self._coming = 0
        self._news = threading.Condition()
        # A daemon, so that an owner whom nobody closed does not keep the process alive.
        self._thread = threading.Thread(target=self._own, name="device-owner", daemon=True)
        self._thread.start()

    @contextmanager
    def announced(self) -> Iterator[None]:
        """Whoever prepares a row in this block is waited for, if it does not take long."""
        with self._news:
            self._coming += 1
        try:
            yield
        finally:
            with self._news:
                self._coming -= 1
                self._news.notify()

    def put(self, row: Row) -> None:
        """Queue a row; after `close` it fails at once, with `Unusable`."""
        with self._news:
            if not self.closing:
                self._rows.append(row)
                self._news.notify()
                return
        row.fail(Unusable(_CLOSED))

    def call[T](self, work: Callable[[], T]) -> Future[T]:
        """Have `work` done by the owner, before any further batch. Raises `Unusable` after `close`."""
        done: Future[T] = Future()
        with self._news:
            if self.closing:
                raise Unusable(_CLOSED)
            self._calls.append((done, work))
            self._news.notify()
        return done

    def close(self, last: Callable[[], None] = lambda: None) -> Future[None]:
        """End the thread after the batch that runs; queued rows fail, `last` is the owner's last work.

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
            with self._news:
                self._news.wait_for(lambda: self._calls or self._rows or self.closing)
                call = self._calls.popleft() if self._calls else None
            if call is not None:
                done, work = call
                if done.set_running_or_notify_cancel():
                    try:
                        done.set_result(work())
                    except Exception as error:
                        done.set_exception(error)
                continue
            if self.closing:
                break
            if batch := self._next_batch():
                self._serve(batch)
                with self._news:
                    self._expected = min(self.most, len(batch) + len(self._rows))
        _fail(self._rows, Unusable(_CLOSED))

    def _next_batch(self) -> list[Row]:
        """The next batch, after a wait for company; empty when nobody waits for an answer any more."""
        with self._news:
            longest = time.monotonic() + _GAPS * self._wait
            # Whose batch has just ended come back one after the other with their next turns.
            while not self.closing and len(self._rows) < self.most:
                left = longest - time.monotonic()
                if not self._coming:
                    if len(self._rows) >= self._expected:
                        break
                    left = min(left, self._wait)
                if not self._news.wait(left):
                    break
            waiting = [row for row in self._rows if not row.over]
            self._rows = deque(waiting)
            if self.closing or not waiting:
                return []
            oldest = waiting[0]
            fitting = [row for row in waiting if self._fit(oldest, row)]
            batch = sorted(fitting, key=lambda row: abs(row.size - oldest.size))[: self.most]
            taken = set(map(id, batch))
            self._rows = deque(row for row in waiting if id(row) not in taken)
            return batch

    def _fit(self, one: Row, other: Row) -> bool:
        small, large = sorted((one.size, other.size))
        near = large <= SPREAD * small + SLACK
        return one.kind == other.kind and near and (self._mixes_shapes or one.shape == other.shape)

    def _serve(self, batch: Sequence[Row]) -> bool:
        """Run a batch; whether it went through."""
        try:
            self._run(batch)
        except OutOfMemory as error:
            failure: Exception = error
        except Exception as error:
            # Its frames would keep the batch's tensors in memory.
            failure = error.with_traceback(None)
        else:
            _fail(batch, Unusable(_CLOSED) if self.closing else RuntimeError("The model gave no answer."))
            return True
        left = [row for row in batch if not row.over]
        if len(batch) == 1:
            _fail(left, failure)
        elif isinstance(failure, OutOfMemory):
            self.most = min(self.most, len(batch) // 2)
            self._say(
                f"A batch of {len(batch)} did not fit into memory: from now on at most {self.most} at once."
            )
            with self._news:
                self._rows.extendleft(reversed(left))
        else:
            passed = [self._serve([row]) for row in left]
            if all(passed) and len({row.shape for row in left}) > 1:
                self._mixes_shapes = False
        return False


def _fail(rows: Iterable[Row], error: Exception) -> None:
    for row in rows:
        if not row.over:
            row.fail(error)
