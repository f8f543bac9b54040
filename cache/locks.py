"""One flight per key: who holds a key is alone with it, in this process and among processes.

Inside a process a table hands the key from one task to the next, in order, also across threads and
event loops. Between processes one byte of one file stands for each key (POSIX record locks), so
thousands of keys cost one descriptor (the kernel walks all locks of the file for a new one: 0.2 ms
at 8,000) and those of a killed process are free. Needs POSIX, and a file system with record locks.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cache.errors import CacheError, unusable

LOCKNAME = "flights.lock"
FIRST_WAIT, LONGEST_WAIT, GROWTH = 0.02, 0.5, 1.5


class KeyLocks:
    """The keys of one directory. Instances for the same directory share them."""

    def __init__(self, directory: Path, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        self._directory = directory
        self._sleep = sleep
        self._file: _LockFile | None = _LockFile.opened(directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file, once nobody holds a key of it and no other instance uses it."""
        if self._file is not None:
            self._file.release()
            self._file = None

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        """Be alone with `key` inside the block.

        Not reentrant: a task that asks for its own key waits for ever. Raises `CacheError`.
        """
        file = self._file
        if file is None:
            raise CacheError("the key locks are closed")
        claim = await file.claim(_offset(key))
        try:
            wait = FIRST_WAIT
            while not self._locked(file, claim.offset):  # another process has the key
                await self._sleep(wait)
                wait = min(wait * GROWTH, LONGEST_WAIT)
            yield
        finally:
            file.leave(claim)

    def _locked(self, file: _LockFile, offset: int) -> bool:
        """Lock the byte against other processes, if none has it."""
        try:
            fcntl.lockf(file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
        except (BlockingIOError, PermissionError):  # POSIX allows either
            return False
        except OSError as error:
            raise unusable(self._directory, error) from error
        return True


def _offset(key: str) -> int:
    """The byte of the lock file that stands for `key`; two keys share one by a chance of 2**-62."""
    return int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:8]) >> 2


@dataclass(eq=False, slots=True)
class _Claim:
    """One task's claim to a byte: it holds it (first in its queue) or waits until it is `granted`."""

    offset: int
    loop: asyncio.AbstractEventLoop
    granted: asyncio.Future[None] | None = None


class _LockFile:
    """The open lock file of a directory and who in this process waits for which byte.

    There is one per file and process, found by what the file is and not by its path: record locks
    do not keep tasks of one process apart, and closing any descriptor of the file drops them all.
    `_guard` guards every field.
    """

    def __init__(self, fd: int, identity: tuple[int, int]) -> None:
        self.queues: dict[int, list[_Claim]] = {}  # mostly of one: a deque takes ten times the memory
        self.fd = fd
        self._identity = identity
        self._users = 0

    @classmethod
    def opened(cls, directory: Path) -> _LockFile:
        """The file of `directory`, opened unless this process has it open already."""
        path = directory / LOCKNAME
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _guard:
                # Asked by name: opening it a second time to find out would cost us its locks.
                file = _files.get(_identity(os.stat(path))) if path.exists() else None
                if file is None:
                    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
                    identity = _identity(os.fstat(fd))
                    file = _files[identity] = cls(fd, identity)
                file._users += 1
                return file
        except OSError as error:
            raise unusable(directory, error) from error

    def release(self) -> None:
        with _guard:
            self._users -= 1
            self._close_if_idle()

    async def claim(self, offset: int) -> _Claim:
        """Queue for a byte. Who comes first has it until it leaves."""
        claim = _Claim(offset, asyncio.get_running_loop())
        with _guard:
            queue = self.queues.setdefault(offset, [])
            if queue:
                claim.granted = claim.loop.create_future()
            queue.append(claim)
        if claim.granted is not None:
            try:
                await claim.granted
            except BaseException:
                self.leave(claim)
                raise
        return claim

    def leave(self, claim: _Claim) -> None:
        """Give up a claim, held or awaited; a held byte goes to the next in its queue."""
        with _guard:
            queue = self.queues.get(claim.offset)
            if queue is None or claim not in queue:
                return  # a copy of the parent's claim, in a forked child
            was_first = queue[0] is claim
            queue.remove(claim)
            if was_first:
                fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, claim.offset)
                while queue:
                    try:
                        queue[0].loop.call_soon_threadsafe(_grant, queue[0].granted)
                        break
                    except RuntimeError:  # its event loop was closed under it
                        queue.pop(0)
            if not queue:
                del self.queues[claim.offset]
                self._close_if_idle()

    def _close_if_idle(self) -> None:
        if self._users == 0 and not self.queues:
            del _files[self._identity]
            os.close(self.fd)


def _grant(granted: asyncio.Future[None] | None) -> None:
    if granted is not None and not granted.done():
        granted.set_result(None)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _start_afresh() -> None:
    global _guard
    _guard = threading.RLock()  # another thread of the parent may have held it
    for file in _files.values():
        file.queues.clear()  # a child inherits the table, but neither the tasks in it nor the locks


# Reentrant, because the collector may finish an abandoned task, which leaves its queue, anywhere.
_guard = threading.RLock()
_files: dict[tuple[int, int], _LockFile] = {}
os.register_at_fork(after_in_child=_start_afresh)
