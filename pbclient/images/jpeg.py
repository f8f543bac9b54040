"""Whether a JPEG is whole and ordinary, told without decoding it.

Ordinary is what cameras and libraries write by default: one baseline scan (ITU-T T.81, annex B), eight
bits, grey or three colours, no EXIF, XMP or second picture. Of such a file libjpeg refuses only
what is looked at here (headers, tables, a missing end), and whatever stands between the headers and
the end it shows without complaint. About all other files nothing is said: they have to be decoded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

_START, _END = b"\xff\xd8", 0xD9
_FRAME, _TABLES, _QUANTIZERS, _SCAN = 0xC0, 0xC4, 0xDB, 0xDA
# What may stand in front of the pixels, how it begins and how long it is at least and at most: these, and
# JFIF, a colour profile, Adobe's word on colours, a comment, the interval of restarts.
_LONGEST = 0xFFFF - 2
_KNOWN = {
    **dict.fromkeys((_FRAME, _TABLES, _QUANTIZERS, _SCAN), (b"", 0, _LONGEST)),
    0xE0: (b"JFIF\0", 14, _LONGEST),
    0xE2: (b"ICC_PROFILE\0", 14, _LONGEST),
    0xEE: (b"Adobe", 12, _LONGEST),
    0xFE: (b"", 0, _LONGEST),
    0xDD: (b"", 2, 2),
}
# A marker among the coded pixels; 0 escapes, 0xD0 to 0xD7 restart, 0xFF fills.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_MOST_BLOCKS, _LONGEST_EDGE = 10, 65_500  # of libjpeg


def ordinary_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of a whole and ordinary JPEG; None where decoding has to tell."""
    try:
        segments, scan = _headers(data)
        (frame,), (selected,) = segments[_FRAME], segments[_SCAN]
        size = _size(frame)
        tables = tuple(segments[_QUANTIZERS]), tuple(segments[_TABLES])
        is_sound = _is_sound(frame[:1] + frame[5:], selected, *tables) and _ends_once(data, scan)
        return size if is_sound else None
    except (ValueError, KeyError, IndexError):
        return None


def _headers(data: bytes) -> tuple[Mapping[int, list[bytes]], int]:
    """All segments up to the scan's by their kind, and where the coded pixels begin."""
    if data[:2] != _START:
        raise ValueError("no JPEG")
    segments: dict[int, list[bytes]] = {}
    kind, end = 0, 2
    while kind != _SCAN:
        marker, kind, high, low = data[end : end + 4]
        start, end = end + 4, end + 2 + (high << 8 | low)
        begins, least, most = _KNOWN[kind]
        body = data[start:end]
        is_whole = marker == 0xFF and len(body) == end - start
        if not (is_whole and least <= len(body) <= most and body.startswith(begins)):
            raise ValueError("not ordinary")
        segments.setdefault(kind, []).append(body)
    return segments, end


def _size(frame: bytes) -> tuple[int, int]:
    height, width = int.from_bytes(frame[1:3]), int.from_bytes(frame[3:5])
    if not (0 < width <= _LONGEST_EDGE and 0 < height <= _LONGEST_EDGE):
        raise ValueError("not ordinary")
    return width, height


# Pictures of one origin differ in their size only.
@lru_cache(64)
def _is_sound(shape: bytes, selected: bytes, quantizers: tuple[bytes, ...], codes: tuple[bytes, ...]) -> bool:
    """Whether the headers are in order; `shape` is what the frame says besides its size."""
    return _is_known(shape) and _refers_to(shape, selected, set(_quantizers(quantizers)), set(_codes(codes)))


def _is_known(shape: bytes) -> bool:
    precision, components = shape[:2]
    is_known = precision == 8 and components in (1, 3) and len(shape) == 2 + 3 * components
    return is_known and _is_sampled_evenly([divmod(factors, 16) for factors in shape[3::3]])


def _is_sampled_evenly(factors: list[tuple[int, int]]) -> bool:
    if not all(1 <= each <= 4 for pair in factors for each in pair):
        return False
    across, down = (max(each) for each in zip(*factors, strict=True))
    return sum(a * d for a, d in factors) <= _MOST_BLOCKS and not any(
        across % a or down % d for a, d in factors
    )


def _quantizers(bodies: Iterable[bytes]) -> Iterator[int]:
    """The numbers of the quantization tables of eight bits."""
    for body in bodies:
        if not body or len(body) % 65 or max(body[::65]) > 3:
            raise ValueError("not ordinary")
        yield from body[::65]


def _codes(bodies: Iterable[bytes]) -> Iterator[int]:
    """The numbers of the Huffman tables; those of the alternating parts are 16 higher."""
    for body in bodies:
        while body:
            number, counts = body[0], body[1:17]
            values = body[17 : 17 + sum(counts)]
            used = sum(count << (16 - length) for length, count in enumerate(counts, start=1))
            # No code consists of ones alone, so that never all of them are used.
            is_whole = len(counts) == 16 and len(values) == sum(counts) <= 256 and used < 1 << 16
            # The values of the steady parts are numbers of bits.
            if not is_whole or number & 0xEC or (number < 16 and max(values, default=0) > 15):
                raise ValueError("not ordinary")
            yield number
            body = body[17 + len(values) :]


def _refers_to(shape: bytes, selected: bytes, quantizers: set[int], codes: set[int]) -> bool:
    """Whether the one scan holds all components, and all that these name is there."""
    names, count = list(shape[2::3]), shape[1]
    tables = [number for each in selected[2 : 1 + 2 * count : 2] for number in (each >> 4, 16 + (each & 15))]
    return (
        len(set(names)) == count
        and selected[0] == count
        and list(selected[1 : 1 + 2 * count : 2]) == names
        and selected[1 + 2 * count :] == b"\x00\x3f\x00"
        and quantizers.issuperset(shape[4::3])
        and codes.issuperset(tables)
    )


def _ends_once(data: bytes, scan: int) -> bool:
    """Whether the coded pixels are followed by the end, and the end by nothing."""
    marker = _MARKER.search(data, scan)
    return marker is not None and data[marker.start() + 1] == _END and marker.end() == len(data)
