"""What a model is sent of a frame: the picture that the benchmark's own loop would show it.

That loop shows `transform(Image.open(path).convert("RGB"))`. Where providers would show the same
from the source bytes, those are sent as they are; everything else is drawn again, without loss.
What the environment's transform does is found out without decoding, so a picture that the cache
knows is read and hashed, never drawn. Where frames lie is `pbclient/frames.py`'s business.
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

from pbclient.digests import Digests, Known, Stamp
from pbclient.errors import FrameError
from pbclient.frames import FrameStore
from pbclient.jpeg import ordinary_size
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
    """Opens the pictures of one data folder for one event loop, and keeps the last ones it encoded."""

    def __init__(
        self, frames: FrameStore, digests: Digests | None = None, *, kept_bytes: int = KEPT_BYTES
    ) -> None:
        self._frames = frames
        self._digests = digests or Digests(None)
        self._kept = _Kept(kept_bytes)
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
        known = None if stamp is None else self._digests.get(stamp)
        if known is None:
            known = Known(await self._hashed(relative))
            self._remember(relative, stamp, known)
        recorder = _Recorder(lambda: known.size or self._measured(relative))
        change = _change(relative, recorder, transform)
        fit = None if edge is None else _fit(relative, recorder, change, edge)
        if recorder.looked is not None and known.size is None:
            self._remember(relative, stamp, known._replace(size=recorder.looked))
        return Picture(self, relative, transform, known.digest, change, fit)

    async def encode(self, picture: Picture) -> EncodedImage:
        """The bytes to send; equal pictures are encoded once while they are kept."""
        key = (picture.digest, picture.change, picture.fit)
        encoded = self._kept.get(key)
        if encoded is None:
            encoded = self._as_it_is(picture)
            if encoded is None:
                loop = asyncio.get_running_loop()
                encoded = await loop.run_in_executor(self._pool, self._encoded, picture)
            self._kept.put(key, encoded)
        return encoded

    def size(self, relative: str, transform: Transform) -> tuple[int, int]:
        """Width and height of what would be sent, from the file's header at most. Raises `FrameError`."""
        recorder = _Recorder(lambda: self._whole_size(relative))
        with _naming(relative):
            change = _recorded(recorder, transform)
            return recorder.size if change is None else change.size

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

    def _measured(self, relative: str) -> tuple[int, int]:
        try:
            return _size(self._frames.head(relative, HEAD_BYTES))
        except Exception:
            # Long metadata may stand before the size.
            return _size(self._frames.read(relative))

    async def _hashed(self, relative: str) -> str:
        found = self._frames.read_at_once(relative, INLINE_BYTES)
        if found is not None:
            return _sha256(found)
        loop = asyncio.get_running_loop()
        _, digest = await loop.run_in_executor(self._pool, self._read, relative)
        return digest

    def _remember(self, relative: str, stamp: Stamp | None, known: Known) -> None:
        """What was found out of a frame, if it stayed the same meanwhile."""
        if stamp is not None and stamp == self._frames.stamp(relative):
            self._digests.put(stamp, known)

    def _read(self, relative: str) -> tuple[bytes, str]:
        data = self._frames.read(relative)
        return data, _sha256(data)

    def _as_it_is(self, picture: Picture) -> EncodedImage | None:
        """A small picture that is sent as it is, undecoded; None leaves it to a thread."""
        if picture.change is not None or picture.fit is not None:
            return None
        data = self._frames.read_at_once(picture.relative, INLINE_BYTES)
        size = None if data is None else ordinary_size(data)
        if data is None or size is None or size[0] * size[1] > MAX_PIXELS:
            return None
        stamp = self._frames.stamp(picture.relative)
        known = None if stamp is None else self._digests.get(stamp)
        if picture.digest != (known.digest if known else _sha256(data)):
            raise _changed(picture)
        return EncodedImage("image/jpeg", data, *size)

    def _encoded(self, picture: Picture) -> EncodedImage:
        # Read again, because the bytes of thousands of pictures that wait for their turn are not kept.
        data, digest = self._read(picture.relative)
        if digest != picture.digest:
            raise _changed(picture)
        with _naming(picture.relative):
            return _encode(data, picture.transform, picture.change, picture.fit)


@dataclass(frozen=True, slots=True)
class _Change:
    """The one thing that a transform does to a picture, in whole pixels."""

    name: Literal["crop", "resize"]
    numbers: tuple[int, ...]
    size: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
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


class _Kept:
    """The last encoded pictures, up to so many bytes; for one thread."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._total = 0
        self._items: OrderedDict[_Key, EncodedImage] = OrderedDict()

    def get(self, key: _Key) -> EncodedImage | None:
        if key in self._items:
            self._items.move_to_end(key)
        return self._items.get(key)

    def put(self, key: _Key, encoded: EncodedImage) -> None:
        if key in self._items:
            return
        self._items[key] = encoded
        self._total += _weight(encoded)
        while self._total > self._limit:
            self._total -= _weight(self._items.popitem(last=False)[1])


def _weight(encoded: EncodedImage) -> int:
    # Once sent it holds its base64 text as well.
    return len(encoded.data) * 7 // 3


class _RefusedError(Exception):
    """Why a picture is not shown, to be said after its name."""


class _Recorder:
    """Stands in for a picture and notes what a transform does to it.

    `looked` is its size once somebody asked for it: it is measured only then.
    """

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


def _change(relative: str, recorder: _Recorder, transform: Transform) -> _Change | None:
    """What a transform does, found out without decoding."""
    with _naming(relative):
        return _recorded(recorder, transform)


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


def _fit(relative: str, recorder: _Recorder, change: _Change | None, edge: int) -> tuple[int, int] | None:
    with _naming(relative):
        return fitted(recorder.size if change is None else change.size, edge)


def _size(data: bytes) -> tuple[int, int]:
    with _opened(data) as image:
        return image.size


class _naming:  # noqa: N801 - used like a function
    """Everything that goes wrong with a picture in the block comes out as a `FrameError` that names it."""

    __slots__ = ("_relative",)

    def __init__(self, relative: str) -> None:
        self._relative = relative

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, _RefusedError):
            raise FrameError(f"The frame {self._relative!r} {error}.") from None
        if isinstance(error, Exception):
            # Pillow raises nearly anything on broken files.
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            message = f"The frame {self._relative!r} is no whole picture ({reason}): download it again."
            raise FrameError(message) from error


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
