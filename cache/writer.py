"""The one thread that writes: what queues up while it works becomes the next transaction.

An answer is paid for, so whoever waits for its write waits to the end, cancelled or not. What is
written, and how a row is spelled, is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from cache.errors import CacheError, unusable

_SYNCHRONOUS_FULL = 2


class Write(NamedTuple):
    key: str
    payload: bytes
    stored: float
    loop: asyncio.AbstractEventLoop
    written: asyncio.Future[None]


class Writer:
    """The one thread that writes: what queues up while it works becomes the next transaction."""

    def __init__(self, cache: Any, directory: Path) -> None:
        self._cache = cache
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
        self._cache.close()

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
            self._cache.reset("sqlite_synchronous", _SYNCHRONOUS_FULL, update=False)
            with self._cache.transact():
                for write in batch:
                    self._cache.set(write.key, write.payload, tag=write.stored)
        except Exception as error:
            # A commit that failed may have left its transaction open: start afresh.
            self._cache.close()
            failure = unusable(self._directory, error)
            failure.__cause__ = error
            return failure
        return None


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
