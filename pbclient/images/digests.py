"""The digests of frames that were hashed before, so that a run whose answers are stored reads none.

A file is told by what changes whenever its bytes do: the system's number for it, its size and its
times to the nanosecond. One changed so lately that a further change might not show in its times is
not kept. The table only saves time: what cannot be read or written of it is hashed again.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

FILE_NAME = "digests.db"
# No file system in use keeps times more coarsely than in steps of two seconds (FAT).
SETTLED = 5_000_000_000
KEPT_BACK = 500
# The files of one data set mostly have numbers side by side. So many are looked up at once, which takes a
# third of the time where they are known (and four times as long where only one is, up to 14 ms in all).
# What was read stays, up to so many pages (16 MB); the rest is looked up one by one.
PAGE = 64
MOST_PAGES = 512

_CREATE = """
    CREATE TABLE IF NOT EXISTS Frames1 (
      number INTEGER, place INTEGER, device INTEGER, bytes INTEGER, modified INTEGER, changed INTEGER,
      sum INTEGER, digest TEXT, width INTEGER, height INTEGER, PRIMARY KEY (number, place)
    ) WITHOUT ROWID
"""
_FIND = """
    SELECT number, device, bytes, modified, changed, sum, digest, width, height FROM Frames1
    WHERE number = ? AND place = ? AND length(digest) = 64
"""
# Not a range: that would pass over every member of an archive whose number lies in it.
_FIND_FILES = _FIND.replace("number = ? AND place = ?", f"number IN ({'?, ' * (PAGE - 1)}?) AND place = 0")
# SQLite's whole numbers end at 2**63, those of some file systems at 2**64.
_FAILED = (sqlite3.Error, OverflowError)
_KEEP = "INSERT OR REPLACE INTO Frames1 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class Stamp(NamedTuple):
    """What tells the bytes of a file, or of a member of an archive, from all others.

    `number` is the inode; `place` and `sum` are 0, or where in the archive the member is and its CRC.
    Times are nanoseconds since 1970.
    """

    number: int
    place: int
    device: int
    bytes: int
    modified: int
    changed: int
    sum: int


class Known(NamedTuple):
    """The SHA-256 of a frame in hexadecimal, and its width and height in pixels once they were looked at."""

    digest: str
    size: tuple[int, int] | None = None


type _Row = tuple[object, ...]


class Digests:
    """The table in the folder of a cache, for one thread; without a folder nothing is remembered."""

    def __init__(self, folder: Path | None, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._connection = None if folder is None else _opened(folder / FILE_NAME)
        self._new: dict[Stamp, Known] = {}
        # The rows of files by their numbers, also those that this run has written since; None where they
        # cannot be read.
        self._pages: dict[int, dict[object, _Row] | None] = {}

    def get(self, stamp: Stamp) -> Known | None:
        """What is known of the bytes that bear this stamp."""
        if self._new and stamp in self._new:
            return self._new[stamp]
        if self._connection is None:
            return None
        try:
            row = self._row(self._connection, stamp)
        except _FAILED:
            return None
        return _known(row) if row is not None and row[1:6] == stamp[2:] else None

    def keeps(self, stamp: Stamp) -> bool:
        """Whether there is a table, and the bytes that bear this stamp cannot change without another one."""
        latest = max(stamp.modified, stamp.changed)
        return self._connection is not None and self._clock() - latest >= SETTLED

    def put(self, stamp: Stamp, known: Known) -> None:
        """Remember it, if the table keeps such a stamp."""
        if self._connection is None or not self.keeps(stamp):
            return
        self._new[stamp] = known
        if len(self._new) >= KEPT_BACK:
            self._write(self._connection)

    def close(self) -> None:
        """Write what is new."""
        if self._connection is not None:
            self._write(self._connection)
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def _row(self, connection: sqlite3.Connection, stamp: Stamp) -> _Row | None:
        if stamp.place == 0:
            number = stamp.number // PAGE
            if number not in self._pages and len(self._pages) < MOST_PAGES:
                self._pages[number] = _page(connection, number)
            page = self._pages.get(number)
            if page is not None:
                return page.get(stamp.number)
        row: _Row | None = connection.execute(_FIND, stamp[:2]).fetchone()
        return row

    def _write(self, connection: sqlite3.Connection) -> None:
        rows = [(*stamp, known.digest, *(known.size or (None, None))) for stamp, known in self._new.items()]
        for row in rows:
            page = self._pages.get(row[0] // PAGE)
            if page is not None and row[1] == 0:
                page[row[0]] = (row[0], *row[2:])
        self._new.clear()
        # Another run that writes at this moment goes first; what is lost by that is hashed again.
        with suppress(*_FAILED):
            connection.execute("COMMIT")
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_KEEP, rows)
            connection.execute("COMMIT")
        with suppress(sqlite3.Error):
            connection.rollback()  # of what could not be written; nobody else shall wait for it
            connection.execute("BEGIN")


def _page(connection: sqlite3.Connection, number: int) -> dict[object, _Row] | None:
    """The rows of the files on a page by their numbers; None where one of them cannot be read."""
    numbers = range(number * PAGE, (number + 1) * PAGE)
    try:
        return {row[0]: row for row in connection.execute(_FIND_FILES, numbers)}
    except _FAILED:
        return None


def _known(row: _Row) -> Known | None:
    digest, width, height = row[6:]
    if type(digest) is not str:
        return None
    return Known(digest, (width, height) if type(width) is int and type(height) is int else None)


def _opened(path: Path) -> sqlite3.Connection | None:
    """A connection that waits for nobody and for no disk: nothing is lost with the table.

    It reads in one transaction until it writes, which saves half of the time of a look-up.
    """
    try:
        connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        for pragma in ("trusted_schema = OFF", "journal_mode = WAL", "synchronous = OFF"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(_CREATE)
        connection.execute("BEGIN")
    except (sqlite3.Error, OSError):
        return None
    return connection
