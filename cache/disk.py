"""diskcache's index with rows of compressed JSON under text keys, and with settings of our own.

Rows and settings are untrusted: whatever of diskcache's can unpickle, open or remove a file, or
take a setting from the file, is replaced.
"""

from __future__ import annotations

import sqlite3
import threading
import zlib
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import diskcache
from diskcache.core import DBNAME, ENOVAL, METADATA

from cache.errors import CacheError

# diskcache's own modes are 0 to 4; 4 is pickle. A mode of our own is read by nothing else.
MODE_JSON = 74
MAX_KEY = 128
# JSON grows some twentyfold when it is read, so this is what one entry may cost in memory, divided by 20.
MAX_VALUE = 16 * 2**20
# Up to here a value is packed without being squeezed: a page is read anyway, and inflating it takes
# longer than reading.
SMALL = 4096
# No value is moved into a file of its own, and none goes to make room.
NO_LIMIT = 2**62

# Every setting that diskcache knows, so that none is taken from the file. A NORMAL commit reaches the
# operating system but not the platter; the writer, and only the writer, waits for that.
# Mapping the file gains nothing here, and a mapped file that somebody cuts short kills the process.
# By diskcache's 8192 pages a connection a long run would grow: 512 hold the upper part of the index of a
# million answers; the system keeps the rest, and looking up takes no longer by that.
SETTINGS: Final[dict[str, int | str]] = {
    **diskcache.DEFAULT_SETTINGS,
    "eviction_policy": "none",
    "cull_limit": 0,
    "size_limit": NO_LIMIT,
    "statistics": 0,
    "disk_min_file_size": NO_LIMIT,
    "sqlite_cache_size": 512,
    "sqlite_mmap_size": 0,
    "sqlite_trusted_schema": 0,
}


class Unreadable(Exception):
    """A row that this cache did not write; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class BadKey:
    """The key of a row that this cache did not write, as it stands in the file."""

    key: object
    raw: object

    def __str__(self) -> str:
        key = self.key or b""
        text = key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else str(key)
        return text[: MAX_KEY + 1]

    @property
    def reason(self) -> str:
        """What is wrong with it."""
        if self.key is None or self.raw is None:  # equal to nothing, so not to be deleted by its key
            return "it has no key, and goes only when the whole cache is cleared"
        return "its key is not text" if type(self.key) is not str else "its key is none of this cache's"


class Disk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """What diskcache asks how a row is spelled. Neither writes pickle nor reads it."""

    def __init__(self, directory: str, **_settings: object) -> None:
        # What the file's Settings table says of a disk does not count.
        super().__init__(directory, min_file_size=NO_LIMIT)

    def put(self, key: object) -> tuple[object, object]:
        if isinstance(key, BadKey):
            return key.key, key.raw
        if not _is_key(key):
            raise CacheError(f"a cache key is 1 to {MAX_KEY} ASCII characters, not {key!r:.60}")
        return key, True

    def get(self, key: object, raw: object) -> object:
        # An error would end an iteration at the first bad key.
        return key if raw == 1 and _is_key(key) else BadKey(key, raw)

    def store(
        self, value: bytes, read: bool, key: object = diskcache.UNKNOWN
    ) -> tuple[int, int, None, bytes]:
        if type(value) is not bytes or read:
            raise CacheError("a cache value is JSON, encoded")
        return 0, MODE_JSON, None, zlib.compress(value, 1 if len(value) > SMALL else 0)

    def fetch(self, mode: object, filename: object, value: object, read: bool) -> bytes:
        if mode != MODE_JSON or filename is not None or type(value) is not bytes or read:
            raise Unreadable("it is not compressed JSON in a row of its own")
        inflater = zlib.decompressobj()
        try:
            # A few kilobytes may claim to be gigabytes.
            payload = inflater.decompress(value, MAX_VALUE + 1)
        except zlib.error as error:
            raise Unreadable(f"it cannot be decompressed: {error}") from error
        if len(payload) > MAX_VALUE or not inflater.eof or inflater.unused_data:
            raise Unreadable("it is cut off, too large or followed by something else")
        return payload

    def remove(self, file_path: object) -> None:
        # diskcache calls this with the file name of a row that is overwritten; only a row that
        # somebody planted has one, and it may lead anywhere.
        pass


class Index(diskcache.Cache):  # type: ignore[misc]  # diskcache has no types
    """diskcache's index: a connection a thread, and the settings above whatever the file says."""

    def __init__(self, directory: str, timeout: float) -> None:
        super().__init__(directory, timeout=timeout, disk=Disk, **SETTINGS)

    def reset(self, key: str, value: object = ENOVAL, update: bool = True) -> Any:
        # diskcache brings every setting in the file here: it would run one named `sqlite_*` as a PRAGMA
        # and assign the rest to its attributes, so that a planted `_directory` leads to another folder.
        if key in SETTINGS:
            return super().reset(key, SETTINGS[key], update)
        return super().reset(key, value, update) if key in METADATA else value

    def sync_commits(self) -> None:
        """Let the commits of this thread wait until the rows are on the platter."""
        super().reset("sqlite_synchronous", 2, update=False)  # FULL


class ReadOnly(Index):
    """The index in a directory that only others may write: looked up like any, and refused to be changed."""

    def __init__(self, directory: str) -> None:
        # diskcache would write its settings and tables: this is what it leaves of them in the object.
        self._directory, self._local, self._txn_id = directory, threading.local(), None
        self._disk = Disk(directory)
        for name, value in SETTINGS.items():
            setattr(self, name, value)

    @property
    def _con(self) -> sqlite3.Connection:
        if not hasattr(self._local, "con"):
            # Where its shared memory is missing, and cannot be made, SQLite reads only an unchanging file.
            for how in ("mode=ro", "immutable=1"):
                uri = f"file:{quote(self._directory)}/{DBNAME}?{how}"
                self._local.con = sqlite3.connect(uri, uri=True, isolation_level=None)
                try:
                    self._local.con.execute("SELECT COUNT(*) FROM Settings").fetchall()
                    break
                except sqlite3.OperationalError:
                    self._local.con.close()
                    if how == "immutable=1":
                        del self._local.con
                        raise
        con: sqlite3.Connection = self._local.con
        return con


def _is_key(key: object) -> bool:
    return type(key) is str and key.isascii() and 0 < len(key) <= MAX_KEY
