"""What a model is sent of a frame: the picture that the benchmark's own loop would show it.

That loop shows `transform(Image.open(path).convert("RGB"))`. Where providers would show the same
from the source bytes, those are sent as they are; everything else is drawn again, without loss.
What the environment's transform does is found out without decoding, so a picture that the cache
knows is read and hashed, never drawn. Where frames lie is `pbclient/images/frames.py`'s business.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal, Self

from pbclient.errors import DataError, FrameError
from pbclient.images.digests import Digests, Known, Stamp
from pbclient.images.frames import FrameStore
from pbclient.images.jpeg import ordinary_size
from providers.types import EncodedImage, Json

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile


type Transform = Callable[[Any], Any]

# Part of every identity: raise it when other bytes are sent of the same source.
RULE = 1
MAX_PIXELS = 50_000_000
KEPT_BYTES = 32 * 1024 * 1024
# Up to here reading and hashing take less of the event loop's time than a thread would.
INLINE_BYTES = 256 * 1024
# The size of nearly every picture stands in so many bytes from its start.
HEAD_BYTES = 8 * 1024
WORKERS = 2

# Raster formats whose plugins run no program and fetch no file; that of JPEG opens MPO too.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
_MEDIA_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}
_ORIENTATION = 0x0112
_UPRIGHT = 1
# JPEG: EXIF and XMP; the pixels; markers without a length; the first with one, and padding.
_APP1, _START_OF_SCAN, _BARE = 0xE1, 0xDA, range(0xD0, 0xDA)
_FIRST, _PADDING = 0xC0, 0xFF
_TOO_MANY = f"would be shown with more than {MAX_PIXELS:,} pixels: replace it by a smaller one"


class Pictures:
    """Opens the pictures of one data folder for one event loop, and keeps the last ones it encoded.

    A quarter of `kept_bytes` is for small ones that were read and are not yet encoded.
    """

    def __init__(
        self, frames: FrameStore, digests: Digests | None = None, *, kept_bytes: int = KEPT_BYTES
    ) -> None:
        self._frames = frames
        self._digests = digests or Digests(None)
        self._waiting = _Kept[str, bytes](kept_bytes // 4, len)
        self._kept = _Kept[_Key, EncodedImage](kept_bytes * 3 // 4, _weight)
        self._sizes: dict[str, tuple[int, int]] = {}
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="pictures")
        # Pillow warns of large and odd files; both are dealt with here, and `catch_warnings` is
        # not safe in threads.
        warnings.filterwarnings("ignore", module=r"PIL\.")

    async def open(self, relative: str, transform: Transform, edge: int | None = None) -> Picture:
        """The picture at a path as the environment's state gives it. Raises `FrameError`.

        One with a longer edge than `edge` pixels will be shrunk until it has none.
        """
        stamp = self._frames.stamp(relative)
        found = None if stamp is None else self._digests.get(stamp)
        known = found or Known(await self._hashed(relative))
        recorder = _Recorder(lambda: known.size or self._size_of(relative, known.digest))
        try:
            change = _recorded(recorder, transform)
            fit = None if edge is None else fitted(recorder.size if change is None else change.size, edge)
        except Exception as error:
            raise _named(relative, error) from error
        if recorder.looked and known.size is None:
            known = known._replace(size=recorder.looked)
        if known is not found:
            self._remember(relative, stamp, known)
        return Picture(self, relative, transform, known.digest, change, fit)

    async def encode(self, picture: Picture) -> EncodedImage:
        """The bytes to send; equal pictures are encoded once while they are kept."""
        key = (picture.digest, picture.change, picture.fit)
        encoded = self._kept.get(key)
        if encoded is None:
            data = self._waiting.take(picture.digest)
            encoded = self._as_it_is(picture, data)
            if encoded is None:
                loop = asyncio.get_running_loop()
                encoded = await loop.run_in_executor(self._pool, self._encoded, picture, data)
            self._kept.put(key, encoded)
        return encoded

    def size(self, relative: str, transform: Transform) -> tuple[int, int]:
        """Width and height of what would be sent, from the file's header at most. Raises `FrameError`."""
        recorder = _Recorder(lambda: self._whole_size(relative))
        try:
            change = _recorded(recorder, transform)
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

    def _whole_size(self, relative: str) -> tuple[int, int]:
        if relative not in self._sizes:
            self._sizes[relative] = self._measured(relative)
        return self._sizes[relative]

    def _size_of(self, relative: str, digest: str) -> tuple[int, int]:
        data = self._waiting.get(digest)
        if data is None:
            return self._measured(relative)
        size = ordinary_size(data)
        return _size(data) if size is None else _checked(size)

    def _measured(self, relative: str) -> tuple[int, int]:
        try:
            return _size(self._frames.head(relative, HEAD_BYTES))
        except Exception:
            # Long metadata may stand before the size.
            return _size(self._frames.read(relative))

    async def _hashed(self, relative: str) -> str:
        data = self._frames.read_at_once(relative, INLINE_BYTES)
        if data is None:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._digest, relative)
        digest = _sha256(data)
        self._waiting.put(digest, data)
        return digest

    def _digest(self, relative: str) -> str:
        return _sha256(self._frames.read(relative))

    def _remember(self, relative: str, stamp: Stamp | None, known: Known) -> None:
        """What was found out of a frame, if it stayed the same meanwhile."""
        if stamp is not None and self._digests.keeps(stamp) and stamp == self._frames.stamp(relative):
            self._digests.put(stamp, known)

    def _as_it_is(self, picture: Picture, data: bytes | None) -> EncodedImage | None:
        """A small picture that is sent as it is, undecoded; None leaves it to a thread."""
        if picture.change is not None or picture.fit is not None:
            return None
        if data is None:
            data = self._again(picture)
        size = None if data is None else ordinary_size(data)
        if data is None or size is None or size[0] * size[1] > MAX_PIXELS:
            return None
        return EncodedImage("image/jpeg", data, *size)

    def _again(self, picture: Picture) -> bytes | None:
        """The bytes of a small picture, which are those that it was opened with."""
        data = self._frames.read_at_once(picture.relative, INLINE_BYTES)
        if data is None:
            return None
        stamp = self._frames.stamp(picture.relative)
        known = None if stamp is None else self._digests.get(stamp)
        if picture.digest != (known.digest if known else _sha256(data)):
            raise _changed(picture)
        return data

    def _encoded(self, picture: Picture, data: bytes | None) -> EncodedImage:
        if data is None:
            # The bytes of thousands of pictures that wait for their turn are not kept.
            data = self._frames.read(picture.relative)
            if picture.digest != _sha256(data):
                raise _changed(picture)
        try:
            return _encode(data, picture.transform, picture.change, picture.fit)
        except Exception as error:
            raise _named(picture.relative, error) from error


@dataclass(frozen=True, slots=True)
class _Change:
    """The one thing that a transform does to a picture, in whole pixels."""

    name: Literal["crop", "resize"]
    numbers: tuple[int, ...]
    size: tuple[int, int]


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
    change: _Change | None
    fit: tuple[int, int] | None = None

    @property
    def identity(self) -> Mapping[str, Json]:
        """What is sent, said without decoding it."""
        said: dict[str, Json] = {"sha256": self.digest, "as": RULE}
        if self.change is not None:
            said[self.change.name] = list(self.change.numbers)
        if self.fit is not None:
            said["fit"] = list(self.fit)
        return said

    async def encode(self) -> EncodedImage:
        """The bytes to send. Raises `FrameError`."""
        return await self.pictures.encode(self)


def _changed(picture: Picture) -> FrameError:
    return FrameError(f"The frame {picture.relative!r} has changed since the run began: run it again.")


type _Key = tuple[str, _Change | None, tuple[int, int] | None]


class _Kept[Key, Value]:
    """The last values that were put in or looked at, up to so many bytes; for one thread."""

    def __init__(self, limit: int, weight: Callable[[Value], int]) -> None:
        self._limit = limit
        self._weight = weight
        self._total = 0
        self._items: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        found = self._items.get(key)
        if found is not None:
            self._items.move_to_end(key)
        return found

    def take(self, key: Key) -> Value | None:
        """A value that is kept no longer."""
        found = self._items.pop(key, None)
        if found is not None:
            self._total -= self._weight(found)
        return found

    def put(self, key: Key, value: Value) -> None:
        if key in self._items:
            return
        self._items[key] = value
        self._total += self._weight(value)
        while self._total > self._limit:
            self._total -= self._weight(self._items.popitem(last=False)[1])


def _weight(encoded: EncodedImage) -> int:
    # Once sent it holds its base64 text as well.
    return len(encoded.data) * 7 // 3


class _RefusedError(Exception):
    """Why a picture is not shown, to be said after its name."""


class _Recorder:
    """Stands in for a picture and notes what a transform does to it.

    `looked` is its size once somebody asked for it: it is measured only then.
    """

    __slots__ = ("_measure", "looked")

    def __init__(self, measure: Callable[[], tuple[int, int]]) -> None:
        self._measure = measure
        self.looked: tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        self.looked = self.looked or self._measure()
        return self.looked

    def crop(self, box: Sequence[float]) -> _Change:
        left, top, right, bottom = box
        if not all(map(math.isfinite, box)) or right < left or bottom < top:
            raise _RefusedError(f"cannot be cropped to {tuple(box)}: mend the row")
        # As Pillow rounds, so that equal crops have equal identities.
        edges = (round(left), round(top), round(right), round(bottom))
        return _Change("crop", edges, _checked((edges[2] - edges[0], edges[3] - edges[1])))

    def resize(self, size: Sequence[int]) -> _Change:
        width, height = size
        return _Change("resize", (width, height), _checked((width, height)))

    def __getattr__(self, name: str) -> Any:
        raise _RefusedError(f"is changed by {name!r}, which is unknown here: install proactivebench 0.1.1")


def _recorded(recorder: _Recorder, transform: Transform) -> _Change | None:
    result = transform(recorder)
    if result is recorder:
        return None
    if isinstance(result, _Change):
        return result
    raise _RefusedError("is changed in a way that is unknown here: install proactivebench 0.1.1")


def fitted(size: tuple[int, int], edge: int) -> tuple[int, int] | None:
    """The largest size of these proportions with no edge longer than `edge`; None when it is this one."""
    longest = max(size)
    if longest <= edge:
        return None
    width, height = (max(1, each * edge // longest) for each in size)
    return width, height


def _size(data: bytes) -> tuple[int, int]:
    with _opened(data) as image:
        return image.size


def _named(relative: str, error: Exception) -> FrameError:
    """What went wrong with a picture, with its name."""
    if isinstance(error, _RefusedError):
        return FrameError(f"The frame {relative!r} {error}.")
    if isinstance(error, (FrameError, DataError)):
        return FrameError(str(error))  # of the file, which has said all there is to say
    # Pillow raises nearly anything on broken files.
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return FrameError(f"The frame {relative!r} is no whole picture ({reason}): download it again.")


def _encode(
    data: bytes, transform: Transform, change: _Change | None, fit: tuple[int, int] | None
) -> EncodedImage:
    with _opened(data) as image:
        size = image.size
        untouched = _untouched(image, data) if change is None and fit is None else None
    if untouched is not None:
        return EncodedImage(*untouched, *size)
    from PIL.Image import Resampling

    with _opened(data) as image:
        shown: Image = transform(image.convert("RGB"))
        if fit is not None:
            shown = shown.resize(fit, Resampling.LANCZOS)
        # The benchmark looks at pixels only; a profile or a rotation left in would be applied by others.
        shown.info.clear()
        # PNG is lossless and every provider takes it. Level 1: five times as fast as the default, and
        # a tenth larger.
        buffer = BytesIO()
        shown.save(buffer, "PNG", compress_level=1)
        return EncodedImage("image/png", buffer.getvalue(), *shown.size)


def _opened(data: bytes) -> ImageFile:
    """The picture, its header read and its size checked, not yet decoded."""
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError:
        raise _RefusedError(f"is no picture in a format known here ({', '.join(_FORMATS)})") from None
    except Image.DecompressionBombError:
        raise _RefusedError(_TOO_MANY) from None
    _checked(image.size)
    return image


def _checked(size: tuple[int, int]) -> tuple[int, int]:
    if min(size) < 1:
        raise _RefusedError(f"would be cut to {size[0]} x {size[1]} pixels: mend the row")
    if size[0] * size[1] > MAX_PIXELS:
        raise _RefusedError(_TOO_MANY)
    return size


def _untouched(image: ImageFile, data: bytes) -> tuple[str, bytes] | None:
    """Media type and bytes, when anyone who decodes them sees what the benchmark sees; else None."""
    media_type = _MEDIA_TYPES.get(image.format or "")
    if media_type is None or not _plain(image, data):
        return None
    if _upright(image):
        return media_type, data
    turned = _without_metadata(data) if image.format == "JPEG" else None
    return (media_type, turned) if turned else None


def _plain(image: ImageFile, data: bytes) -> bool:
    """Whether there is one way to see it: one frame, eight bits a channel, nothing transparent."""
    modes = ("RGB", "L", "P") if image.format == "PNG" else ("RGB", "L")
    # Pillow shows sixteen bits a channel as eight, and others round otherwise.
    deep = image.format == "PNG" and (data[12:16] != b"IHDR" or data[24] > 8)
    still = not getattr(image, "is_animated", False)
    return image.mode in modes and still and not deep and "transparency" not in image.info


def _upright(image: ImageFile) -> bool:
    """Whether no metadata ask for a rotation, which the benchmark ignores and a provider may not.

    Decodes, to find broken pictures and what stands behind the pixels; a JPEG at an eighth of its size,
    which reads all of its data in a third of the time.
    """
    image.draft("L", (max(1, image.width // 8), max(1, image.height // 8)))
    image.load()
    try:
        return bool(image.getexif().get(_ORIENTATION, _UPRIGHT) == _UPRIGHT)
    except Exception:
        # What Pillow cannot read another may.
        return False


def _without_metadata(data: bytes) -> bytes | None:
    """A JPEG without its EXIF and XMP segments and otherwise the same; None where it is built oddly."""
    kept = [data[:2]]
    at = 2
    while data[at : at + 1] == b"\xff" and at + 4 <= len(data):
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if marker == _START_OF_SCAN:
            return b"".join([*kept, data[at:]])
        if not _FIRST <= marker < _PADDING or marker in _BARE:
            return None
        if marker != _APP1:
            kept.append(data[at : at + 2 + length])
        at += 2 + length
    return None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
