"""A connection for each thread that reads, since none may be shared by two at a time.

A connection lives as long as its thread, or until `close`. One made before a fork stays the
parent's: the child makes its own. What is read is the caller's business.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn, Self

import diskcache
import orjson
from diskcache.core import DBNAME

from cache.disk import (
    MAX_KEY,
    MAX_ROW,
    MAX_VALUE,
    NEVER_A_FILE,
    Disk,
    Unreadable,
    checked,
    key_in,
    unpacked,
)
from cache.errors import CacheError, CorruptEntry, unusable
from cache.keys import Json, canonical, digest
from cache.writer import Write, Writer


class Readers:
    """Hands each thread its own connection, made by `connect` when it is first asked for."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._own = threading.local()

    def connection(self) -> sqlite3.Connection:
        """That of this thread, in this process."""
        own: tuple[int, sqlite3.Connection] | None = getattr(self._own, "opened", None)
        if own is None or own[0] != os.getpid():
            own = self._own.opened = os.getpid(), self._connect()
        return own[1]

    def close(self) -> None:
        """Close this thread's connection; those of others go with their threads."""
        own: tuple[int, sqlite3.Connection] | None = self._own.__dict__.pop("opened", None)
        if own is not None and own[0] == os.getpid():
            own[1].close()


BUSY_SECONDS = 60.0

# Every setting that diskcache knows, so that none is taken from the file. A NORMAL commit reaches the
# operating system but not the platter; the writer, and only the writer, waits for that (FULL).
# Mapping the file gains nothing here, and a mapped file that somebody cuts short kills the process.
SETTINGS: Final[dict[str, int | str]] = {
    **diskcache.DEFAULT_SETTINGS,
    "eviction_policy": "none",
    "cull_limit": 0,
    "statistics": 0,
    "disk_min_file_size": NEVER_A_FILE,
    "sqlite_mmap_size": 0,
    "sqlite_trusted_schema": 0,
}
_COUNTERS = ("count", "size", "hits", "misses")
# Of 4 KB, that each connection of ours keeps: by diskcache's 8192 a long run would grow. These hold the upper
# part of the index of a million answers; the system keeps the rest, and looking up takes no longer by that.
# Not among the settings, which stand in the file: versions with other numbers would fight over it.
PAGES = 512

# Only values of the expected types leave SQLite: what a row holds instead may be of any size.
_HELD = f"""
    CASE typeof(mode) WHEN 'integer' THEN mode END, filename IS NOT NULL,
    CASE WHEN typeof(value) = 'blob' AND length(value) <= {MAX_ROW} THEN value END,
    CASE typeof(tag) WHEN 'real' THEN tag END
"""
_ROW = f"""
    SELECT typeof(key), substr(CAST(key AS BLOB), 1, {MAX_KEY + 1}),
      CASE typeof(raw) WHEN 'integer' THEN raw END, {_HELD}
    FROM Cache WHERE rowid = ?
"""
_BY_KEY = f"SELECT {_HELD} FROM Cache WHERE key = ? AND raw = 1"


class Miss(Enum):
    """The type of `MISS`, which is no JSON value and so no answer."""

    MISS = "miss"


MISS: Final = Miss.MISS


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored answer: what was asked, what was answered, and when (seconds since 1970)."""

    asked: Json
    answer: Json
    stored: float


@dataclass(frozen=True, slots=True)
class Stats:
    """What a store holds; `bytes` are those on disk, `oldest` and `newest` are times of storing."""

    entries: int
    bytes: int
    oldest: float | None
    newest: float | None


@dataclass(frozen=True, slots=True)
class Problem:
    """An entry that `check` found wrong, and why."""

    key: str
    reason: str


class Store:
    """Answers on disk under `directory`, for many threads and processes at once.

    `get` reads on the calling thread, `put` is written by one thread of the store's own. `close` what
    you open, or use it in a `with` block, on the thread that opened it.
    """

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory.absolute()
        self._clock = clock
        self._cache = _open(self._directory)
        connect = partial(_connect, self._directory)
        self._readers = Readers(connect)
        self._writer = Writer(connect, self._directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Write what is queued, then let go of the files."""
        self._writer.close()
        self._readers.close()
        self._cache.close()

    def get(self, key: str) -> Entry | Miss:
        """What is stored under `key`, or `MISS`. Raises `CorruptEntry` for what it cannot read."""
        return self._look_up(key, _entry)

    def answer(self, key: str, spelled: bytes) -> Json | Miss:
        """The stored answer to what is `spelled` so and has the digest `key`, or `MISS`.

        Takes a third of the time of `get`, since what was asked is compared and not parsed. Raises
        `CorruptEntry` likewise, and for an entry that answers something else. A whole number of more
        than 64 bits, which no count of tokens needs, comes back as a float.
        """
        return self._look_up(key, lambda payload, stored: _answer(payload, stored, spelled))

    def _look_up[T](self, key: str, reading: Callable[[bytes, object], T]) -> T | Miss:
        try:
            row = self._readers.connection().execute(_BY_KEY, (checked(key),)).fetchone()
            if row is None:
                return MISS
            mode, has_file, value, stored = row
            return reading(unpacked(mode, has_file, value), stored)
        except Unreadable as error:
            raise CorruptEntry(key, str(error)) from error
        except sqlite3.Error as error:
            raise unusable(self._directory, error) from error

    async def put(self, key: str, asked: Json, answer: Json) -> None:
        """Store an answer. It is on disk when this returns.

        A cancellation is passed on after the write, not before: the answer is paid for.
        """
        await self.keep(key, canonical(asked), answer)

    async def keep(self, key: str, spelled: bytes, answer: Json) -> None:
        """`put` for those who have spelled canonically what was asked."""
        checked(key)
        payload = b'{"answer":%b,"asked":%b}' % (canonical(answer), spelled)
        if len(payload) > MAX_VALUE:
            raise CacheError(f"this answer takes {len(payload)} bytes; the cache keeps up to {MAX_VALUE}")
        write = Write(key, payload, float(self._clock()))
        self._writer.submit(write)
        await write.written()

    def stats(self) -> Stats:
        """Count and measure what is stored."""
        times = "CASE typeof(tag) WHEN 'real' THEN tag END"
        with self._connection() as connection:
            row = connection.execute(f"SELECT COUNT(*), MIN({times}), MAX({times}) FROM Cache").fetchone()
            size = 0
            for path in self._directory.glob(DBNAME + "*"):
                with suppress(FileNotFoundError):
                    size += path.stat().st_size
        return Stats(entries=row[0], bytes=size, oldest=row[1], newest=row[2])

    def entries(self, corrupt: Callable[[CorruptEntry], object] | None = None) -> Iterator[tuple[str, Entry]]:
        """Every key and entry, in the order of storing, one in memory at a time.

        An entry that cannot be read goes to `corrupt` instead of stopping the iteration.
        """
        with self._connection() as connection:
            for _, key, found in _scan(connection):
                if isinstance(found, Entry):
                    yield key, found
                elif corrupt is not None:
                    corrupt(found)

    def check(self, fix: bool = False) -> list[Problem]:
        """What is stored that should not be. `fix` removes it; it will be asked again."""
        with self._connection() as connection:
            scan = ((rowid, _problem(key, found)) for rowid, key, found in _scan(connection))
            problems = {rowid: problem for rowid, problem in scan if problem is not None}
            if fix and problems:
                with _transaction(connection):
                    for rowid in problems:
                        _remove_if_wrong(connection, rowid)
        return list(problems.values())

    def clear(self, doomed: Callable[[Entry], bool] | None = None) -> int:
        """Remove everything, or the entries of which `doomed` holds; how many is returned."""
        with self._connection() as connection:
            if doomed is None:
                return connection.execute("DELETE FROM Cache").rowcount
            scan = _scan(connection)
            keys = [(key,) for _, key, found in scan if isinstance(found, Entry) and doomed(found)]
            with _transaction(connection):
                return connection.executemany("DELETE FROM Cache WHERE key = ? AND raw = 1", keys).rowcount

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for work over many rows; diskcache's iteration ends at the first bad key."""
        try:
            with closing(_connect(self._directory)) as connection:
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise unusable(self._directory, error) from error


def _open(directory: Path) -> Any:
    """diskcache's index in `directory`, made for this user alone where it is new."""
    if os.path.expandvars(directory) != str(directory):  # diskcache would expand it, and go elsewhere
        raise CacheError(f"the cache directory {directory} holds the name of a variable")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _vet_settings(directory)
        return diskcache.Cache(str(directory), timeout=BUSY_SECONDS, disk=Disk, **SETTINGS)
    except (OSError, sqlite3.Error, diskcache.Timeout) as error:
        raise unusable(directory, error) from error


def _vet_settings(directory: Path) -> None:
    """Remove what is in the file's settings and not in ours.

    diskcache runs any setting named `sqlite_*` as a PRAGMA and assigns the rest to attributes of its
    own: a planted `_directory` would send the cache to another folder.
    """
    path = directory / DBNAME
    is_new = not path.exists()
    with closing(_connect(directory)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'Settings'").fetchone():
            if is_new:
                path.chmod(0o600)  # before the journal exists, which takes its mode from this file
            return
        if _foreign_settings(connection):
            with _transaction(connection):
                for rowid in _foreign_settings(connection):
                    connection.execute("DELETE FROM Settings WHERE rowid = ?", (rowid,))
        if _foreign_settings(connection):
            raise CacheError(f"the settings of the cache in {directory} were tampered with")


def _foreign_settings(connection: sqlite3.Connection) -> list[int]:
    rows = connection.execute("SELECT rowid, CAST(key AS BLOB), CAST(value AS BLOB) FROM Settings")
    ours = {(key.encode(), str(value).encode()) for key, value in SETTINGS.items()}
    counters = {key.encode() for key in _COUNTERS}
    return [rowid for rowid, key, value in rows if key not in counters and (key, value) not in ours]


def _connect(directory: Path) -> sqlite3.Connection:
    # A generator over rows may be finished by the collector on another thread.
    connection = sqlite3.connect(
        directory / DBNAME, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute(f"PRAGMA cache_size = {PAGES}")
    return connection


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit at the end of the block. After an error the caller closes, which rolls back."""
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("COMMIT")


def _scan(connection: sqlite3.Connection) -> Iterator[tuple[int, str, Entry | CorruptEntry]]:
    """Every row: its number, its key as far as it can be shown, and what it holds."""
    after = -(2**63)
    page = "SELECT rowid FROM Cache WHERE rowid >= ? ORDER BY rowid LIMIT 1000"
    while rowids := connection.execute(page, (after,)).fetchall():
        for (rowid,) in rowids:
            if found := _read(connection, rowid):
                yield rowid, *found
        if rowid == 2**63 - 1:
            return
        after = rowid + 1


def _read(connection: sqlite3.Connection, rowid: int) -> tuple[str, Entry | CorruptEntry] | None:
    """One row, or nothing if it is gone."""
    row = connection.execute(_ROW, (rowid,)).fetchone()
    if row is None:
        return None
    kind, key_bytes, raw, mode, has_file, value, stored = row
    key_bytes = key_bytes or b""  # SQLite cuts an empty text to NULL
    text = key_bytes.decode("utf-8", "backslashreplace")
    try:
        key = checked(key_in(text if kind == "text" and key_bytes.isascii() else None, raw))
        return key, _entry(unpacked(mode, has_file, value), stored)
    except (Unreadable, CacheError) as error:
        return text, CorruptEntry(text, str(error))


def _problem(key: str, found: Entry | CorruptEntry) -> Problem | None:
    if isinstance(found, CorruptEntry):
        return Problem(key, found.reason)
    try:
        if digest(found.asked) == key:
            return None
    except CacheError as error:
        return Problem(key, str(error))
    return Problem(key, "its key is not the digest of what was asked")


def _remove_if_wrong(connection: sqlite3.Connection, rowid: int) -> None:
    """Look again before deleting: another process may have stored a good answer meanwhile."""
    found = _read(connection, rowid)
    if found is not None and _problem(*found) is not None:
        connection.execute("DELETE FROM Cache WHERE rowid = ?", (rowid,))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_BEFORE_ANSWER = b'{"answer":'


def _entry(payload: bytes, stored: object) -> Entry:
    """The entry that `put` spelled as `payload`."""
    value = _parsed(payload)
    if type(value) is not dict or value.keys() != {"asked", "answer"} or type(stored) is not float:
        raise Unreadable("it is JSON, but not an answer")
    return Entry(value["asked"], value["answer"], stored)


def _answer(payload: bytes, stored: object, spelled: bytes) -> Json:
    """The answer in a payload, if it answers what is `spelled` so: keys are sorted, so it stands in front."""
    asked = b',"asked":%b}' % spelled
    if not payload.startswith(_BEFORE_ANSWER) or not payload.endswith(asked) or type(stored) is not float:
        raise Unreadable("it does not answer what its key stands for")
    answer = payload[len(_BEFORE_ANSWER) : -len(asked)]
    try:
        found: Json = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return _parsed(answer)  # half a surrogate pair is read there, whatever else is wrong is said
    return found


def _parsed(payload: bytes) -> Json:
    try:
        text = payload.decode("utf-8", "surrogatepass")
        # `put` leaves no blanks around a value, which `decode` would look for.
        value: Json
        value, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"it is not JSON: {error}") from error
    if end != len(text):
        raise Unreadable("it is not JSON: more follows its end")
    return value
