"""A connection for each thread that reads, since none may be shared by two at a time.

A connection lives as long as its thread, or until `close`. One made before a fork stays the
parent's: the child makes its own. What is read is the caller's business.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable


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
