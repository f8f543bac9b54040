"""What a model is sent of a frame: the picture that the benchmark's own loop would show it.

What the environment's transform does is found out without decoding, so a picture that the cache
knows is never drawn, and not even read once its digest is known.
"""

from __future__ import annotations

import asyncio
import hashlib
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Self

from pbclient.errors import DataError, FrameError
from pbclient.images import encoding
from pbclient.images.digests import Digests, Known
from pbclient.images.encoding import Change, Recorder, RefusedError, Size, Transform, fitted, recorded
from pbclient.images.frames import FrameStore
from providers.types import EncodedImage, Json

# Part of every identity: raise it when other bytes are sent of the same source.
RULE = 1
KEPT_BYTES = 32 * 1024 * 1024
# Up to here reading and hashing take less of the event loop's time than a thread would.
INLINE_BYTES = 256 * 1024
# The size of nearly every picture stands in so many bytes from its start.
HEAD_BYTES = 8 * 1024
WORKERS = 2


class Pictures:
    """Opens the pictures of one data folder for one event loop, and keeps the last ones it encoded.

    A quarter of `kept_bytes` is for small ones that were read and are not yet encoded.
    """

    def __init__(
        self, frames: FrameStore, digests: Digests | None = None, *, kept_bytes: int = KEPT_BYTES
    ) -> None:
        self._frames = frames
        self._digests = digests or Digests(None)
        self._waiting = _Recent[str, bytes](kept_bytes // 4, len)
        # Once sent it holds its base64 text as well.
        self._encoded = _Recent[_Key, EncodedImage](
            kept_bytes * 3 // 4, lambda image: len(image.data) * 7 // 3
        )
        self._header_size = cache(self._measured)
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="pictures")
        # Pillow warns of large and odd files; both are dealt with here, and `catch_warnings` is
        # not safe in threads.
        warnings.filterwarnings("ignore", module=r"PIL\.")

    async def open(self, relative: str, transform: Transform, edge: int | None = None) -> Picture:
        """The picture at a path as the environment's state gives it. Raises `FrameError`.

        One with a longer edge than `edge` pixels will be shrunk until it has none.
        """
        stamp = self._frames.stamp(relative)
        stored = None if stamp is None else self._digests.get(stamp)
        known = stored or Known(await self._hashed(relative))

        def measure() -> Size:
            data = self._waiting.get(known.digest)
            return known.size or (self._measured(relative) if data is None else encoding.picture_size(data))

        recorder = Recorder(measure)
        try:
            change = recorded(recorder, transform)
            fit = None if edge is None else fitted(recorder.size if change is None else change.size, edge)
        except Exception as error:
            raise _named(relative, error) from error
        if recorder.looked and known.size is None:
            known = known._replace(size=recorder.looked)
        # Kept if the frame stayed the same meanwhile.
        keeps = known is not stored and stamp is not None and self._digests.keeps(stamp)
        if keeps and stamp is not None and stamp == self._frames.stamp(relative):
            self._digests.put(stamp, known)
        return Picture(self, relative, transform, known.digest, change, fit)

    async def encode(self, picture: Picture) -> EncodedImage:
        """The bytes to send; equal pictures are encoded once while they are kept."""
        key = (picture.digest, picture.change, picture.fit)
        encoded = self._encoded.get(key)
        if encoded is None:
            data = self._waiting.take(picture.digest)
            encoded = self._as_it_is(picture, data)
            if encoded is None:
                loop = asyncio.get_running_loop()
                encoded = await loop.run_in_executor(self._pool, self._encode, picture, data)
            self._encoded.put(key, encoded)
        return encoded

    def size(self, relative: str, transform: Transform) -> Size:
        """Width and height of what would be sent, from the file's header at most. Raises `FrameError`."""
        recorder = Recorder(lambda: self._header_size(relative))
        try:
            change = recorded(recorder, transform)
            return recorder.size if change is None else change.size
        except Exception as error:
            raise _named(relative, error) from error

    def close(self) -> None:
        """End the threads; what they have not begun is dropped."""
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _measured(self, relative: str) -> Size:
        try:
            return encoding.picture_size(self._frames.head(relative, HEAD_BYTES))
        except Exception:
            # Long metadata may stand before the size.
            return encoding.picture_size(self._frames.read(relative))

    async def _hashed(self, relative: str) -> str:
        data = self._frames.read_at_once(relative, INLINE_BYTES)
        if data is None:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, lambda: _sha256(self._frames.read(relative)))
        digest = _sha256(data)
        self._waiting.put(digest, data)
        return digest

    def _as_it_is(self, picture: Picture, data: bytes | None) -> EncodedImage | None:
        """A small picture that is sent as it is, undecoded; None leaves it to a thread."""
        if picture.change is not None or picture.fit is not None:
            return None
        if data is None:
            data = self._frames.read_at_once(picture.relative, INLINE_BYTES)
            if data is None:
                return None
            stamp = self._frames.stamp(picture.relative)
            known = None if stamp is None else self._digests.get(stamp)
            if picture.digest != (known.digest if known else _sha256(data)):
                raise _changed(picture)
        size = encoding.ordinary_size(data)
        return None if size is None else EncodedImage("image/jpeg", data, *size)

    def _encode(self, picture: Picture, data: bytes | None) -> EncodedImage:
        if data is None:
            # The bytes of thousands of pictures that wait for their turn are not kept.
            data = self._frames.read(picture.relative)
            if picture.digest != _sha256(data):
                raise _changed(picture)
        try:
            return encoding.encode(data, None if picture.change is None else picture.transform, picture.fit)
        except Exception as error:
            raise _named(picture.relative, error) from error


# Not frozen: that takes a microsecond more, at every hit.
@dataclass(slots=True, eq=False)
class Picture:
    """An image of the providers' seam. `digest` is of the source bytes; `change` is None for none.

    `fit` is the size to which it is shrunk after that, because the provider takes no larger one.
    """

    pictures: Pictures
    relative: str
    transform: Transform
    digest: str
    change: Change | None
    fit: Size | None = None

    @property
    def identity(self) -> Mapping[str, Json]:
        """What is sent, said without decoding it."""
        identity: dict[str, Json] = {"sha256": self.digest, "as": RULE}
        if self.change is not None:
            identity[self.change.name] = list(self.change.numbers)
        if self.fit is not None:
            identity["fit"] = list(self.fit)
        return identity

    async def encode(self) -> EncodedImage:
        """The bytes to send. Raises `FrameError`."""
        return await self.pictures.encode(self)


def _changed(picture: Picture) -> FrameError:
    return FrameError(f"The frame {picture.relative!r} has changed since the run began: run it again.")


type _Key = tuple[str, Change | None, Size | None]


class _Recent[Key, Value]:
    """The values last put in or looked at, up to so many bytes; for one thread."""

    def __init__(self, limit: int, weight: Callable[[Value], int]) -> None:
        self._limit = limit
        self._weight = weight
        self._total = 0
        self._items: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        value = self._items.get(key)
        if value is not None:
            self._items.move_to_end(key)
        return value

    def take(self, key: Key) -> Value | None:
        """A value, which leaves."""
        value = self._items.pop(key, None)
        if value is not None:
            self._total -= self._weight(value)
        return value

    def put(self, key: Key, value: Value) -> None:
        if key in self._items:
            return
        self._items[key] = value
        self._total += self._weight(value)
        while self._total > self._limit:
            self._total -= self._weight(self._items.popitem(last=False)[1])


def _named(relative: str, error: Exception) -> FrameError:
    """What went wrong with a picture, with its name."""
    if isinstance(error, RefusedError):
        return FrameError(f"The frame {relative!r} {error}.")
    if isinstance(error, (FrameError, DataError)):
        return FrameError(str(error))  # of the file, which has said all there is to say
    # Pillow raises nearly anything on broken files.
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return FrameError(f"The frame {relative!r} is no whole picture ({reason}): download it again.")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
