"""One flight per key: who holds a key is alone with it, in this process and among processes.

Inside a process a table hands the key from one task to the next, in order, also across threads and
event loops. Between processes one byte of one file stands for each key (POSIX record locks), so
thousands of keys cost one descriptor and the kernel lets go of a killed process's keys.
Needs a POSIX system, and a directory on a file system that honours record locks.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
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

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    @property
    def busy(self) -> int:
        """How many keys of the directory somebody in this process holds or awaits."""
        return 0 if self._file is None else len(self._file.lines)

    def close(self) -> None:
        """Let go of the file, once nobody holds a key of it and no other instance uses it."""
        if self._file is not None:
            self._file.release()
            self._file = None

    def hold(self, key: str) -> Hold:
        """Be alone with `key` inside the block.

        Not reentrant: a task that asks for its own key waits for ever. Raises `CacheError`.
        """
        if self._file is None:
            raise CacheError("the key locks are closed")
        return Hold(self._file, _place(key), self._directory, self._sleep)


class Hold:
    """One task's block alone with one key."""

    __slots__ = ("_directory", "_file", "_place", "_sleep", "_turn")

    def __init__(
        self, file: _LockFile, place: int, directory: Path, sleep: Callable[[float], Awaitable[object]]
    ) -> None:
        self._file = file
        self._place = place
        self._directory = directory
        self._sleep = sleep

    async def __aenter__(self) -> None:
        self._turn = await self._file.take_turn(self._place)
        try:
            if not self._file.try_lock(self._place):
                await self._lock()
        except BaseException as error:
            self._file.leave(self._turn)
            if isinstance(error, OSError):
                raise unusable(self._directory, error) from error
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._file.leave(self._turn)

    async def _lock(self) -> None:
        """Wait until no other process has the key."""
        wait = FIRST_WAIT
        while True:
            await self._sleep(wait)
            if self._file.try_lock(self._place):
                return
            wait = min(wait * GROWTH, LONGEST_WAIT)


def _place(key: str) -> int:
    """The byte of the lock file that stands for `key`; two keys share one by a chance of 2**-62."""
    return int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:8]) >> 2


@dataclass(eq=False, slots=True)
class _Turn:
    """One task's claim to a place: it holds it (first in line) or waits until it is `granted`."""

    place: int
    loop: asyncio.AbstractEventLoop
    granted: asyncio.Future[None] | None = None


class _LockFile:
    """The open lock file of a directory and who in this process stands in line for which byte.

    There is one per file and process, found by what the file is and not by its path: record locks
    do not keep tasks of one process apart, and closing any descriptor of the file drops them all.
    `_guard` guards every field.
    """

    def __init__(self, fd: int, identity: tuple[int, int]) -> None:
        self.lines: dict[int, list[_Turn]] = {}  # mostly of one: a deque takes ten times the memory
        self._fd = fd
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

    async def take_turn(self, place: int) -> _Turn:
        """Wait in line for `place`. Who comes first has it until it leaves."""
        turn = _Turn(place, asyncio.get_running_loop())
        with _guard:
            line = self.lines.setdefault(place, [])
            if line:
                turn.granted = turn.loop.create_future()
            line.append(turn)
        if turn.granted is not None:
            try:
                await turn.granted
            except BaseException:
                self.leave(turn)
                raise
        return turn

    def leave(self, turn: _Turn) -> None:
        """Give up a turn, held or awaited; a held one goes to the next in line."""
        with _guard:
            line = self.lines.get(turn.place)
            if line is None or turn not in line:
                return  # a copy of the parent's turn, in a forked child
            was_first = line[0] is turn
            line.remove(turn)
            if was_first:
                fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, turn.place)
                _wake_first(line)
            if not line:
                del self.lines[turn.place]
                self._close_if_idle()

    def try_lock(self, place: int) -> bool:
        """Lock the byte against other processes, if none has it."""
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except (BlockingIOError, PermissionError):  # POSIX allows either
            return False
        return True

    def forget_turns(self) -> None:
        """A forked child inherits the table, but neither the tasks in it nor the locks."""
        self.lines.clear()

    def _close_if_idle(self) -> None:
        if self._users == 0 and not self.lines:
            del _files[self._identity]
            os.close(self._fd)


def _wake_first(line: list[_Turn]) -> None:
    while line:
        try:
            line[0].loop.call_soon_threadsafe(_grant, line[0].granted)
        except RuntimeError:  # its event loop was closed under it
            line.pop(0)
        else:
            return


def _grant(granted: asyncio.Future[None] | None) -> None:
    if granted is not None and not granted.done():
        granted.set_result(None)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _start_afresh() -> None:
    global _guard
    _guard = threading.RLock()  # another thread of the parent may have held it
    for file in _files.values():
        file.forget_turns()


# Reentrant, because the collector may finish an abandoned task, which leaves its line, anywhere.
_guard = threading.RLock()
_files: dict[tuple[int, int], _LockFile] = {}
os.register_at_fork(after_in_child=_start_afresh)
