"""Read frames out of the zip archives of the data folder.

Members are read here and not by `zipfile.ZipFile.open`, which counts its readers without a lock
and so cannot serve several threads. `zipfile` reads the tables of contents, of which 34 bytes a
member are kept.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pbclient.errors import DataError, FrameError
from pbclient.images.digests import Stamp

MAX_FRAME_BYTES = 64 * 1024 * 1024
# `zip -r` from inside the folder, and from the folder above it.
_PREFIXES = ("", "test/")
_STORED, _DEFLATED = 0, 8
# Encrypted, patched, strongly encrypted.
_UNREADABLE_FLAGS = 0x61
# All that `zipfile` raises on tables of contents that are none.
_BROKEN = (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, struct.error)
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_PACKED = struct.Struct("<HQQQIHH")


class _Member(NamedTuple):
    """Where a member is and how it is packed, as the archive's table of contents has it."""

    archive: int
    offset: int
    packed_size: int
    size: int
    crc: int
    method: int
    flags: int


class Archives:
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
        return stamp_of(archive, member.offset + 1, member.crc)

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
        raise too_large(where)


def stamp_of(file: os.stat_result, place: int, crc: int) -> Stamp:
    times = file.st_mtime_ns, file.st_ctime_ns
    return Stamp(file.st_ino, place, file.st_dev, file.st_size, *times, crc)


def too_large(where: str) -> FrameError:
    return FrameError(f"{where} is larger than {MAX_FRAME_BYTES >> 20} MiB: replace it by a smaller picture.")
