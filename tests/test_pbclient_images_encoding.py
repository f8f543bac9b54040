"""Which JPEGs are sent as they are, told without decoding them."""

from __future__ import annotations

import os
import random
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pbclient.images.encoding import encode, ordinary_size
from providers.types import EncodedImage

PHOTOS = Path(os.path.dirname(skimage.data.__file__))


def picture(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    chance = random.Random(0)
    noise = Image.frombytes("RGB", size, chance.randbytes(size[0] * size[1] * 3))
    return Image.blend(noise, Image.new("RGB", size, "orange"), 0.6).convert(mode)


def jpeg(mode: str = "RGB", size: tuple[int, int] = (40, 30), **options: Any) -> bytes:
    buffer = BytesIO()
    picture(mode, size).save(buffer, "JPEG", **options)
    return buffer.getvalue()


ORDINARY: dict[str, dict[str, Any]] = {
    "as pillow writes them": {},
    "grey": {"mode": "L"},
    "fine": {"quality": 100, "subsampling": 0},
    "half the colours": {"subsampling": 1},
    "own tables": {"optimize": True},
    "progressive": {"progressive": True},
    "one pixel": {"size": (1, 1)},
    "odd edges": {"size": (17, 9)},
    "profile in parts": {"icc_profile": b"p" * 150_000},
    "comment": {"comment": b"made by hand"},
    "restarts": {"restart_marker_blocks": 2},
    "restarts and grey": {"restart_marker_rows": 1, "mode": "L"},
}
OTHERS: dict[str, dict[str, Any]] = {
    "turned": {"exif": Image.Exif()},
    "turned by xmp": {"xmp": b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'},
    "four colours": {"mode": "CMYK"},
}
OTHERS["turned"]["exif"][0x0112] = 6


@pytest.mark.parametrize("options", ORDINARY.values(), ids=ORDINARY)
def test_size_of_what_is_ordinary(options: dict[str, Any]) -> None:
    assert ordinary_size(jpeg(**options)) == options.get("size", (40, 30))


@pytest.mark.parametrize("options", OTHERS.values(), ids=OTHERS)
def test_nothing_is_said_of_others(options: dict[str, Any]) -> None:
    assert ordinary_size(jpeg(**options)) is None


def test_photographs() -> None:
    assert ordinary_size((PHOTOS / "rocket.jpg").read_bytes()) == (640, 427)
    # It has metadata, which might turn it.
    assert ordinary_size((PHOTOS / "hubble_deep_field.jpg").read_bytes()) is None


def test_two_pictures_in_one_file() -> None:
    buffer = BytesIO()
    picture().save(buffer, "MPO", save_all=True, append_images=[picture()])
    assert ordinary_size(buffer.getvalue()) is None


def test_no_other_format() -> None:
    for format in ("PNG", "GIF", "WEBP"):
        buffer = BytesIO()
        picture().save(buffer, format)
        assert ordinary_size(buffer.getvalue()) is None


@pytest.mark.parametrize("options", ORDINARY.values(), ids=ORDINARY)
def test_no_part_is_whole(options: dict[str, Any]) -> None:
    data = jpeg(**options)
    for length in range(0, len(data), max(1, len(data) // 500)):
        # Two passes of a progressive picture are no end either.
        assert ordinary_size(data[:length]) is None
    assert ordinary_size(data[:-1]) is None
    assert ordinary_size(data + b"\0") is None


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_what_is_ordinary_is_sent_alike_with_and_without_decoding(data: st.DataObject) -> None:
    """With random bytes in the headers: Pillow cannot decode it, or it would be sent alike."""
    changed = bytearray(jpeg(**data.draw(st.sampled_from([{}, {"mode": "L"}, {"optimize": True}]))))
    head = changed.index(b"\xff\xda") + 20
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, head))] = data.draw(st.integers(0, 255))
    size = ordinary_size(bytes(changed))
    if size is not None and size[0] * size[1] < 1_000_000:
        try:
            decoded = encode(bytes(changed), None, None)
        except Exception:
            return  # broken inside
        assert decoded == EncodedImage("image/jpeg", bytes(changed), *size)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 900))
def test_no_bytes_are_an_error(data: bytes, at: int) -> None:
    assert ordinary_size(data) is None
    whole = jpeg()
    size = ordinary_size(whole[:at] + data + whole[at:])
    assert size is None or min(size) > 0
