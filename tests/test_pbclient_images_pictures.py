"""What is sent shows what the benchmark's own loop would show, on real photographs."""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from pbclient.benchmark.package import environment_class
from pbclient.errors import FrameError
from pbclient.images import encoding, pictures
from pbclient.images.frames import FrameStore
from pbclient.images.pictures import Pictures
from providers.types import EncodedImage

PHOTOS = Path(os.path.dirname(skimage.data.__file__))
type Transform = Callable[[Any], Any]


def same(image: Any) -> Any:
    return image


def cropped(*box: float) -> Transform:
    return lambda image: image.crop(box)


def resized(image: Any) -> Any:
    """As the package's environments make pictures small."""
    scale = 224 / min(image.size)
    return image.resize((int(image.size[0] * scale), int(image.size[1] * scale)))


@pytest.fixture(scope="module")
def coffee() -> Image.Image:
    return Image.open(PHOTOS / "coffee.png").convert("RGB")


@pytest.fixture(scope="module")
def small(coffee: Image.Image) -> Image.Image:
    return coffee.resize((150, 100))


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Pictures]:
    with FrameStore(tmp_path) as frames, Pictures(frames) as made:
        yield made


def sent(made: Pictures, relative: str, transform: Transform = same) -> EncodedImage:
    async def ask() -> EncodedImage:
        return await (await made.open(relative, transform)).encode()

    return asyncio.run(ask())


def identity(made: Pictures, relative: str, transform: Transform = same) -> dict[str, Any]:
    return dict(asyncio.run(made.open(relative, transform)).identity)


def assert_shows_what_the_package_shows(
    path: Path, encoded: EncodedImage, transform: Transform = same
) -> None:
    with Image.open(path) as source:
        theirs = transform(source.convert("RGB"))
    with Image.open(BytesIO(encoded.data)) as ours:
        assert encoded.media_type == Image.MIME[ours.format or ""]
        assert (encoded.width, encoded.height) == ours.size == theirs.size
        # Some providers turn a picture as its metadata say.
        for shown in (ours, ImageOps.exif_transpose(ours)):
            assert shown.convert("RGB").tobytes() == theirs.tobytes()


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[0x0112] = orientation
    return made


def xmp(orientation: int) -> bytes:
    return f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def deep_png(path: Path, colour: int, channels: int) -> None:
    """A PNG of sixteen bits a channel, which Pillow does not write in colour."""
    header = struct.pack(">IIBBBBB", 40, 30, 16, colour, 0, 0, 0)
    rng = random.Random(16)
    rows = b"".join(b"\0" + rng.randbytes(40 * channels * 2) for _ in range(30))
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def text(name: str, value: str) -> PngInfo:
    info = PngInfo()
    info.add_text(name, value)
    return info


UNTOUCHED: dict[str, Callable[[Image.Image, Path], None]] = {
    "baseline.jpg": lambda image, path: image.save(path, "JPEG", quality=90),
    "progressive.jpg": lambda image, path: image.save(path, "JPEG", progressive=True, optimize=True),
    "grey.jpg": lambda image, path: image.convert("L").save(path, "JPEG"),
    "upright.jpg": lambda image, path: image.save(path, "JPEG", exif=exif(1), icc_profile=b"not read" * 20),
    "upright-xmp.jpg": lambda image, path: image.save(path, "JPEG", xmp=xmp(1), comment=b"a cup"),
    "restarts.jpg": lambda image, path: image.save(path, "JPEG", restart_marker_blocks=2),
    "colour.png": lambda image, path: image.save(path, "PNG"),
    "grey.png": lambda image, path: image.convert("L").save(path, "PNG"),
    "palette.png": lambda image, path: image.quantize(64).save(path, "PNG"),
    "upright.png": lambda image, path: image.save(path, "PNG", exif=exif(1), pnginfo=text("Title", "a cup")),
    "lossy.webp": lambda image, path: image.save(path, "WEBP"),
    "lossless.webp": lambda image, path: image.save(path, "WEBP", lossless=True),
    # With every shade there is, or it would be written with a palette.
    "grey.gif": lambda image, path: Image.linear_gradient("L").save(path, "GIF"),
}

DRAWN: dict[str, Callable[[Image.Image, Path], None]] = {
    "alpha.png": lambda image, path: with_alpha(image).save(path, "PNG"),
    "grey-alpha.png": lambda image, path: with_alpha(image).convert("LA").save(path, "PNG"),
    "colour-key.png": lambda image, path: image.save(path, "PNG", transparency=image.getpixel((3, 3))),
    "grey-key.png": lambda image, path: image.convert("L").save(path, "PNG", transparency=100),
    "palette-key.png": lambda image, path: image.quantize(64).save(path, "PNG", transparency=7),
    "palette-alpha.png": lambda image, path: image.quantize(9).save(
        path, "PNG", transparency=bytes(range(9))
    ),
    "one-bit.png": lambda image, path: image.convert("1").save(path, "PNG"),
    "deep-grey.png": lambda image, path: deep_png(path, 0, 1),
    "deep-colour.png": lambda image, path: deep_png(path, 2, 3),
    "deep-alpha.png": lambda image, path: deep_png(path, 6, 4),
    "turned.png": lambda image, path: image.save(path, "PNG", exif=exif(6)),
    "turned-xmp.png": lambda image, path: image.save(
        path, "PNG", pnginfo=text("XML:com.adobe.xmp", xmp(6).decode())
    ),
    "animated.png": lambda image, path: image.save(
        path, "PNG", save_all=True, append_images=[image.rotate(90)], duration=50
    ),
    "cmyk.jpg": lambda image, path: image.convert("CMYK").save(path, "JPEG"),
    "ycck.jpg": lambda image, path: image.convert("CMYK").save(path, "JPEG", exif=exif(3)),
    "two.mpo": lambda image, path: image.save(path, "MPO", save_all=True, append_images=[image.rotate(90)]),
    "alpha.webp": lambda image, path: with_alpha(image).save(path, "WEBP"),
    "turned.webp": lambda image, path: image.save(path, "WEBP", exif=exif(8)),
    "animated.webp": lambda image, path: image.save(
        path, "WEBP", save_all=True, append_images=[image.rotate(90)]
    ),
    "colour.gif": lambda image, path: image.quantize(64).save(path, "GIF"),
    "animated.gif": lambda image, path: image.save(
        path, "GIF", save_all=True, append_images=[image.rotate(90)]
    ),
    "bitmap.bmp": lambda image, path: image.save(path, "BMP"),
    "tagged.tif": lambda image, path: image.save(path, "TIFF", compression="tiff_lzw"),
    "whole-numbers.tif": lambda image, path: image.convert("I").save(path, "TIFF"),
    "fractions.tif": lambda image, path: image.convert("F").save(path, "TIFF"),
    "lab.tif": lambda image, path: image.convert("YCbCr").save(path, "TIFF"),
    "pixmap.ppm": lambda image, path: image.save(path, "PPM"),
}


def with_alpha(image: Image.Image) -> Image.Image:
    made = image.copy()
    made.putalpha(Image.linear_gradient("L").resize(image.size))
    return made


@pytest.mark.parametrize("name", UNTOUCHED)
def test_what_providers_show_the_same_is_sent_byte_for_byte(
    tmp_path: Path, opened: Pictures, small: Image.Image, name: str
) -> None:
    UNTOUCHED[name](small, tmp_path / name)
    encoded = sent(opened, name)
    assert encoded.data == (tmp_path / name).read_bytes()
    assert_shows_what_the_package_shows(tmp_path / name, encoded)


@pytest.mark.filterwarnings("ignore:Palette images with Transparency:UserWarning")  # the package's own way
@pytest.mark.parametrize("name", DRAWN)
def test_everything_else_is_drawn_without_loss(
    tmp_path: Path, opened: Pictures, small: Image.Image, name: str
) -> None:
    DRAWN[name](small, tmp_path / name)
    encoded = sent(opened, name)
    assert encoded.media_type == "image/png"
    assert_shows_what_the_package_shows(tmp_path / name, encoded)
    with Image.open(BytesIO(encoded.data)) as image:
        assert (image.mode, image.info) == ("RGB", {})


@pytest.mark.parametrize(
    "name", ["rocket.jpg", "retina.jpg", "astronaut.png", "camera.png", "coins.png", "logo.png"]
)
def test_photographs_as_they_ship(name: str) -> None:
    with FrameStore(PHOTOS) as frames, Pictures(frames) as made:
        for transform in (same, cropped(10, 20, 130.5, 77.5), resized):
            assert_shows_what_the_package_shows(PHOTOS / name, sent(made, name, transform), transform)


@pytest.mark.parametrize("kind", ["exif", "xmp", "both"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_jpeg_is_sent_unturned_and_not_encoded_again(
    tmp_path: Path, opened: Pictures, small: Image.Image, orientation: int, kind: str
) -> None:
    options: dict[str, Any] = {
        "exif": {"exif": exif(orientation)},
        "xmp": {"xmp": xmp(orientation)},
        "both": {"exif": exif(1), "xmp": xmp(orientation)} if orientation == 1 else
                {"exif": exif(orientation), "xmp": xmp(1)},
    }  # fmt: skip
    path = tmp_path / "photo.jpg"
    small.save(path, "JPEG", progressive=True, comment=b"a cup", **options[kind])
    encoded = sent(opened, "photo.jpg")
    assert encoded.media_type == "image/jpeg"
    assert (encoded.data == path.read_bytes()) == (orientation == 1)
    assert b"a cup" in encoded.data
    assert_shows_what_the_package_shows(path, encoded)


def test_jpeg_with_unreadable_metadata_or_built_oddly(
    tmp_path: Path, opened: Pictures, small: Image.Image
) -> None:
    buffer = BytesIO()
    small.save(buffer, "JPEG", exif=exif(6))
    plain = buffer.getvalue()
    torn = plain.replace(exif(6).tobytes(), exif(6).tobytes()[:8].ljust(len(exif(6).tobytes()), b"\xff"))
    padded = plain[:2] + b"\xff\xff\xff" + plain[2:]
    for number, data in enumerate((torn, padded)):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(data)
        assert_shows_what_the_package_shows(path, sent(opened, path.name))


def test_sixteen_megapixels(tmp_path: Path, opened: Pictures, coffee: Image.Image) -> None:
    large = coffee.resize((4900, 3300))
    large.save(tmp_path / "photo.jpg", "JPEG", exif=exif(6))
    assert_shows_what_the_package_shows(tmp_path / "photo.jpg", encoded := sent(opened, "photo.jpg"))
    assert encoded.media_type == "image/jpeg"
    box = cropped(1000, 1000, 1400, 1300)
    assert_shows_what_the_package_shows(tmp_path / "photo.jpg", sent(opened, "photo.jpg", box), box)


@pytest.mark.parametrize(
    "box",
    [(0, 0, 150, 100), (10.5, 11.5, 20.5, 21.49), (-30, -20, 40, 40), (140, 90, 190.2, 130), (3, 4, 4, 5)],
)
def test_crops_are_sent_at_their_exact_size(
    tmp_path: Path, opened: Pictures, small: Image.Image, box: tuple[float, float, float, float]
) -> None:
    small.save(tmp_path / "photo.jpg", "JPEG")
    transform = cropped(*box)
    encoded = sent(opened, "photo.jpg", transform)
    assert encoded.media_type == "image/png"
    assert_shows_what_the_package_shows(tmp_path / "photo.jpg", encoded, transform)
    left, top, right, bottom = identity(opened, "photo.jpg", transform)["crop"]
    assert (encoded.width, encoded.height) == (right - left, bottom - top)


@pytest.mark.parametrize("direction", ["zoom", "left", "right_down", "left_up"])
def test_crops_of_the_environment_itself(
    tmp_path: Path, opened: Pictures, small: Image.Image, direction: str
) -> None:
    small.save(tmp_path / "photo.jpg", "JPEG")
    moves = {
        "zoom": ["Move farther from the object."],
        "left": ["Move the camera to the left."],
        "right_down": ["Move the camera to the right.", "Move the camera down."],
        "left_up": ["Move the camera to the left.", "Move the camera up."],
    }[direction]
    row = {
        "id": 0,
        "image_template": "photo.jpg",
        "first_image": 0,
        "num_images": 1,
        "reference_image": None,
        "prompt": "What is it?",
        "options": [*moves, "I cannot answer."],
        "categories": ["cup", "cat"],
        "answer": "cup",
        "direction": direction,
        "granularity": 3,
        "horizontal_step": 7.3,
        "vertical_step": 4.5,
        "crop": {"top": 30, "left": 40, "height": 45, "width": 60},
    }
    environment = environment_class("COCO")(row, "")
    seen = []
    while not environment.stop:
        state = environment.get_state()
        encoded = sent(opened, state["image_path"], state["transform"])
        assert_shows_what_the_package_shows(tmp_path / "photo.jpg", encoded, state["transform"])
        seen.append((encoded.width, encoded.height))
        offered = [move for move in moves if move in state["options"]]
        environment.evaluate_generated_answer(offered[0] if offered else "cup")
    assert len(set(seen)) >= 3


def test_resized_as_the_environment_resizes(tmp_path: Path, opened: Pictures, small: Image.Image) -> None:
    small.save(tmp_path / "photo.png", "PNG")
    encoded = sent(opened, "photo.png", resized)
    assert (encoded.width, encoded.height) == (336, 224)
    assert_shows_what_the_package_shows(tmp_path / "photo.png", encoded, resized)
    assert identity(opened, "photo.png", resized)["resize"] == [336, 224]


def test_identity_says_what_is_sent_without_decoding(tmp_path: Path, opened: Pictures) -> None:
    (tmp_path / "no.jpg").write_bytes(b"never looked at")
    digest = hashlib.sha256(b"never looked at").hexdigest()
    assert identity(opened, "no.jpg") == {"sha256": digest, "as": 1}
    box = [1, 2, 31, 42]
    assert identity(opened, "no.jpg", cropped(0.6, 2.5, 31.4, 41.5)) == {
        "sha256": digest,
        "as": 1,
        "crop": box,
    }


@given(st.tuples(*[st.floats(-1e3, 1e3)] * 4))
def test_crop_is_rounded_as_pillow_rounds(box: tuple[float, float, float, float]) -> None:
    image = Image.new("L", (8, 8))
    try:
        change = encoding.recorded(encoding.Recorder(lambda: image.size), cropped(*box))
    except encoding.RefusedError:
        assert box[2] < box[0] or box[3] < box[1] or 0 in image.crop(box).size
    else:
        assert change is not None
        assert change.size == image.crop(box).size
        assert change.numbers == tuple(map(int, map(round, box)))


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 0, 10), (5, 5, 5.2, 9), (9, 0, 3, 5), (0, 9, 5, 3), (0, 0, 1e9, 1e9), (0, 0, 10_000, 10_000),
        (0, 0, math.inf, 5), (math.nan, 0, 5, 5), (-1e300, 0, 1e300, 9),
    ],
)  # fmt: skip
def test_crops_that_are_empty_or_huge_are_refused_before_decoding(
    tmp_path: Path, opened: Pictures, box: tuple[float, float, float, float]
) -> None:
    (tmp_path / "no.jpg").write_bytes(b"never looked at")
    with pytest.raises(FrameError, match=r"'no\.jpg' "):
        identity(opened, "no.jpg", cropped(*box))


def test_transform_that_is_not_known_is_refused(tmp_path: Path, opened: Pictures) -> None:
    (tmp_path / "no.jpg").write_bytes(b"never looked at")
    for transform in (lambda image: image.rotate(90), lambda image: "text"):
        with pytest.raises(FrameError, match=r"'no\.jpg' is changed .* unknown here"):
            identity(opened, "no.jpg", transform)


def claimed(path: Path, width: int, height: int) -> None:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(100))), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


@pytest.mark.parametrize("side", [7_100, 10_000, 20_000])
def test_pictures_of_too_many_pixels_are_refused_from_their_header(
    tmp_path: Path, opened: Pictures, side: int
) -> None:
    claimed(tmp_path / "bomb.png", side, side)
    for transform in (same, cropped(0, 0, 5, 5), resized):
        with pytest.raises(FrameError, match=r"'bomb\.png' would be shown with more than 50,000,000 pixels"):
            sent(opened, "bomb.png", transform)


@pytest.mark.parametrize("name", ["baseline.jpg", "progressive.jpg", "colour.png", "lossy.webp", "grey.gif"])
def test_torn_pictures_are_named(tmp_path: Path, opened: Pictures, small: Image.Image, name: str) -> None:
    UNTOUCHED[name](small, tmp_path / name)
    data = (tmp_path / name).read_bytes()
    for part in (0, 20, len(data) // 2, len(data) - 40):
        (tmp_path / name).write_bytes(data[:part])
        for transform in (same, cropped(0, 0, 5, 5)):
            with pytest.raises(FrameError, match=rf"The frame '{name}' .*") as caught:
                sent(opened, name, transform)
            assert "0x" not in str(caught.value)


def test_other_formats_are_refused(tmp_path: Path, opened: Pictures) -> None:
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(FrameError, match=r"'a\.jpg' is no picture in a format known here"):
        sent(opened, "a.jpg")


async def changed_before_they_are_sent(made: Pictures, folder: Path, names: list[str]) -> list[Any]:
    """Opens pictures, puts others in their places, and encodes them: the bytes or what went wrong."""
    found = [await made.open(name, same) for name in names]
    for name in names:
        with Image.open(folder / name) as image:
            image.rotate(180).save(folder / name)
    sent = await asyncio.gather(*(each.encode() for each in found), return_exceptions=True)
    return [each.data if isinstance(each, EncodedImage) else each for each in sent]


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_picture_that_changes_before_it_is_sent(tmp_path: Path, small: Image.Image, name: str) -> None:
    small.save(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    with FrameStore(tmp_path) as frames, Pictures(frames) as made:
        assert asyncio.run(changed_before_they_are_sent(made, tmp_path, [name])) == [data]
    with FrameStore(tmp_path) as frames, Pictures(frames, kept_bytes=0) as made:
        (refused,) = asyncio.run(changed_before_they_are_sent(made, tmp_path, [name]))
        assert isinstance(refused, FrameError)
        assert "has changed since" in str(refused)


def test_only_so_many_bytes_wait_to_be_encoded(tmp_path: Path, small: Image.Image) -> None:
    names = [f"{number}.jpg" for number in range(3)]
    for number, name in enumerate(names):
        small.save(tmp_path / name, quality=50 + number)
    sources = [(tmp_path / name).read_bytes() for name in names]
    room = 4 * (len(sources[1]) + len(sources[2]))
    with FrameStore(tmp_path) as frames, Pictures(frames, kept_bytes=room) as made:
        first, *rest = asyncio.run(changed_before_they_are_sent(made, tmp_path, names))
    assert isinstance(first, FrameError)
    assert rest == sources[1:]


@pytest.mark.parametrize("transform", [same, cropped(1, 1, 9, 9)])
@pytest.mark.parametrize("edge", [None, 8000, 50])
def test_a_small_picture_is_read_once(
    tmp_path: Path, small: Image.Image, transform: Transform, edge: int | None
) -> None:
    small.save(tmp_path / "a.jpg")

    async def ask(made: Pictures) -> EncodedImage:
        picture = await made.open("a.jpg", transform, edge)
        (tmp_path / "a.jpg").unlink()
        return await picture.encode()

    with FrameStore(tmp_path) as frames, Pictures(frames) as made:
        encoded = asyncio.run(ask(made))
    assert max(encoded.width, encoded.height) <= (edge or 150)


def test_missing_frame_is_named(opened: Pictures) -> None:
    with pytest.raises(FrameError, match=r"'nowhere/a\.jpg' is missing"):
        sent(opened, "nowhere/a.jpg")


def test_large_and_zipped_frames_are_read_in_a_thread(
    tmp_path: Path, opened: Pictures, coffee: Image.Image
) -> None:
    coffee.save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > pictures.INLINE_BYTES
    assert sent(opened, "a.png").data == (tmp_path / "a.png").read_bytes()


def test_equal_pictures_are_encoded_once_while_they_are_kept(tmp_path: Path, small: Image.Image) -> None:
    small.save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    with FrameStore(tmp_path) as frames, Pictures(frames) as made:
        first = sent(made, "a.png", cropped(1, 1, 9, 9))
        assert sent(made, "b.png", cropped(0.9, 1, 9, 9.1)) is first
        assert sent(made, "a.png", cropped(1, 1, 9, 8)) is not first
    with FrameStore(tmp_path) as frames, Pictures(frames, kept_bytes=1000) as made:
        first = sent(made, "a.png", cropped(1, 1, 9, 9))
        second = sent(made, "a.png", cropped(1, 1, 60, 60))
        assert sent(made, "a.png", cropped(1, 1, 9, 9)) is not first
        assert sent(made, "a.png", cropped(1, 1, 60, 60)) is not second


def is_shown(data: bytes) -> bool:
    """Whether Pillow decodes it, as the package's own loop does."""
    try:
        with Image.open(BytesIO(data)) as image:
            image.load()
    except Exception:
        return False
    return True


@settings(deadline=None)  # files and decoders take their time
@given(st.sampled_from(["baseline.jpg", "colour.png", "lossy.webp", "colour.gif", "tagged.tif"]), st.data())
def test_any_bytes_are_sent_or_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    image = Image.linear_gradient("L").resize((24, 16)).convert("RGB")
    folder = tmp_path_factory.mktemp("bytes", numbered=True)
    {**UNTOUCHED, **DRAWN}[name](image, folder / name)
    content = bytearray((folder / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        content[start : start + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    (folder / name).write_bytes(content)
    with FrameStore(folder) as frames, Pictures(frames) as made:
        for transform in (same, cropped(0, 0, 9, 9), resized):
            with suppress(FrameError):
                encoded = sent(made, name, transform)
                if encoded.data == content and not is_shown(content):
                    continue  # a JPEG broken inside goes to the provider as it is
                assert_shows_what_the_package_shows(folder / name, encoded, transform)


def test_importing_it_does_not_import_pillow() -> None:
    code = "import sys, pbclient.images.pictures, pbclient.data.folder; assert 'PIL' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).stderr == b""


def test_a_frame_that_is_not_there_is_not_called_a_broken_picture(opened: Pictures) -> None:
    with pytest.raises(FrameError, match=r"^The frame 'none\.png' is missing from"):
        opened.size("none.png", same)
    with pytest.raises(FrameError, match=r"^The frame 'none\.png' is missing from"):
        identity(opened, "none.png")


def test_a_crop_whose_source_changed_unseen_is_refused(tmp_path: Path, coffee: Image.Image) -> None:
    coffee.save(tmp_path / "cup.jpg")

    async def main(made: Pictures) -> EncodedImage:
        picture = await made.open("cup.jpg", cropped(0, 0, 9, 9))
        coffee.rotate(180).save(tmp_path / "cup.jpg")
        return await picture.encode()

    # Nothing is kept, so that it is read again.
    changed = pytest.raises(FrameError, match="has changed since the run began")
    with FrameStore(tmp_path) as frames, Pictures(frames, kept_bytes=0) as made, changed:
        asyncio.run(main(made))
