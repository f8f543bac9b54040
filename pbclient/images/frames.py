"""Read the bytes of a frame, from the data folder or from the zip archives that lie in it.

Rows are untrusted: a path that leaves the folder, names no regular file or is too large is refused.
"""

from __future__ import annotations

import os
import re
import stat
import threading
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Self

from pbclient.errors import FrameError
from pbclient.images.archives import MAX_FRAME_BYTES, Archives, stamp_of, too_large
from pbclient.images.digests import Stamp

_LONGEST_PATH = 1024
# What nearly every path looks like, and stays inside the data folder whatever it is joined to.
_ORDINARY = re.compile(r"(?:[\w-][\w .-]*/)*[\w-][\w .-]*", re.ASCII)
# Opening must neither wait for a pipe's writer nor follow a link put there since the path was resolved.
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)


class FrameStore:
    """Reads frames by their path relative to the data folder; an extracted file goes before a member.

    May be used from several threads at once. Archives are first looked into when a frame is not
    there as a file; one that is broken matters only to frames that are found nowhere else.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._root = os.path.join(os.path.realpath(folder), "")
        self._lock = threading.Lock()
        self._archives: Archives | None = None
        # Frames of one sample lie in one folder, or all of a data set do.
        self._real_folder = lru_cache(1024)(self._real_folder_of)

    def read(self, relative: str) -> bytes:
        """The bytes of a frame. Raises `FrameError`, or `DataError` when it may be in a broken archive."""
        path = _checked(relative)
        file = self._open(path)
        return self._indexed().read(path) if file is None else _read(file, path, file.size)

    def read_at_once(self, relative: str, limit: int) -> bytes | None:
        """The bytes of a frame when they are few and quickly had; None when `read` belongs in a thread."""
        path = _checked(relative)
        file = self._open(path)
        if file is not None:
            if file.size <= limit:
                return _read(file, path, file.size)
            os.close(file.descriptor)
            return None
        archives = self._archives
        if archives is None or archives.size(path) > limit:
            return None
        return archives.read(path)

    def stamp(self, relative: str) -> Stamp | None:
        """What tells the bytes of a frame from all others; None when `read` has to say what is there."""
        path = _checked(relative)
        folder, _, name = path.rpartition("/")
        try:
            status = os.lstat(self._real_folder(folder) + name)
        except (FileNotFoundError, NotADirectoryError):
            archives = self._archives
            return None if archives is None else archives.stamp(path)
        except (OSError, ValueError):
            return None
        is_frame = stat.S_ISREG(status.st_mode) and status.st_size <= MAX_FRAME_BYTES
        return stamp_of(status, 0, 0) if is_frame else None

    def head(self, relative: str, length: int) -> bytes:
        """The first bytes of a frame, unchecked: for those who only look at its header."""
        path = _checked(relative)
        file = self._open(path)
        return self._indexed().head(path, length) if file is None else _read(file, path, length)

    def close(self) -> None:
        """Let go of the archives."""
        with self._lock:
            if self._archives is not None:
                self._archives.close()
                self._archives = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, path: str) -> _File | None:
        """The extracted file; None when there is none."""
        try:
            descriptor = self._unlinked(path)
            if descriptor is None:
                descriptor = self._linked(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from error
        return _regular(descriptor, path)

    def _unlinked(self, path: str) -> int | None:
        """A file where its path says, in a folder that was looked at before; None where either is a link."""
        folder, _, name = path.rpartition("/")
        try:
            return os.open(self._real_folder(folder) + name, _OPEN_FLAGS)
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError:
            return None

    def _linked(self, path: str) -> int:
        real = os.path.realpath(self._root + path, strict=True)
        if not real.startswith(self._root):
            raise FrameError(f"The frame {path!r} is a link out of the data folder: put the file there.")
        return os.open(real, _OPEN_FLAGS)

    def _real_folder_of(self, folder: str) -> str:
        """Where a folder inside the data folder is, with a slash behind it. Raises `OSError`."""
        real = os.path.join(os.path.realpath(self._root + folder, strict=True), "")
        if not real.startswith(self._root):
            raise PermissionError("it is a link out of the data folder")
        return real

    def _indexed(self) -> Archives:
        with self._lock:
            if self._archives is None:
                self._archives = Archives(self._folder)
            return self._archives


class _File(NamedTuple):
    """An open regular file, small enough to be a frame; who has it closes it."""

    descriptor: int
    size: int


def is_inside(relative: str) -> bool:
    """Whether this is a path that, as far as its text says, stays inside the data folder."""
    if _is_ordinary(relative):
        return True
    foreign = "\0" in relative or "\\" in relative or relative[1:2] == ":"
    absolute = relative.startswith("/")
    climbs = ".." in relative.split("/")
    return bool(_parts(relative)) and not (foreign or absolute or climbs) and len(relative) <= _LONGEST_PATH


def _is_ordinary(relative: str) -> bool:
    return len(relative) <= _LONGEST_PATH and _ORDINARY.fullmatch(relative) is not None


def _parts(relative: str) -> list[str]:
    return [part for part in relative.split("/") if part not in ("", ".")]


def _checked(relative: str) -> str:
    """The path without empty and `.` parts."""
    if _is_ordinary(relative):
        return relative
    if not is_inside(relative):
        raise FrameError(f"The frame {relative!r:.200} is not a path inside the data folder: mend the row.")
    return "/".join(_parts(relative))


def _regular(descriptor: int, path: str) -> _File:
    """An open file, if it may be a frame; any other is closed."""
    status = os.fstat(descriptor)
    is_regular = stat.S_ISREG(status.st_mode)
    if is_regular and status.st_size <= MAX_FRAME_BYTES:
        return _File(descriptor, status.st_size)
    os.close(descriptor)
    if is_regular:
        raise too_large(f"The frame {path!r}")
    raise FrameError(f"The frame {path!r} is not a regular file: put the picture itself there.")


def _read(file: _File, path: str, length: int) -> bytes:
    """The first `length` bytes of a file, which is closed."""
    try:
        return os.read(file.descriptor, length)
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(file.descriptor)


def _unreadable(path: str, error: Exception) -> FrameError:
    reason = getattr(error, "strerror", None) or error
    return FrameError(f"The frame {path!r} cannot be read ({reason}): download it again.")
