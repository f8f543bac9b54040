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
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

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


class Write(NamedTuple):
    key: str
    payload: bytes
    stored: float
    loop: asyncio.AbstractEventLoop
    written: asyncio.Future[None]


class Writer:
    """The one thread that writes: what queues up while it works becomes the next transaction."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], directory: Path) -> None:
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._directory = directory
        self._queue: queue.SimpleQueue[Write | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._pid = os.getpid()

    def submit(self, write: Write) -> None:
        """Queue a write; its future is settled when it is on disk, or cannot be."""
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
        while batch := self._next_batch():
            _settle(batch, self._commit(batch))
        self._disconnect()

    def _next_batch(self) -> list[Write]:
        """Everything queued, waiting for at least one; nothing when the store is closed."""
        batch: list[Write] = []
        write = self._queue.get()
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
    waiting: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = defaultdict(list)
    for write in batch:
        waiting[write.loop].append(write.written)
    for loop, futures in waiting.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, futures, error)


def _resolve(futures: list[asyncio.Future[None]], error: CacheError | None) -> None:
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            # Each waiter raises its own: a traceback belongs to one task.
            own = CacheError(str(error))
            own.__cause__ = error.__cause__
            future.set_exception(own)


async def uninterrupted(written: asyncio.Future[None]) -> None:
    """Wait for `written` to the end, then pass on a cancellation that came meanwhile."""
    try:
        await asyncio.shield(written)
    except asyncio.CancelledError as cancelled:
        while not written.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([written])
        raise cancelled from written.exception()
