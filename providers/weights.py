"""Digests of weight files, so that a cache key knows which weights answered.

Files of many gigabytes are read once: the digest is remembered in a small JSON file by path, size
and times, and a file that has changed in any of them is read again. A file that was changed a moment
ago is not remembered: it could change once more within one tick of its clock.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from providers.errors import ModelNotFound, Unusable

type FileDigest = Callable[[Path], str]  # all that an engine needs: SHA-256 in hexadecimal, as `Digests.of`

_SETTLED = 2_000_000_000  # ns: the coarsest clock of a file system in use ticks every two seconds


class Digests:
    """SHA-256 of files in hexadecimal, remembered in the file `memory`, or only in this object without one.

    A memory that is lost, torn or cannot be written costs time and nothing else.
    May be used from several threads and by several processes.
    """

    def __init__(self, memory: Path | None = None, clock: Callable[[], int] = time.time_ns) -> None:
        self._memory = memory
        self._clock = clock  # ns since the epoch
        self._lock = threading.Lock()
        self._known: dict[str, list[int | str]] = {}

    def of(self, path: Path) -> str:
        """The digest of one file; seconds for each gigabyte, the first time.

        Raises `ModelNotFound`, or `Unusable` when it cannot be read or changes meanwhile.
        """
        try:
            return self._of(path.resolve())
        except (FileNotFoundError, IsADirectoryError):
            raise ModelNotFound(f"There is no file {path}.") from None
        except OSError as error:
            raise Unusable(f"{path} cannot be read: {error.strerror or error}.") from None

    def _of(self, path: Path) -> str:
        with path.open("rb") as file:
            stamp = _stamp(file.fileno())
            with self._lock:
                if str(path) not in self._known:
                    self._known = self._stored() | self._known
                remembered = self._known.get(str(path))
            if remembered and remembered[:-1] == stamp:
                return str(remembered[-1])
            started = self._clock()
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if _stamp(file.fileno()) != stamp:
                raise Unusable(f"{path} changed while it was read: wait until it is written, then try again.")
        if max(stamp[1:]) + _SETTLED < started:
            with self._lock:
                # Another process may have added to the file since we read it.
                self._known = self._stored() | self._known | {str(path): [*stamp, digest]}
                if self._memory is not None:
                    with suppress(OSError):
                        _replace(self._memory, json.dumps(self._known, indent=1, sort_keys=True))
        return digest

    def _stored(self) -> dict[str, list[int | str]]:
        stored: object = None
        with suppress(OSError, ValueError):
            stored = json.loads(self._memory.read_text("utf-8")) if self._memory else None
        entries = stored.items() if isinstance(stored, dict) else ()
        return {name: entry for name, entry in entries if isinstance(entry, list) and len(entry) == 4}


def combined(digests: Mapping[str, str]) -> str:
    """One digest for several files, given as name to digest; their order makes no difference."""
    return hashlib.sha256(json.dumps(dict(digests), sort_keys=True).encode()).hexdigest()


def _stamp(fd: int) -> list[int]:
    """Size and times of an open file. Its ctime shows also a copy that took over size and mtime."""
    stat = os.fstat(fd)
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.new")
    try:
        new.write_text(text, "utf-8")
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
