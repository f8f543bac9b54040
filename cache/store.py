"""Keep what was asked and what was answered under a digest, on disk, for ever.

diskcache keeps the index (SQLite, many processes at once); what a row may hold is ours: one kind
of value, compressed JSON, in the row itself. Rows are untrusted: nothing in one can make this
process run code, open or remove a file, or fill its memory. Answers cost money, so `put` returns
when they are on the disk, and nothing is ever evicted. Who may ask at the same time is
`cache.locks`' business.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import sqlite3
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, NoReturn, Self

import diskcache
from diskcache.core import DBNAME

from cache.errors import CacheError, CorruptEntry, unusable
from cache.keys import Json, canonical, digest

# diskcache's own modes are 0 to 4; 4 is pickle. A mode of our own is read by nothing else.
MODE_JSON = 74
MAX_KEY = 128
# JSON grows some twentyfold when it is read, so this is what one entry may cost in memory, divided by 20.
MAX_VALUE = 16 * 2**20
# What does not compress grows a little.
MAX_ROW = MAX_VALUE + 2**20
BUSY_SECONDS = 60.0

# Every setting that diskcache knows, so that none is taken from the file. A NORMAL commit reaches the
# operating system but not the platter; the writer, and only the writer, waits for that (FULL).
# Mapping the file gains nothing here, and a mapped file that somebody cuts short kills the process.
SETTINGS: Final[dict[str, int | str]] = {
    **diskcache.DEFAULT_SETTINGS,
    "eviction_policy": "none",
    "cull_limit": 0,
    "statistics": 0,
    "disk_min_file_size": 2**62,
    "sqlite_mmap_size": 0,
    "sqlite_trusted_schema": 0,
}
_COUNTERS = ("count", "size", "hits", "misses")
_SYNCHRONOUS_FULL = 2

_ROW = f"""
    SELECT rowid, typeof(key), substr(CAST(key AS BLOB), 1, {MAX_KEY + 1}),
      CASE typeof(raw) WHEN 'integer' THEN raw END, CASE typeof(tag) WHEN 'real' THEN tag END,
      CASE typeof(mode) WHEN 'integer' THEN mode END, filename IS NOT NULL,
      CASE WHEN typeof(value) = 'blob' AND length(value) <= {MAX_ROW} THEN value END
    FROM Cache WHERE rowid = ?
"""


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


class _Unreadable(Exception):
    """A row that this cache did not write; the text says what is wrong with it."""


class Disk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """What diskcache asks how a row is spelled. Neither writes pickle nor reads it.

    Every method of diskcache's that can unpickle, open or remove a file is replaced.
    """

    def __init__(self, directory: str, **_settings: object) -> None:
        # What the file's Settings table says of a disk does not count.
        super().__init__(directory, min_file_size=SETTINGS["disk_min_file_size"])

    def put(self, key: object) -> tuple[str, bool]:
        if type(key) is not str or not key.isascii() or not 0 < len(key) <= MAX_KEY:
            raise CacheError(f"a cache key is 1 to {MAX_KEY} ASCII characters, not {key!r:.60}")
        return key, True

    def get(self, key: object, raw: object) -> str:
        if raw != 1 or type(key) is not str:
            raise _Unreadable("its key is not text")
        return key

    def store(
        self, value: bytes, read: bool, key: object = diskcache.UNKNOWN
    ) -> tuple[int, int, None, bytes]:
        if type(value) is not bytes or read:
            raise CacheError("a cache value is JSON, encoded")
        return 0, MODE_JSON, None, zlib.compress(value, 1)

    def fetch(self, mode: object, filename: object, value: object, read: bool) -> bytes:
        if mode != MODE_JSON or filename is not None or type(value) is not bytes or read:
            raise _Unreadable("it is not compressed JSON in a row of its own")
        return _decompress(value)

    def filename(self, key: object = None, value: object = None) -> NoReturn:
        raise CacheError("this cache keeps no files")

    def remove(self, file_path: object) -> None:
        # diskcache calls this with the file name of a row that is overwritten; only a row that
        # somebody planted has one, and it may lead anywhere.
        pass


_DISK = Disk("")


class Store:
    """Answers on disk under `directory`, for many threads and processes at once.

    `get` reads on the calling thread, `put` is written by one thread of the store's own. `close` what
    you open, or use it in a `with` block, on the thread that opened it.
    """

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory.absolute()
        self._clock = clock
        self._cache = _open(self._directory)
        self._writer = _Writer(self._cache, self._directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Write what is queued, then let go of the files."""
        self._writer.close()
        self._cache.close()

    def get(self, key: str) -> Entry | Miss:
        """What is stored under `key`, or `MISS`. Raises `CorruptEntry` for what it cannot read."""
        try:
            payload, stored = self._cache.get(key, default=MISS, tag=True)
            return MISS if payload is MISS else _entry(payload, stored)
        except _Unreadable as error:
            raise CorruptEntry(key, str(error)) from error
        except sqlite3.Error as error:
            if "decode" in str(error):  # text in the row that is not UTF-8, so not ours
                raise CorruptEntry(key, str(error)) from error
            raise unusable(self._directory, error) from error

    async def put(self, key: str, asked: Json, answer: Json) -> None:
        """Store an answer. It is on disk when this returns.

        A cancellation is passed on after the write, not before: the answer is paid for.
        """
        self._cache.disk.put(key)
        payload = canonical({"asked": asked, "answer": answer})
        if len(payload) > MAX_VALUE:
            raise CacheError(f"this answer takes {len(payload)} bytes; the cache keeps up to {MAX_VALUE}")
        loop = asyncio.get_running_loop()
        written: asyncio.Future[None] = loop.create_future()
        self._writer.submit(_Write(key, payload, float(self._clock()), loop, written))
        await _uninterrupted(written)

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


class _Write(NamedTuple):
    key: str
    payload: bytes
    stored: float
    loop: asyncio.AbstractEventLoop
    written: asyncio.Future[None]


class _Writer:
    """The one thread that writes: what queues up while it works becomes the next transaction."""

    def __init__(self, cache: Any, directory: Path) -> None:
        self._cache = cache
        self._directory = directory
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._pid = os.getpid()

    def submit(self, write: _Write) -> None:
        """Queue a write; its future is settled when it is on disk, or cannot be."""
        if os.getpid() != self._pid:  # the thread stayed in the parent: nobody would ever answer
            raise CacheError("a cache opened before a fork must be opened again in the child")
        with self._lock:
            if self._closed:
                raise CacheError("the cache is closed")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="cache-writer", daemon=True)
                self._thread.start()
            self._queue.put(write)

    def close(self) -> None:
        if os.getpid() != self._pid:
            return
        with self._lock:
            self._closed = True
            self._queue.put(None)
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while batch := self._next_batch():
            _settle(batch, self._commit(batch))
        self._cache.close()

    def _next_batch(self) -> list[_Write]:
        """Everything queued, waiting for at least one; nothing when the store is closed."""
        batch: list[_Write] = []
        write = self._queue.get()
        while write is not None:
            batch.append(write)
            try:
                write = self._queue.get_nowait()
            except queue.Empty:
                return batch
        if batch:
            self._queue.put(None)
        return batch

    def _commit(self, batch: list[_Write]) -> CacheError | None:
        try:
            self._cache.reset("sqlite_synchronous", _SYNCHRONOUS_FULL, update=False)
            with self._cache.transact():
                for write in batch:
                    self._cache.set(write.key, write.payload, tag=write.stored)
        except Exception as error:
            # A commit that failed may have left its transaction open: start afresh.
            self._cache.close()
            failure = unusable(self._directory, error)
            failure.__cause__ = error
            return failure
        return None


def _settle(batch: list[_Write], error: CacheError | None) -> None:
    """Tell every event loop that waits for a part of `batch`."""
    waiting: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = defaultdict(list)
    for write in batch:
        waiting[write.loop].append(write.written)
    for loop, futures in waiting.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, futures, error)


def _resolve(futures: list[asyncio.Future[None]], error: CacheError | None) -> None:
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            # Each waiter raises its own: a traceback belongs to one task.
            own = CacheError(str(error))
            own.__cause__ = error.__cause__
            future.set_exception(own)


async def _uninterrupted(written: asyncio.Future[None]) -> None:
    """Wait for `written` to the end, then pass on a cancellation that came meanwhile."""
    try:
        await asyncio.shield(written)
    except asyncio.CancelledError as cancelled:
        while not written.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([written])
        raise cancelled from written.exception()


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
    """One row, or nothing if it is gone. Only values of the expected types leave SQLite."""
    row = connection.execute(_ROW, (rowid,)).fetchone()
    if row is None:
        return None
    _, kind, key_bytes, raw, stored, mode, has_file, value = row
    key_bytes = key_bytes or b""  # SQLite cuts an empty text to NULL
    text = key_bytes.decode("utf-8", "backslashreplace")
    try:
        key = _DISK.get(text if kind == "text" and key_bytes.isascii() else None, raw)
        _DISK.put(key)
        return key, _entry(_DISK.fetch(mode, has_file or None, value, False), stored)
    except (_Unreadable, CacheError) as error:
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


def _decompress(value: bytes) -> bytes:
    """Undo zlib, up to `MAX_VALUE`: a few kilobytes may claim to be gigabytes."""
    inflater = zlib.decompressobj()
    try:
        payload = inflater.decompress(value, MAX_VALUE + 1)
    except zlib.error as error:
        raise _Unreadable(f"it cannot be decompressed: {error}") from error
    if len(payload) > MAX_VALUE or not inflater.eof or inflater.unused_data:
        raise _Unreadable("it is cut off, too large or followed by something else")
    return payload


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _entry(payload: bytes, stored: object) -> Entry:
    """The entry that `put` spelled as `payload`."""
    try:
        value = _DECODER.decode(payload.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise _Unreadable(f"it is not JSON: {error}") from error
    if type(value) is not dict or value.keys() != {"asked", "answer"} or type(stored) is not float:
        raise _Unreadable("it is JSON, but not an answer")
    return Entry(value["asked"], value["answer"], stored)
