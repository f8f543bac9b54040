"""The thread that writes: one transaction for what queues up, and a moment for more while it is busy."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from functools import partial
from pathlib import Path

from cache.store import Store, _connect
from cache.writer import GATHERING, Write, Writer


def test_only_a_busy_writer_leaves_more_time_to_queue_up(tmp_path: Path) -> None:
    Store(tmp_path).close()
    may_connect, connecting, slept = threading.Event(), threading.Event(), list[float]()
    commits: list[str] = []

    def connect() -> sqlite3.Connection:
        connecting.set()
        assert may_connect.wait(10)
        connection = _connect(tmp_path)
        connection.set_trace_callback(lambda said: commits.append(said) if said == "COMMIT" else None)
        return connection

    async def main() -> None:
        first, second, third, fourth, last = (Write(str(number), b"{}", 0.0) for number in range(5))
        writer.submit(first)
        await asyncio.to_thread(connecting.wait, 10)
        writer.submit(second)
        writer.submit(third)
        may_connect.set()
        for write in (first, second, third):
            await write.written()
        assert (len(commits), slept) == (2, [])
        for write in (fourth, last):
            writer.submit(write)
            await write.written()
            assert slept == [GATHERING]  # before the fourth, which follows two together

    writer = Writer(connect, tmp_path, sleep=slept.append)
    try:
        asyncio.run(main())
    finally:
        writer.close()
    assert len(commits) == 4


def test_what_is_queued_at_the_end_is_written_by_a_busy_writer_too(tmp_path: Path) -> None:
    Store(tmp_path).close()
    writer = Writer(partial(_connect, tmp_path), tmp_path)

    async def main() -> None:
        writes = [Write(str(number), b"{}", 0.0) for number in range(50)]
        for write in writes:
            writer.submit(write)
        await asyncio.to_thread(writer.close)
        for write in writes:
            await write.written()

    asyncio.run(main())
    with Store(tmp_path) as store:
        assert store.stats().entries == 50
