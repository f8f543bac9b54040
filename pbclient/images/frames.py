"""Read the bytes of a frame, from the data folder or from the zip archives that lie in it.

Rows are untrusted: a path that leaves the folder, names no regular file or is too large is refused.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, NamedTuple, Self

from pbclient.errors import DataError, FrameError
from pbclient.images.digests import Stamp

MAX_FRAME_BYTES = 64 * 1024 * 1024
# `zip -r` from inside the folder, and from the folder above it; other programs write `./` first.
_PREFIXES = ("", "test/", "./", "./test/")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Encrypted, patched, strongly encrypted.
_UNREADABLE_FLAGS = 0x61
# All that `zipfile` raises on archives that are none.
_BROKEN = (
    zipfile.BadZipFile, zlib.error, struct.error, OSError, ValueError, EOFError, OverflowError, RuntimeError,
)  # fmt: skip
_LONGEST_PATH = 1024
# What nearly every path looks like, and stays inside the data folder whatever it is joined to.
_ORDINARY = re.compile(r"(?:[\w-][\w .-]*/)*[\w-][\w .-]*", re.ASCII)
# Opening must neither wait for a pipe's writer nor follow a link put there since the path was resolved.
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)


class FrameStore:
    """Reads frames by their path relative to the data folder; an extracted file goes before a member.

    May be used from several threads at once. _Archives are first looked into when a frame is not
    there as a file; one that is broken matters only to frames that are found nowhere else.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._root = os.path.join(os.path.realpath(folder), "")
        self._lock = threading.Lock()
        self._archives: _Archives | None = None
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
        return _stamp_of(status, 0, 0) if is_frame else None

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
        folder, _, name = path.rpartition("/")
        try:
            try:
                descriptor = os.open(self._real_folder(folder) + name, _OPEN_FLAGS)
            except (FileNotFoundError, NotADirectoryError):
                raise
            except OSError:
                # The file or its folder is a link, or cannot be opened at all.
                real = os.path.realpath(self._root + path, strict=True)
                if not real.startswith(self._root):
                    raise FrameError(
                        f"The frame {path!r} is a link out of the data folder: put the file there."
                    ) from None
                descriptor = os.open(real, _OPEN_FLAGS)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from error
        return _regular(descriptor, path)

    def _real_folder_of(self, folder: str) -> str:
        """Where a folder inside the data folder is, with a slash behind it. Raises `OSError`."""
        real = os.path.join(os.path.realpath(self._root + folder, strict=True), "")
        if not real.startswith(self._root):
            raise PermissionError("it is a link out of the data folder")
        return real

    def _indexed(self) -> _Archives:
        with self._lock:
            if self._archives is None:
                self._archives = _Archives(self._folder)
            return self._archives


class _File(NamedTuple):
    """An open regular file, small enough to be a frame; who has it closes it."""

    descriptor: int
    size: int


def is_inside(relative: str) -> bool:
    """Whether this is a path that, as far as its text says, stays inside the data folder."""
    if len(relative) > _LONGEST_PATH:
        return False
    if _ORDINARY.fullmatch(relative):
        return True
    parts = relative.split("/")
    foreign = "\0" in relative or "\\" in relative or relative[1:2] == ":" or relative.startswith("/")
    return ".." not in parts and not foreign and any(part not in ("", ".") for part in parts)


def _checked(relative: str) -> str:
    """The path without empty and `.` parts."""
    if not is_inside(relative):
        raise FrameError(f"The frame {relative!r:.200} is not a path inside the data folder: mend the row.")
    if _ORDINARY.fullmatch(relative):
        return relative
    return "/".join(part for part in relative.split("/") if part not in ("", "."))


def _regular(descriptor: int, path: str) -> _File:
    """An open file, if it may be a frame; any other is closed."""
    status = os.fstat(descriptor)
    is_regular = stat.S_ISREG(status.st_mode)
    if is_regular and status.st_size <= MAX_FRAME_BYTES:
        return _File(descriptor, status.st_size)
    os.close(descriptor)
    if is_regular:
        raise _too_large(f"The frame {path!r}")
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


def _stamp_of(file: os.stat_result, place: int, crc: int) -> Stamp:
    times = file.st_mtime_ns, file.st_ctime_ns
    return Stamp(file.st_ino, place, file.st_dev, file.st_size, *times, crc)


def _too_large(where: str) -> FrameError:
    return FrameError(f"{where} is larger than {MAX_FRAME_BYTES >> 20} MiB: replace it by a smaller picture.")


class _Archives:
    """The members of every zip archive of one folder, by path; the first archive by name wins.

    For several threads at once: `zipfile` reads under a lock of its own, and counts its readers under ours.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._archives: list[zipfile.ZipFile] = []
        self._broken: list[str] = []
        try:
            paths = [
                path for path in sorted(folder.iterdir()) if path.suffix.lower() == ".zip" and path.is_file()
            ]
        except OSError as error:
            raise DataError(f"The data folder {folder} cannot be read: {error.strerror}.") from error
        for path in paths:
            try:
                self._archives.append(zipfile.ZipFile(path))
            except _BROKEN as error:
                self._broken.append(f"{path} ({error})")

    def size(self, path: str) -> int:
        """How large a member says it is."""
        return self._find(path)[1].file_size

    def stamp(self, path: str) -> Stamp | None:
        """That of a member: of the archive as it is now, and of the member's place and sum in it."""
        member = self._member(path)
        if member is None:
            return None
        archive, info = member
        assert archive.fp is not None
        return _stamp_of(os.fstat(archive.fp.fileno()), info.header_offset + 1, info.CRC)

    def read(self, path: str) -> bytes:
        """The bytes of a member, which are what the archive says they are."""
        with self._open(path) as (file, size, where):
            # Never more than was promised, even of a member that would unpack to more.
            data = file.read(size)
            if len(data) != size:
                raise FrameError(f"{where} is broken: download the archive again.")
            return data

    def head(self, path: str, length: int) -> bytes:
        """The first bytes of a member, or fewer; what is wrong behind them is not seen."""
        with self._open(path) as (file, _, _):
            return file.read(length)

    def close(self) -> None:
        for archive in self._archives:
            archive.close()

    def _member(self, path: str) -> tuple[zipfile.ZipFile, zipfile.ZipInfo] | None:
        for prefix in _PREFIXES:
            for archive in self._archives:
                info = archive.NameToInfo.get(prefix + path)
                if info is not None:
                    return archive, info
        return None

    def _find(self, path: str) -> tuple[zipfile.ZipFile, zipfile.ZipInfo]:
        member = self._member(path)
        if member is not None:
            return member
        if self._broken:
            raise DataError(
                f"The frame {path!r} may be in a zip archive that cannot be read, "
                f"{' or '.join(self._broken)}: download it again."
            )
        raise FrameError(
            f"The frame {path!r} is missing from {self._folder}, as a file and in its "
            f"{len(self._archives)} zip archives: download the data again."
        )

    @contextmanager
    def _open(self, path: str) -> Iterator[tuple[IO[bytes], int, str]]:
        """A member that may be read, its size, and where it is for people."""
        archive, info = self._find(path)
        where = f"The frame {path!r} in {archive.filename}"
        if info.flag_bits & _UNREADABLE_FLAGS:
            raise FrameError(f"{where} is encrypted: extract the archive into the data folder.")
        if info.compress_type not in _METHODS:
            raise FrameError(
                f"{where} is compressed by method {info.compress_type}, which is not read here: "
                "extract the archive into the data folder."
            )
        if max(info.file_size, info.compress_size) > MAX_FRAME_BYTES:
            raise _too_large(where)
        try:
            with self._lock:
                file = archive.open(info)
            try:
                yield file, info.file_size, where
            finally:
                with self._lock:
                    file.close()
        except _BROKEN as error:
            raise FrameError(f"{where} is broken ({error}): download the archive again.") from error
