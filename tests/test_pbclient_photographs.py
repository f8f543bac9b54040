"""Real photographs in the forms people have them: what arrives at a server is what the package's loop shows.

In the published layout, over real HTTP and both wires. The photographs ship inside scikit-image.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import skimage.data
from loopback_faults import Ask, LoopbackServer
from package_loop import package_loop
from PIL import Image, ImageOps

from pbclient import RunConfig, evaluate
from pbclient.benchmark.package import STEMS, kept_ids

PHOTOS = Path(os.path.dirname(skimage.data.__file__))
ORIENTATION = 0x0112

type Save = Callable[[Path], object]


def photo(name: str) -> Image.Image:
    return Image.open(PHOTOS / name).convert("RGB")


def shipped(name: str) -> Save:
    return lambda path: path.write_bytes((PHOTOS / name).read_bytes())


def jpeg(name: str, mode: str = "RGB", size: tuple[int, int] | None = None, **options: Any) -> Save:
    def save(path: Path) -> None:
        image = photo(name).convert(mode)
        (image.resize(size) if size else image).save(path, "JPEG", **options)

    return save


def turned(orientation: int) -> Save:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return jpeg("coffee.png", size=(300, 200), exif=exif)


LARGE = (4000, 4000)


@dataclass(frozen=True)
class Sample:
    """One row: its frames in the order in which an answer that always suggests goes through them."""

    dataset: str
    template: str
    suggestion: str
    frames: dict[str, Save]
    fields: dict[str, object]


SAMPLES = {
    "jpeg": Sample(
        "QD",
        "jpeg/{image}.jpg",
        "Add more strokes to the drawing.",
        {
            "jpeg/0000.jpg": jpeg("chelsea.png", quality=90),
            "jpeg/0001.jpg": jpeg("chelsea.png", progressive=True),
            "jpeg/0002.jpg": jpeg("astronaut.png", subsampling=0, optimize=True),
            "jpeg/0003.jpg": jpeg("camera.png", "L"),
            "jpeg/0004.jpg": jpeg("chelsea.png", "CMYK"),
        },
        {"first_image": 0, "num_images": 5},
    ),
    "png": Sample(
        "QD",
        "png/{image}.png",
        "Add more strokes to the drawing.",
        {
            "png/0000.png": shipped("logo.png"),  # with alpha
            "png/0001.png": shipped("horse.png"),  # with alpha
            "png/0002.png": shipped("camera.png"),  # greyscale
            "png/0003.png": shipped("coffee.png"),
            "png/0004.png": lambda path: photo("coffee.png").quantize(64).save(path),
        },
        {"first_image": 0, "num_images": 5},
    ),
    "rotation": Sample(
        "ROD",
        "turned-{image}.jpg",
        "Move the blocks to the right.",
        {f"turned-{orientation}.jpg": turned(orientation) for orientation in range(9)},
        {"first_image": 0, "num_images": 9},
    ),
    "large": Sample(
        "IN-C",
        "corrupted/level-{level}.jpg",
        "Denoise the image.",
        {
            "corrupted/level-5.jpg": jpeg("astronaut.png", size=LARGE, quality=85),
            "corrupted/level-4.jpg": shipped("retina.jpg"),
            "corrupted/level-3.jpg": shipped("hubble_deep_field.jpg"),
            "corrupted/level-2.jpg": shipped("rocket.jpg"),
            "corrupted/level-1.jpg": jpeg("rocket.jpg", "L", progressive=True),
        },
        {"first_image": 5, "num_images": 5, "quality_answer": "Denoise the image."},
    ),
}


def view(path: str, direction: str, suggestion: str, crop: tuple[int, int, int, int], step: int) -> Sample:
    left, top, width, height = crop
    fields: dict[str, object] = {
        "first_image": 0,
        "num_images": 1,
        "direction": direction,
        "granularity": 3,
        "horizontal_step": step if direction in ("left", "right", "zoom") else 0,
        "vertical_step": step if direction in ("up", "down", "zoom") else 0,
        "crop": {"left": left, "top": top, "width": width, "height": height},
    }
    return Sample("COCO", path, suggestion, {}, fields)


# Crops of photographs that are frames above.
SAMPLES |= {
    "zoom": view("jpeg/0004.jpg", "zoom", "Move farther from the object.", (200, 120, 60, 50), 35),
    "left": view("png/0000.png", "left", "Move the camera to the left.", (400, 0, 500, 500), 111),
    "right": view("corrupted/level-5.jpg", "right", "Move the camera to the right.", (0, 0, 400, 900), 333),
    "down": view("turned-6.jpg", "down", "Move the camera down.", (0, 0, 300, 50), 41),
    "up": view("jpeg/0003.jpg", "up", "Move the camera up.", (0, 400, 512, 512), 97),
}
# What providers show as the package does, whoever looks, is sent as it is on disk.
AS_THEY_ARE = (
    {f"jpeg/000{number}.jpg" for number in range(4)}
    | {f"png/000{number}.png" for number in (2, 3, 4)}
    | {"turned-1.jpg"}  # 0 is no orientation that the standard knows
    | {f"corrupted/level-{level}.jpg" for level in range(1, 6)}
)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    ids = {name: iter(sorted(kept_ids(name))) for name in STEMS}
    for name, sample in SAMPLES.items():
        row = {
            "id": next(ids[sample.dataset]),
            "image_template": sample.template,
            "reference_image": 0,
            "prompt": f"{name}: What does this picture show?",
            "options": [sample.suggestion, "I cannot tell from this picture."],
            "categories": ["A cup.", "A cat."],
            "answer": "A cat.",
            **sample.fields,
        }
        with (folder / f"{STEMS[sample.dataset]}_preprocessed.jsonl").open("a") as rows:
            rows.write(json.dumps(row) + "\n")
        for path, save in sample.frames.items():
            (folder / path).parent.mkdir(exist_ok=True)
            save(folder / path)
    return folder


def named(prompt: str) -> str:
    return prompt.split(":", 1)[0]


@pytest.fixture(scope="module")
def shown(data) -> dict[str, list[Image.Image]]:
    """The pictures that the package's own loop shows, of each sample in order."""
    pictures = defaultdict(list)

    def look(prompt: str, picture: Image.Image) -> str:
        pictures[named(prompt)].append(picture)
        return "A"

    package_loop(data, look)
    return pictures


def arrived(data: Path, out: Path, provider: str, wire: str) -> dict[str, list[tuple[str, bytes]]]:
    """Media type and bytes of what a server of this shape is sent, of each sample in order."""
    pictures = defaultdict(list)

    def look(ask: Ask) -> str:
        assert ask.shape == provider
        pictures[named(ask.question)].extend(ask.images)
        return "A"

    async def main() -> None:
        async with LoopbackServer(look) as server:
            config = RunConfig(
                provider=provider,
                model="glance" if provider == "openai" else "claude-haiku-5-5",
                base_url=server.url if provider == "openai" else server.root,
                wire=wire,
                price="1,2",
                max_cost=None,
                data=data,
                cache_dir=out / "answers",
                out=out / "run",
            )
            result = await evaluate(config)
        assert result.exit_code == 0, result.outcomes

    asyncio.run(main())
    return pictures


def looks(image: Image.Image) -> Iterator[Image.Image]:
    """What a provider may make of a picture: with or without its rotation, before any background."""
    for upright in (image, ImageOps.exif_transpose(image)):
        if upright.has_transparency_data:
            for colour in ("white", "black"):
                opaque = upright.convert("RGBA")
                yield Image.alpha_composite(Image.new("RGBA", opaque.size, colour), opaque).convert("RGB")
        yield upright.convert("RGB")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # aiohttp, from a megabyte on
@pytest.mark.parametrize(
    ("provider", "wire"), [("openai", "direct"), ("anthropic", "direct"), ("anthropic", "litellm")]
)
def test_what_arrives_is_what_the_package_shows(data, shown, tmp_path, monkeypatch, provider, wire):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")
    pictures = arrived(data, tmp_path, provider, wire)
    assert pictures.keys() == shown.keys() == SAMPLES.keys()
    for name, expected in shown.items():
        assert len(pictures[name]) == len(expected) >= 3
        for (media_type, sent), picture in zip(pictures[name], expected, strict=True):
            with Image.open(BytesIO(sent)) as image:
                assert Image.MIME[image.format] == media_type, name
                for look in looks(image):
                    assert (look.size, look.tobytes()) == (picture.size, picture.tobytes()), name
        for path, (_, sent) in zip(SAMPLES[name].frames, pictures[name], strict=False):
            assert (sent == (data / path).read_bytes()) == (path in AS_THEY_ARE), path
    # A turned JPEG loses its rotation and is not encoded again; crops are as large as the crop.
    assert {media_type for media_type, _ in pictures["rotation"]} == {"image/jpeg"}
    assert {media_type for name in ("zoom", "right") for media_type, _ in pictures[name]} == {"image/png"}


def test_they_are_in_the_forms_that_people_have(data):
    def form(path: str) -> tuple[Any, ...]:
        with Image.open(data / path) as image:
            orientation = image.getexif().get(ORIENTATION)
            return image.format, image.mode, image.size, "progressive" in image.info, orientation

    assert form("jpeg/0000.jpg") == ("JPEG", "RGB", (451, 300), False, None)
    assert form("jpeg/0001.jpg") == ("JPEG", "RGB", (451, 300), True, None)
    assert form("jpeg/0003.jpg") == ("JPEG", "L", (512, 512), False, None)
    assert form("jpeg/0004.jpg") == ("JPEG", "CMYK", (451, 300), False, None)
    assert form("png/0000.png") == ("PNG", "RGBA", (500, 500), False, None)
    assert form("png/0002.png") == ("PNG", "L", (512, 512), False, None)
    assert form("turned-6.jpg") == ("JPEG", "RGB", (300, 200), False, 6)
    assert form("corrupted/level-5.jpg") == ("JPEG", "RGB", LARGE, False, None)
