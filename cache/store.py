"""Answers under digests, on disk: look up, store, iterate, check and clear."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, NoReturn, Self

import diskcache
from diskcache.core import DBNAME

from cache.disk import MAX_VALUE, BadKey, Index, ReadOnly, Unreadable
from cache.errors import CacheError, CorruptEntry, unusable
from cache.keys import Json, canonical, digest
from cache.writer import Write, Writer

BUSY_SECONDS = 60.0


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


class Store:
    """Answers on disk under `directory`, for many threads and processes at once.

    `get` reads on the calling thread, `put` is written by one thread of the store's own. `close` what
    you open, or use it in a `with` block, on the thread that opened it.
    """

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory.absolute()
        self._clock = clock
        self._index = _open(self._directory)
        self._writer = Writer(self._index)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what is queued, then let go of the files."""
        self._writer.close()
        self._index.close()

    def get(self, key: str) -> Entry | Miss:
        """What is stored under `key`, or `MISS`. Raises `CorruptEntry` for what it cannot read."""
        return self._look_up(key, _entry)

    def answer(self, key: str, spelled: bytes) -> Json | Miss:
        """The stored answer to what is `spelled` so and has the digest `key`, or `MISS`.

        Takes half the time of `get`, since what was asked is compared and not parsed. Raises
        `CorruptEntry` likewise, and for an entry that answers something else.
        """
        return self._look_up(key, lambda payload, stored: _answer(payload, stored, spelled))

    async def put(self, key: str, asked: Json, answer: Json) -> None:
        """`keep` for those who have not spelled what was asked."""
        await self.keep(key, canonical(asked), answer)

    async def keep(self, key: str, spelled: bytes, answer: Json) -> None:
        """Store the answer to what is `spelled` so. It is on disk when this returns.

        A cancellation is passed on after the write, not before: the answer is paid for.
        """
        self._index.disk.put(key)  # refuses what is no key, before it can fail others in its transaction
        payload = b'{"answer":%b,"asked":%b}' % (canonical(answer), spelled)
        if len(payload) > MAX_VALUE:
            raise CacheError(f"this answer takes {len(payload)} bytes; the cache keeps up to {MAX_VALUE}")
        write = Write(key, payload, float(self._clock()))
        self._writer.submit(write)
        await write.written()

    def stats(self) -> Stats:
        """Count and measure what is stored."""
        entries, oldest, newest = 0, None, None
        for _, stored in self._rows(_time):
            entries += 1
            if not isinstance(stored, CorruptEntry):
                oldest = stored if oldest is None else min(oldest, stored)
                newest = stored if newest is None else max(newest, stored)
        size = 0
        for path in self._directory.glob(DBNAME + "*"):
            with suppress(FileNotFoundError):
                size += path.stat().st_size
        return Stats(entries, size, oldest, newest)

    def entries(self, corrupt: Callable[[CorruptEntry], object] | None = None) -> Iterator[tuple[str, Entry]]:
        """Every key and entry, in the order of storing, one in memory at a time.

        An entry that cannot be read goes to `corrupt` instead of stopping the iteration.
        """
        for key, entry in self._rows(_entry):
            if not isinstance(entry, CorruptEntry):
                yield str(key), entry
            elif corrupt is not None:
                corrupt(entry)

    def check(self, fix: bool = False) -> list[CorruptEntry]:
        """What is stored that should not be. `fix` removes it; it will be asked again.

        diskcache's own `check` looks for values in files, which there are none of, and with `fix` it
        removes every other file in the directory.
        """
        problems = {key: problem for key, entry in self._rows(_entry) if (problem := _problem(key, entry))}
        if fix and problems:
            with self._usable(), self._index.transact():
                for key in problems:
                    # Look again: another process may have stored a good answer meanwhile.
                    entry = self._row(key, _entry)
                    if entry is not MISS and _problem(key, entry):
                        self._index.delete(key)
        return list(problems.values())

    def clear(self, doomed: Callable[[Entry], bool] | None = None) -> int:
        """Remove everything, or the entries of which `doomed` holds; how many is returned."""
        keys = [] if doomed is None else [key for key, entry in self.entries() if doomed(entry)]
        with self._usable(), self._index.transact():
            if doomed is None:
                return int(self._index.clear())
            return sum(self._index.delete(key) for key in keys)

    def _look_up[T](self, key: str, parse: Callable[[bytes, object], T]) -> T | Miss:
        try:
            payload, stored = self._index.get(key, tag=True)
            return MISS if payload is None else parse(payload, stored)
        except Unreadable as error:
            raise CorruptEntry(key, str(error)) from error
        except sqlite3.Error as error:
            if "decode to UTF-8" in str(error):
                raise CorruptEntry(key, "it holds text that is not UTF-8") from error
            raise unusable(self._directory, error) from error

    def _row[T](self, key: str | BadKey, parse: Callable[[bytes, object], T]) -> T | Miss | CorruptEntry:
        if isinstance(key, BadKey):
            return CorruptEntry(str(key), key.reason)
        try:
            return self._look_up(key, parse)
        except CorruptEntry as error:
            return error

    def _rows[T](
        self, parse: Callable[[bytes, object], T]
    ) -> Iterator[tuple[str | BadKey, T | CorruptEntry]]:
        """Every row as far as it can be read, in the order of storing, one in memory at a time."""
        with self._usable():
            for key in self._index:
                row = self._row(key, parse)
                if row is not MISS:
                    yield key, row

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        # No number of a row follows the last one that there can be.
        except (sqlite3.Error, OSError, diskcache.Timeout, OverflowError) as error:
            raise unusable(self._directory, error) from error


def _open(directory: Path) -> Index:
    """diskcache's index in `directory`, made for this user alone where it is new."""
    if os.path.expandvars(directory) != str(directory):  # diskcache would expand it, and go elsewhere
        raise CacheError(f"the cache directory {directory} holds the name of a variable")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = directory / DBNAME
        if not path.exists():
            path.touch(mode=0o600)  # before the journal exists, which takes its mode from this file
        elif not os.access(directory, os.W_OK, effective_ids=True):
            return ReadOnly(str(directory))
        return Index(str(directory), BUSY_SECONDS)
    except (OSError, sqlite3.Error, diskcache.Timeout) as error:
        raise unusable(directory, error) from error
    except (TypeError, AttributeError) as error:  # the name of a setting is no text
        raise CacheError(f"the settings of the cache in {directory} were tampered with") from error


def _problem(key: str | BadKey, entry: Entry | CorruptEntry) -> CorruptEntry | None:
    if isinstance(entry, CorruptEntry):
        return entry
    try:
        wrong = None if digest(entry.asked) == key else "its key is not the digest of what was asked"
    except CacheError as error:
        wrong = str(error)
    return CorruptEntry(str(key), wrong) if wrong else None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _entry(payload: bytes, stored: object) -> Entry:
    """The entry that `put` spelled as `payload`."""
    value = _parsed(payload)
    if type(value) is not dict or value.keys() != {"asked", "answer"}:
        raise Unreadable("it is JSON, but not an answer")
    return Entry(value["asked"], value["answer"], _time(payload, stored))


def _time(payload: bytes, stored: object) -> float:
    if type(stored) is not float:
        raise Unreadable("it does not say when it was stored")
    return stored


def _answer(payload: bytes, stored: object, spelled: bytes) -> Json:
    """The answer in a payload, if it answers what is `spelled` so: keys are sorted, so it stands in front."""
    before, after = b'{"answer":', b',"asked":%b}' % spelled
    if not payload.startswith(before) or not payload.endswith(after) or type(stored) is not float:
        raise Unreadable("it does not answer what its key stands for")
    return _parsed(payload[len(before) : -len(after)])


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
