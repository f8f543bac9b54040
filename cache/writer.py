"""The one thread that writes: what queues up while it works becomes the next transaction.

An answer is paid for, so whoever waits for its write waits to the end, cancelled or not.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cache.disk import Index
from cache.errors import CacheError, unusable

# Seconds that a busy writer leaves for more to queue up: a transaction costs as much as ten rows.
GATHERING = 0.003


class Write:
    """One row to be written, and who waits for it; made in the event loop that waits.

    `settled` holds why it could not be written, or None.
    """

    __slots__ = ("key", "loop", "payload", "settled", "stored")

    def __init__(self, key: str, payload: bytes, stored: float) -> None:
        self.key, self.payload, self.stored = key, payload, stored
        self.loop = asyncio.get_running_loop()
        self.settled: asyncio.Future[CacheError | None] = self.loop.create_future()

    async def written(self) -> None:
        """Wait to the end, then pass on a cancellation that came meanwhile. Raises `CacheError`."""
        cancelled = None
        while not self.settled.done():
            try:
                await asyncio.wait([self.settled])
            except asyncio.CancelledError as error:
                cancelled = cancelled or error
        failed = self.settled.result()
        if cancelled is not None:
            raise cancelled from failed
        if failed is not None:
            # The error is that of a whole transaction, and a traceback belongs to one task.
            raise CacheError(str(failed)) from failed.__cause__


class Writer:
    """Writes to an index, and says so to whoever waits."""

    def __init__(self, index: Index, sleep: Callable[[float], None] = time.sleep) -> None:
        self._index = index
        self._sleep = sleep
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
        """Wait until all is written that was submitted."""
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
            error = self._commit(batch)
            waiting: dict[asyncio.AbstractEventLoop, list[Write]] = defaultdict(list)
            for write in batch:
                waiting[write.loop].append(write)
            for loop, writes in waiting.items():
                with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    loop.call_soon_threadsafe(_settle, writes, error)
        self._index.close()

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
            self._index.sync_commits()
            with self._index.transact():
                for write in batch:
                    self._index.set(write.key, write.payload, tag=write.stored)
        except Exception as error:
            # A commit that failed may have left its transaction open: start afresh.
            self._index.close()
            failure = unusable(Path(self._index.directory), error)
            failure.__cause__ = error
            return failure
        return None


def _settle(writes: list[Write], error: CacheError | None) -> None:
    for write in writes:
        write.settled.set_result(error)
