"""What can go wrong with the cache, named by what the caller should do about it.

Nothing in here is ever an answer: a broken entry is an error, not a miss.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path


class CacheError(Exception):
    """The cache could not do what was asked. `str()` is one clear sentence."""


class CorruptEntry(CacheError):
    """The entry under `key` is not one that this cache wrote, or no longer what it wrote.

    Ask again, or let `Store.check` remove it.
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"the cache entry {key} is corrupt: {reason}")
        self.key = key
        self.reason = reason


def unusable(directory: Path, error: BaseException) -> CacheError:
    """The sentence for a directory that fails us, with what lies at the bottom of `error`."""
    # SQLite's own word hides under the rollback that failed after it, and under diskcache's Timeout.
    while isinstance(error.__context__, sqlite3.Error):
        error = error.__context__
    if isinstance(error, FileExistsError):
        reason: str | None = "it is not a directory"
    else:
        reason = error.strerror if isinstance(error, OSError) else str(error)
    return CacheError(f"the cache directory {directory} cannot be used: {reason or type(error).__name__}")
