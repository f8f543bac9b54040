"""Read frames out of the zip archives of the data folder."""

from __future__ import annotations

import os
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

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


class Archives:
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
        return stamp_of(os.fstat(archive.fp.fileno()), info.header_offset + 1, info.CRC)

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
            raise too_large(where)
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


def stamp_of(file: os.stat_result, place: int, crc: int) -> Stamp:
    times = file.st_mtime_ns, file.st_ctime_ns
    return Stamp(file.st_ino, place, file.st_dev, file.st_size, *times, crc)


def too_large(where: str) -> FrameError:
    return FrameError(f"{where} is larger than {MAX_FRAME_BYTES >> 20} MiB: replace it by a smaller picture.")
