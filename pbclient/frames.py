"""The bytes of one frame, from the data folder or from the zip archives that lie in it.

Rows are untrusted: a path that leaves the folder, names no regular file or is too large is refused.
What the bytes show is `pbclient/pictures.py`'s business.

Members are read here and not by `zipfile.ZipFile.open`, which counts its readers without a lock
and so cannot serve several threads. `zipfile` reads the tables of contents, of which 34 bytes a
member are kept.
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
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

from pbclient.digests import Stamp
from pbclient.errors import DataError, FrameError

MAX_FRAME_BYTES = 64 * 1024 * 1024

_LONGEST_PATH = 1024
# What nearly every path looks like, and stays inside the data folder whatever it is joined to.
_ORDINARY = re.compile(r"(?:[\w-][\w .-]*/)*[\w-][\w .-]*", re.ASCII)
# `zip -r` from inside the folder, and from the folder above it.
_PREFIXES = ("", "test/")
_STORED, _DEFLATED = 0, 8
# Encrypted, patched, strongly encrypted.
_UNREADABLE_FLAGS = 0x61
# All that `zipfile` raises on tables of contents that are none.
_BROKEN = (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, struct.error)
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_PACKED = struct.Struct("<HQQQIHH")
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
        return _stamp(status, 0, 0) if is_frame else None

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

    def _indexed(self) -> _Archives:
        with self._lock:
            if self._archives is None:
                self._archives = _Archives(self._folder)
            return self._archives


class _File(NamedTuple):
    """An open regular file, small enough to be a frame; who has it closes it."""

    descriptor: int
    size: int


class _Member(NamedTuple):
    """Where a member is and how it is packed, as the archive's table of contents has it."""

    archive: int
    offset: int
    packed_size: int
    size: int
    crc: int
    method: int
    flags: int


class _Archives:
    """The members of every zip archive of one folder, by path; the first archive by name wins."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: list[BinaryIO] = []
        self._broken: list[str] = []
        self._members: dict[str, bytes] = {}
        for path in _zip_files(folder):
            self._add(path)

    def _add(self, path: Path) -> None:
        try:
            self._files.append(path.open("rb"))
            for name, packed in _contents(self._files[-1], len(self._files) - 1):
                self._members.setdefault(name, packed)
        except _BROKEN as error:
            self._broken.append(f"{path} ({error})")

    def size(self, path: str) -> int:
        """How large a member says it is."""
        return self._find(path).size

    def stamp(self, path: str) -> Stamp | None:
        """That of a member: of the archive as it is now, and of the member's place and sum in it."""
        member = self._member(path)
        if member is None:
            return None
        archive = os.fstat(self._files[member.archive].fileno())
        return _stamp(archive, member.offset + 1, member.crc)

    def read(self, path: str) -> bytes:
        """The bytes of a member, which are what the archive says they are."""
        member = self._find(path)
        where = self._where(path, member)
        # One byte more than was promised is enough to see a member that lies about its size.
        data = self._unpacked(member, where, member.packed_size, member.size + 1)
        if len(data) != member.size or zlib.crc32(data) != member.crc:
            raise FrameError(f"{where} is broken: download the archive again.")
        return data

    def head(self, path: str, length: int) -> bytes:
        """The first bytes of a member, or fewer; what is wrong behind them is not seen."""
        member = self._find(path)
        return self._unpacked(member, self._where(path, member), min(member.packed_size, length), length)

    def close(self) -> None:
        for file in self._files:
            file.close()

    def _member(self, path: str) -> _Member | None:
        for prefix in _PREFIXES:
            packed = self._members.get(prefix + path)
            if packed is not None:
                return _Member(*_PACKED.unpack(packed))
        return None

    def _find(self, path: str) -> _Member:
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
            f"{len(self._files)} zip archives: download the data again."
        )

    def _where(self, path: str, member: _Member) -> str:
        return f"The frame {path!r} in {self._files[member.archive].name}"

    def _unpacked(self, member: _Member, where: str, packed_length: int, length: int) -> bytes:
        _check_readable(member, where)
        try:
            packed = self._packed(member, packed_length)
            if member.method == _STORED:
                return packed
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, length)
        except (OSError, OverflowError, struct.error, zlib.error) as error:
            raise FrameError(f"{where} is broken ({error}): download the archive again.") from error

    def _packed(self, member: _Member, length: int) -> bytes:
        # Reads at a position leave no trace in the open file, so threads need no lock.
        descriptor = self._files[member.archive].fileno()
        header = os.pread(descriptor, _LOCAL_HEADER.size, member.offset)
        magic, name, extra = _LOCAL_HEADER.unpack(header)
        if magic != b"PK\x03\x04":
            raise zlib.error("no member starts where the archive says")
        start = member.offset + _LOCAL_HEADER.size + name + extra
        return os.pread(descriptor, length, start)


def _zip_files(folder: Path) -> list[Path]:
    try:
        return [path for path in sorted(folder.iterdir()) if path.suffix.lower() == ".zip" and path.is_file()]
    except OSError as error:
        raise DataError(f"The data folder {folder} cannot be read: {error.strerror}.") from error


def _contents(file: BinaryIO, number: int) -> Iterator[tuple[str, bytes]]:
    """The members of one archive; backwards, because the last of equal names wins within one."""
    with zipfile.ZipFile(file) as archive:
        for info in reversed(archive.infolist()):
            if info.is_dir():
                continue
            name = info.filename
            while name.startswith("./"):
                name = name[2:]
            where = (number, info.header_offset, info.compress_size, info.file_size)
            yield name, _PACKED.pack(*where, info.CRC, info.compress_type, info.flag_bits)


def _check_readable(member: _Member, where: str) -> None:
    if member.flags & _UNREADABLE_FLAGS:
        raise FrameError(f"{where} is encrypted: extract the archive into the data folder.")
    if member.method not in (_STORED, _DEFLATED):
        raise FrameError(
            f"{where} is compressed by method {member.method}, which is not read here: "
            "extract the archive into the data folder."
        )
    if max(member.size, member.packed_size) > MAX_FRAME_BYTES:
        raise _too_large(where)


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


def _stamp(file: os.stat_result, place: int, crc: int) -> Stamp:
    times = file.st_mtime_ns, file.st_ctime_ns
    return Stamp(file.st_ino, place, file.st_dev, file.st_size, *times, crc)


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


def _too_large(where: str) -> FrameError:
    return FrameError(f"{where} is larger than {MAX_FRAME_BYTES >> 20} MiB: replace it by a smaller picture.")
