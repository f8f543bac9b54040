"""What a transform does to a picture, found out without decoding; and the bytes that show the result.

They are its own where all decoders see the same in them, else a new PNG.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

from providers.types import EncodedImage

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

type Transform = Callable[[Any], Any]
type Size = tuple[int, int]

MAX_PIXELS = 50_000_000
_TOO_MANY = f"would be shown with more than {MAX_PIXELS:,} pixels: replace it by a smaller one"
_UNKNOWN = "unknown here: install proactivebench 0.1.1"
# Raster formats whose plugins run no program and fetch no file; that of JPEG opens MPO too.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
_MEDIA_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}
_ORIENTATION = 0x0112
_UPRIGHT = 1
# JPEG: its first and last bytes; EXIF and XMP; the pixels; markers without a length; the first with one,
# and padding.
_START, _END = b"\xff\xd8", b"\xff\xd9"
_APP1, _START_OF_SCAN, _BARE = 0xE1, 0xDA, range(0xD0, 0xDA)
_FIRST, _PADDING = 0xC0, 0xFF


class RefusedError(Exception):
    """Why a picture is not shown, to be said after its name."""


@dataclass(frozen=True, slots=True)
class Change:
    """The one thing that a transform does to a picture, in whole pixels."""

    name: Literal["crop", "resize"]
    numbers: tuple[int, ...]
    size: Size


class Recorder:
    """Stands in for a picture and notes what a transform does to it.

    `looked` is its size once somebody asked for it: it is measured only then.
    """

    __slots__ = ("_measure", "looked")

    def __init__(self, measure: Callable[[], Size]) -> None:
        self._measure = measure
        self.looked: Size | None = None

    @property
    def size(self) -> Size:
        self.looked = self.looked or self._measure()
        return self.looked

    def crop(self, box: Sequence[float]) -> Change:
        left, top, right, bottom = box
        if not all(map(math.isfinite, box)) or right < left or bottom < top:
            raise RefusedError(f"cannot be cropped to {tuple(box)}: mend the row")
        # As Pillow rounds, so that equal crops have equal identities.
        edges = (round(left), round(top), round(right), round(bottom))
        return Change("crop", edges, checked_size((edges[2] - edges[0], edges[3] - edges[1])))

    def resize(self, size: Sequence[int]) -> Change:
        width, height = size
        return Change("resize", (width, height), checked_size((width, height)))

    def __getattr__(self, name: str) -> Any:
        raise RefusedError(f"is changed by {name!r}, which is {_UNKNOWN}")


def recorded(recorder: Recorder, transform: Transform) -> Change | None:
    """What the transform does; None for nothing. Raises `RefusedError` for what is not known here."""
    result = transform(recorder)
    if result is recorder:
        return None
    if isinstance(result, Change):
        return result
    raise RefusedError(f"is changed in a way that is {_UNKNOWN}")


def fitted(size: Size, edge: int) -> Size | None:
    """The largest size of these proportions with no edge longer than `edge`; None when it is this one."""
    longest = max(size)
    if longest <= edge:
        return None
    return max(1, size[0] * edge // longest), max(1, size[1] * edge // longest)


def checked_size(size: Size) -> Size:
    """The size, if a picture may be shown with it. Raises `RefusedError`."""
    if min(size) < 1:
        raise RefusedError(f"would be cut to {size[0]} x {size[1]} pixels: mend the row")
    if size[0] * size[1] > MAX_PIXELS:
        raise RefusedError(_TOO_MANY)
    return size


def picture_size(data: bytes) -> Size:
    """Width and height in pixels, from the header. Raises `RefusedError`, or whatever Pillow raises."""
    with _opened(data) as image:
        return image.size


def ordinary_size(data: bytes) -> Size | None:
    """Width and height of a JPEG that can be sent as it is; None where decoding it has to tell.

    Told from its header (one picture, grey or of three colours, with nothing that might turn it)
    and its last bytes, which a file that was cut off lacks. A file that is broken in between goes to
    the provider as it is: libjpeg shows most of those without complaint, too.
    """
    if not (data.startswith(_START) and data.endswith(_END)):
        return None
    try:
        with _opened(data) as image:
            is_plain = image.format == "JPEG" and image.mode in ("RGB", "L")
            return image.size if is_plain and image.info.keys().isdisjoint(("exif", "xmp")) else None
    except Exception:
        return None  # decoding will say what is wrong


def encode(data: bytes, transform: Transform | None, fit: Size | None) -> EncodedImage:
    """The picture to send: transformed, then shrunk to `fit`. Raises as `picture_size`.

    The benchmark looks at `transform(Image.open(path).convert("RGB"))`, and so does the model.
    """
    if transform is None and fit is None:
        with _opened(data) as image:
            size, untouched = image.size, _untouched(image, data)
        if untouched is not None:
            return EncodedImage(*untouched, *size)
    from PIL.Image import Resampling

    with _opened(data) as image:
        shown: Image = image.convert("RGB")
        if transform is not None:
            shown = transform(shown)
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
        raise RefusedError(f"is no picture in a format known here ({', '.join(_FORMATS)})") from None
    except Image.DecompressionBombError:
        raise RefusedError(_TOO_MANY) from None
    checked_size(image.size)
    return image


def _untouched(image: ImageFile, data: bytes) -> tuple[str, bytes] | None:
    """Media type and bytes, when anyone who decodes them sees what the benchmark sees; else None.

    That is so with one frame, eight bits a channel and nothing transparent, the right way up.
    """
    media_type = _MEDIA_TYPES.get(image.format or "")
    modes = ("RGB", "L", "P") if image.format == "PNG" else ("RGB", "L")
    # Pillow shows sixteen bits a channel as eight, and others round otherwise.
    deep = image.format == "PNG" and (data[12:16] != b"IHDR" or data[24] > 8)
    still = not getattr(image, "is_animated", False)
    if media_type is None or image.mode not in modes or deep or not still or "transparency" in image.info:
        return None
    if _upright(image):
        return media_type, data
    turned = _without_metadata(data) if image.format == "JPEG" else None
    return (media_type, turned) if turned else None


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
    segments = [data[:2]]
    at = 2
    while data[at : at + 1] == b"\xff" and at + 4 <= len(data):
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if marker == _START_OF_SCAN:
            return b"".join([*segments, data[at:]])
        if not _FIRST <= marker < _PADDING or marker in _BARE:
            return None
        if marker != _APP1:
            segments.append(data[at : at + 2 + length])
        at += 2 + length
    return None
