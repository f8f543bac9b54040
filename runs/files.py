"""Files that a kill cannot spoil: lines are appended whole, files are replaced whole.

A line is with the system before `append` returns, so no kill of this process loses it. It is
not forced to the device: only the loss of power can, and a sync for every line would hold up
all calls in flight.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from runs.errors import StorageFailed

_CHUNK = 1 << 16
_FIXES = {
    errno.ENOSPC: "free some space and run the same command again",
    errno.EDQUOT: "free some space and run the same command again",
    errno.EACCES: "get the right to use it, or name another folder",
    errno.EPERM: "get the right to use it, or name another folder",
    errno.EROFS: "name a folder that can be written",
}


@contextmanager
def storage(path: Path, action: str) -> Iterator[None]:
    """Turn an `OSError` in the block into a `StorageFailed`: what cannot be done, why, and what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        fix = _FIXES.get(error.errno or 0, "mend that and run the same command again")
        raise StorageFailed(f"{path} cannot be {action} ({reason}): {fix}.") from error


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, one in memory at a time; a last one without a newline is torn."""
    with storage(path, "read"):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return
        with file:
            yield from file


def replace_file(path: Path, chunks: Iterable[bytes]) -> None:
    """Write the whole file anew: who reads it sees the old one or the new one, never a part."""
    new = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with storage(path, "written"):
            with new.open("wb") as file:
                file.writelines(chunks)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise


def leftovers(path: Path) -> list[Path]:
    """What a killed `replace_file` of this path has left beside it."""
    return [file for file in path.parent.iterdir() if is_leftover(file.name, path.name)]


def is_leftover(name: str, of: str) -> bool:
    """Whether a file of this name is an unfinished one `of` that name."""
    return name.startswith(f"{of}.") and name.endswith(".tmp")


class LineFile:
    """One file, open for appending lines; the caller sees to it that nobody else writes."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd
        self._torn = False

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or create the file and cut off a torn last line, so that none is glued to it."""
        with storage(path, "written"):
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                whole = _end_of_whole_lines(fd)
                if whole < os.fstat(fd).st_size:
                    os.ftruncate(fd, whole)
            except BaseException:
                os.close(fd)
                raise
        return cls(path, fd)

    def append(self, lines: bytes) -> None:
        """Write `lines` (each ends with a newline) wholly, or raise and leave nothing of them."""
        if self._torn:
            raise StorageFailed(f"{self.path} ends in a torn line: run the same command again to mend it.")
        with storage(self.path, "written"):
            start = os.lseek(self._fd, 0, os.SEEK_END)
            try:
                left = memoryview(lines)
                while left:
                    left = left[os.write(self._fd, left) :]
            except BaseException:
                try:
                    os.ftruncate(self._fd, start)
                except OSError:
                    # What cannot be taken back must stay the last line: only there is it known to be torn.
                    self._torn = True
                raise

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _end_of_whole_lines(fd: int) -> int:
    end = os.fstat(fd).st_size
    while end > 0:
        start = max(0, end - _CHUNK)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
