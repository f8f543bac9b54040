"""The one thread that writes: what queues up while it works becomes the next transaction.

An answer is paid for, so whoever waits for its write waits to the end, cancelled or not. What is
written, and how a row is spelled, is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cache.disk import packed
from cache.errors import CacheError, unusable

# What diskcache's `set` does, in one statement for many rows.
_SET = """
    INSERT INTO Cache(key, raw, store_time, access_time, tag, mode, value)
    VALUES (?, 1, ?, ?, ?, ?, ?)
    ON CONFLICT(key, raw) DO UPDATE SET
      store_time = excluded.store_time, expire_time = NULL, access_time = excluded.access_time,
      access_count = 0, tag = excluded.tag, size = 0, mode = excluded.mode, filename = NULL,
      value = excluded.value
"""


# Seconds that a busy writer leaves for more to queue up: a transaction costs as much as ten rows.
GATHERING = 0.003


class Write:
    """One row to be written, and who waits for it; made in the event loop that waits."""

    __slots__ = ("_error", "_is_settled", "_waiter", "key", "loop", "payload", "stored")

    def __init__(self, key: str, payload: bytes, stored: float) -> None:
        self.key, self.payload, self.stored = key, payload, stored
        self.loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._is_settled = False
        self._error: CacheError | None = None

    async def written(self) -> None:
        """Wait to the end, then pass on a cancellation that came meanwhile. Raises `CacheError`."""
        cancelled = None
        while not self._is_settled:
            self._waiter = self.loop.create_future()
            try:
                await self._waiter
            except asyncio.CancelledError as error:
                cancelled = cancelled or error
        if cancelled is not None:
            raise cancelled from self._error
        if self._error is not None:
            raise self._error

    def settle(self, error: CacheError | None) -> None:
        """It is on disk, or cannot be; called in the loop."""
        self._error, self._is_settled = error, True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Writer:
    """The one thread that writes: what queues up while it works becomes the next transaction."""

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        directory: Path,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connect = connect
        self._sleep = sleep
        self._connection: sqlite3.Connection | None = None
        self._directory = directory
        self._queue: queue.SimpleQueue[Write | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._pid = os.getpid()

    def submit(self, write: Write) -> None:
        """Queue a write; it is settled when it is on disk, or cannot be."""
        if os.getpid() != self._pid:  # the thread stayed in the parent: nobody would ever answer
            raise CacheError("a cache opened before a fork must be opened again in the child")
        with self._lock:
            if self._closed:
                raise CacheError("the cache is closed")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="cache-writer", daemon=True)
                self._thread.start()
            self._queue.put(write)

    def close(self) -> None:
        if os.getpid() != self._pid:
            return
        with self._lock:
            self._closed = True
            self._queue.put(None)
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        batch: list[Write] = []
        while batch := self._next_batch(is_busy=len(batch) > 1):
            _settle(batch, self._commit(batch))
        self._disconnect()

    def _next_batch(self, *, is_busy: bool) -> list[Write]:
        """Everything queued, waiting for at least one; nothing when the store is closed."""
        batch: list[Write] = []
        write = self._queue.get()
        if write is not None and is_busy:
            self._sleep(GATHERING)
        while write is not None:
            batch.append(write)
            try:
                write = self._queue.get_nowait()
            except queue.Empty:
                return batch
        if batch:
            self._queue.put(None)
        return batch

    def _commit(self, batch: list[Write]) -> CacheError | None:
        try:
            rows = [_row(write) for write in batch]
            connection = self._connected()
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_SET, rows)
            connection.execute("COMMIT")
        except Exception as error:
            # A commit that failed may have left its transaction open: start afresh.
            self._disconnect()
            failure = unusable(self._directory, error)
            failure.__cause__ = error
            return failure
        return None

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._connect()
            # A commit waits until the rows are on the platter.
            self._connection.execute("PRAGMA synchronous = FULL")
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _row(write: Write) -> tuple[str, float, float, float, int, bytes]:
    return write.key, write.stored, write.stored, write.stored, *packed(write.payload)


def _settle(batch: list[Write], error: CacheError | None) -> None:
    """Tell every event loop that waits for a part of `batch`."""
    waiting: dict[asyncio.AbstractEventLoop, list[Write]] = defaultdict(list)
    for write in batch:
        waiting[write.loop].append(write)
    for loop, writes in waiting.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, writes, error)


def _resolve(writes: list[Write], error: CacheError | None) -> None:
    for write in writes:
        write.settle(None if error is None else _own(error))


def _own(error: CacheError) -> CacheError:
    """Each waiter raises its own: a traceback belongs to one task."""
    own = CacheError(str(error))
    own.__cause__ = error.__cause__
    return own
