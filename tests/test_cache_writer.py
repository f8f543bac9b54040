"""The thread that writes: one transaction for what queues up, and a moment for more while it is busy."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cache.disk import Index
from cache.store import Store
from cache.writer import GATHERING, Write, Writer


def test_only_a_busy_writer_leaves_more_time_to_queue_up(tmp_path: Path) -> None:
    may_begin, beginning, slept = threading.Event(), threading.Event(), list[float]()
    commits: list[str] = []

    class Watched(Index):
        @contextmanager
        def transact(self, retry: bool = False) -> Iterator[None]:
            beginning.set()
            assert may_begin.wait(10)
            with super().transact(retry):
                yield
            commits.append("COMMIT")

    async def main() -> None:
        first, second, third, fourth, last = (Write(str(number), b"{}", 0.0) for number in range(5))
        writer.submit(first)
        await asyncio.to_thread(beginning.wait, 10)
        writer.submit(second)
        writer.submit(third)
        may_begin.set()
        for write in (first, second, third):
            await write.written()
        assert (len(commits), slept) == (2, [])
        for write in (fourth, last):
            writer.submit(write)
            await write.written()
            assert slept == [GATHERING]  # before the fourth, which follows two together

    index = Watched(str(tmp_path), timeout=1)
    writer = Writer(index, sleep=slept.append)
    try:
        asyncio.run(main())
    finally:
        writer.close()
        index.close()
    assert len(commits) == 4


def test_what_is_queued_at_the_end_is_written_by_a_busy_writer_too(tmp_path: Path) -> None:
    index = Index(str(tmp_path), timeout=1)
    writer = Writer(index)

    async def main() -> None:
        writes = [Write(str(number), b"{}", 0.0) for number in range(50)]
        for write in writes:
            writer.submit(write)
        await asyncio.to_thread(writer.close)
        for write in writes:
            await write.written()

    asyncio.run(main())
    index.close()
    with Store(tmp_path) as store:
        assert store.stats().entries == 50


def test_a_commit_waits_for_the_platter_and_nothing_else_does(tmp_path: Path) -> None:
    levels: list[int] = []

    class Watched(Index):
        @contextmanager
        def transact(self, retry: bool = False) -> Iterator[None]:
            with super().transact(retry):
                yield
            levels.append(self._sql("PRAGMA synchronous").fetchone()[0])

    index = Watched(str(tmp_path), timeout=1)
    writer = Writer(index)

    async def main() -> None:
        for number in range(2):
            write = Write(str(number), b"{}", 0.0)
            writer.submit(write)
            await write.written()

    try:
        asyncio.run(main())
    finally:
        writer.close()
    with index.transact():
        index.set("mine", b"{}")
    index.close()
    assert levels == [2, 2, 1]
