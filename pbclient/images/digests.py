"""The digests of frames that were hashed before, so that a run whose answers are stored reads none.

A file is told by what changes whenever its bytes do: the system's number for it, its size and its
times to the nanosecond. One changed so lately that a further change might not show in its times is
not kept. The table only saves time: what cannot be read or written of it is hashed again.
"""

from __future__ import annotations

import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

FILE_NAME = "digests.db"
# No file system in use keeps times more coarsely than in steps of two seconds (FAT).
SETTLED = 5_000_000_000
WRITTEN_AT_ONCE = 500

_CREATE = """
    CREATE TABLE IF NOT EXISTS Frames1 (
      number INTEGER, place INTEGER, device INTEGER, bytes INTEGER, modified INTEGER, changed INTEGER,
      sum INTEGER, digest TEXT, width INTEGER, height INTEGER, PRIMARY KEY (number, place)
    ) WITHOUT ROWID
"""
_FIND = """
    SELECT digest, width, height FROM Frames1
    WHERE number = ? AND place = ? AND device = ? AND bytes = ? AND modified = ? AND changed = ? AND sum = ?
"""
# SQLite's whole numbers end at 2**63, those of some file systems at 2**64.
_FAILED = (sqlite3.Error, OverflowError)
_PUT = "INSERT OR REPLACE INTO Frames1 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


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


class Closing(ABC):
    """Closes itself where a `with` block ends."""

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Digests(Closing):
    """The table in the folder of a cache, for one thread; without a folder nothing is remembered."""

    def __init__(self, folder: Path | None, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._connection = None if folder is None else _opened(folder / FILE_NAME)
        self._new: dict[Stamp, Known] = {}

    def get(self, stamp: Stamp) -> Known | None:
        """What is known of the bytes that bear this stamp."""
        if stamp in self._new:
            return self._new[stamp]
        if self._connection is None:
            return None
        try:
            row = self._connection.execute(_FIND, stamp).fetchone()
        except _FAILED:
            return None
        if row is None or type(row[0]) is not str or len(row[0]) != 64:
            return None
        digest, width, height = row
        return Known(digest, (width, height) if type(width) is int and type(height) is int else None)

    def keeps(self, stamp: Stamp) -> bool:
        """Whether there is a table, and the bytes that bear this stamp cannot change without another one."""
        latest = max(stamp.modified, stamp.changed)
        return self._connection is not None and self._clock() - latest >= SETTLED

    def put(self, stamp: Stamp, known: Known) -> None:
        """Remember it, if the table keeps such a stamp."""
        if self._connection is None or not self.keeps(stamp):
            return
        self._new[stamp] = known
        if len(self._new) >= WRITTEN_AT_ONCE:
            self._write(self._connection)

    def close(self) -> None:
        """Write what is new."""
        if self._connection is not None:
            self._write(self._connection)
            self._connection.close()
            self._connection = None

    def _write(self, connection: sqlite3.Connection) -> None:
        rows = [(*stamp, known.digest, *(known.size or (None, None))) for stamp, known in self._new.items()]
        self._new.clear()
        # Another run that writes at this moment goes first; what is lost by that is hashed again.
        with suppress(*_FAILED):
            connection.execute("COMMIT")
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_PUT, rows)
            connection.execute("COMMIT")
        with suppress(sqlite3.Error):
            connection.rollback()  # of what could not be written; nobody else shall wait for it
            connection.execute("BEGIN")


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
