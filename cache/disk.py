"""How a row is spelled: compressed JSON under a text key, and nothing else.

diskcache asks this class for every value and key that it writes or reads. Rows are untrusted:
every method of diskcache's that can unpickle, open or remove a file is replaced. What the JSON
says, and when it is written, is `cache.store`'s business.
"""

from __future__ import annotations

import zlib
from typing import NoReturn

import diskcache

from cache.errors import CacheError

# diskcache's own modes are 0 to 4; 4 is pickle. A mode of our own is read by nothing else.
MODE_JSON = 74
MAX_KEY = 128
# JSON grows some twentyfold when it is read, so this is what one entry may cost in memory, divided by 20.
MAX_VALUE = 16 * 2**20
# Up to here a value is packed without being squeezed: a page is read anyway, and inflating it takes
# longer than reading.
SMALL = 4096
# What does not compress grows a little.
MAX_ROW = MAX_VALUE + 2**20
# diskcache moves larger values into files of their own: ours all stay in their rows.
NEVER_A_FILE = 2**62


class Unreadable(Exception):
    """A row that this cache did not write; the text says what is wrong with it."""


class Disk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """What diskcache asks how a row is spelled. Neither writes pickle nor reads it.

    Every method of diskcache's that can unpickle, open or remove a file is replaced.
    """

    def __init__(self, directory: str, **_settings: object) -> None:
        # What the file's Settings table says of a disk does not count.
        super().__init__(directory, min_file_size=NEVER_A_FILE)

    def put(self, key: object) -> tuple[str, bool]:
        return checked(key), True

    def get(self, key: object, raw: object) -> str:
        return key_in(key, raw)

    def store(
        self, value: bytes, read: bool, key: object = diskcache.UNKNOWN
    ) -> tuple[int, int, None, bytes]:
        if type(value) is not bytes or read:
            raise CacheError("a cache value is JSON, encoded")
        mode, packed_value = packed(value)
        return 0, mode, None, packed_value

    def fetch(self, mode: object, filename: object, value: object, read: bool) -> bytes:
        return unpacked(mode, filename is not None or read, value)

    def filename(self, key: object = None, value: object = None) -> NoReturn:
        raise CacheError("this cache keeps no files")

    def remove(self, file_path: object) -> None:
        # diskcache calls this with the file name of a row that is overwritten; only a row that
        # somebody planted has one, and it may lead anywhere.
        pass


def checked(key: object) -> str:
    """A key that may be looked for. Raises `CacheError` for what is none."""
    if type(key) is not str or not key.isascii() or not 0 < len(key) <= MAX_KEY:
        raise CacheError(f"a cache key is 1 to {MAX_KEY} ASCII characters, not {key!r:.60}")
    return key


def key_in(key: object, raw: object) -> str:
    """The key of a row."""
    if raw != 1 or type(key) is not str:
        raise Unreadable("its key is not text")
    return key


def packed(value: bytes) -> tuple[int, bytes]:
    """The mode of a row and what stands in it."""
    return MODE_JSON, zlib.compress(value, 1 if len(value) > SMALL else 0)


def unpacked(mode: object, is_elsewhere: object, value: object) -> bytes:
    """What stands in a row, unless it is another's or its value is said to be in a file."""
    if mode != MODE_JSON or is_elsewhere or type(value) is not bytes:
        raise Unreadable("it is not compressed JSON in a row of its own")
    return decompress(value)


def decompress(value: bytes) -> bytes:
    """Undo zlib, up to `MAX_VALUE`: a few kilobytes may claim to be gigabytes."""
    inflater = zlib.decompressobj()
    try:
        payload = inflater.decompress(value, MAX_VALUE + 1)
    except zlib.error as error:
        raise Unreadable(f"it cannot be decompressed: {error}") from error
    if len(payload) > MAX_VALUE or not inflater.eof or inflater.unused_data:
        raise Unreadable("it is cut off, too large or followed by something else")
    return payload
