"""The pictures of the built-in samples: flat drawings, one function for each kind of scene.

A scene is drawn from a `Look` (what is shown, in which colours, where) and from how far the scene has
come; equal arguments give equal pictures.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise

from PIL import Image, ImageDraw, ImageFilter

Point = tuple[float, float]
Size = tuple[int, int]

FRAME: Size = (192, 144)
SHEET: Size = (160, 160)
LANDSCAPE: Size = (320, 240)
LEVELS = 5

_INK = "#2b2b33"
_PALE = "#fbf9f0"
_WOOD = "#8a5a33"
_LEAF = "#3f8f4f"
_SKIN = "#d9a778"
# Everything is drawn this many times larger and then averaged down: Pillow's own lines are jagged.
_FINER = 2

# A subject's shapes on a 100 x 100 sheet, from the back to the front: an oval by its middle and radii, or a
# polygon by its corners. The tints "body" and "trim" are the sample's own.
SUBJECTS: dict[str, tuple[tuple[str, tuple[float, ...]], ...]] = {
    "mug": (
        ("trim", (70, 38, 93, 38, 93, 74, 68, 74, 68, 65, 84, 65, 84, 47, 70, 47)),
        ("body", (20, 20, 74, 20, 69, 90, 25, 90)),
        (_PALE, (47, 20, 27, 8)),
        ("trim", (22, 44, 72, 44, 71, 60, 23, 60)),
    ),
    "fish": (
        ("trim", (66, 50, 96, 24, 88, 50, 96, 76)),
        ("trim", (34, 34, 60, 10, 64, 36)),
        ("body", (43, 50, 36, 24)),
        (_PALE, (24, 44, 7, 7)),
        (_INK, (23, 44, 2.5, 2.5)),
    ),
    "house": (
        ("trim", (66, 12, 76, 12, 76, 40, 66, 40)),
        ("body", (19, 46, 81, 46, 81, 93, 19, 93)),
        ("trim", (8, 48, 50, 10, 92, 48)),
        (_WOOD, (43, 66, 57, 66, 57, 93, 43, 93)),
        (_PALE, (26, 56, 38, 56, 38, 69, 26, 69)),
        (_PALE, (62, 56, 74, 56, 74, 69, 62, 69)),
    ),
    "tree": (
        (_WOOD, (44, 76, 56, 76, 57, 97, 43, 97)),
        ("body", (14, 80, 50, 42, 86, 80)),
        ("body", (20, 58, 50, 22, 80, 58)),
        ("body", (28, 36, 50, 6, 72, 36)),
        ("trim", (50, 7, 6, 6)),
    ),
    "boat": (
        (_WOOD, (48, 6, 52, 6, 52, 68, 48, 68)),
        (_PALE, (53, 12, 86, 60, 53, 60)),
        ("trim", (47, 20, 20, 60, 47, 60)),
        ("body", (8, 66, 92, 66, 76, 90, 24, 90)),
        (_PALE, (36, 76, 5, 5)),
        (_PALE, (62, 76, 5, 5)),
    ),
    "apple": (
        (_WOOD, (47, 30, 53, 9, 57, 10, 52, 30)),
        ("body", (50, 58, 36, 34)),
        (_LEAF, (55, 20, 66, 7, 88, 9, 74, 23)),
        (_PALE, (34, 46, 7, 10)),
    ),
}


@dataclass(frozen=True)
class Look:
    """What one sample shows: its subject, its own colours, its own place and the seed of its accidents."""

    subject: str
    body: str
    trim: str
    ground: str
    table: str
    cover: str
    middle: Point
    seed: int


def look(subject: str, rng: random.Random) -> Look:
    """A look of its own for one sample."""
    hue = rng.uniform(0, 360)

    def tint(turn: float, saturation: int, value: int) -> str:
        return f"hsv({(hue + turn) % 360:.1f}, {saturation}%, {value}%)"

    return Look(
        subject=subject,
        body=tint(0, 75, 86),
        trim=tint(rng.uniform(43, 108), 70, 95),
        ground=tint(rng.uniform(150, 210), rng.randint(8, 22), rng.randint(90, 100)),
        table=tint(rng.uniform(150, 210), rng.randint(25, 40), rng.randint(66, 80)),
        cover=tint(rng.uniform(216, 288), 55, 70),
        middle=(FRAME[0] / 2 + rng.uniform(-7, 7), FRAME[1] / 2 + rng.uniform(-3, 3)),
        seed=rng.getrandbits(32),
    )


def behind_blocks(look: Look, aside: float) -> Image.Image:
    """The subject on a table behind a wall of blocks that stands `aside` pixels from hiding it."""
    canvas, (x, y) = _room(look), look.middle
    canvas.subject(look, (x, y), 62)
    for row in range(3):
        for column in range(2):
            tint = look.cover if (row + column) % 2 else look.trim
            canvas.box(x + aside - 41 + 41 * column, y - 37 + 27 * row, 41, 27, tint)
    return canvas.finished()


def behind_passer(look: Look, aside: float) -> Image.Image:
    """The subject on a table while somebody walks past, `aside` pixels from hiding it."""
    canvas, (x, y) = _room(look), look.middle
    canvas.subject(look, (x, y), 50)
    x += aside
    for leg in (-18, 4):
        canvas.box(x + leg, y + 40, 14, 40, _INK)
    canvas.fill([(x - 28, y - 30), (x + 28, y - 30), (x + 33, y + 46), (x - 33, y + 46)], look.cover)
    canvas.fill(_oval(x, y - 46, 15, 17), _SKIN)
    canvas.box(x - 17, y - 66, 34, 12, look.trim)
    return canvas.finished()


def turned_box(look: Look, yaw: float) -> Image.Image:
    """A box turned by `yaw` degrees; only the face at 0 bears the subject, the others are bare."""
    canvas, (x, y) = _room(look), look.middle
    for face in range(4):
        facing = math.radians(yaw + 90 * face)
        if math.cos(facing) <= 0.02:
            continue
        left, right = (x + 58 * math.sin(facing + corner) for corner in (-math.pi / 4, math.pi / 4))
        canvas.box(left, y - 42, right - left, 84, look.cover if face % 2 else look.trim)
        if face == 0:
            canvas.box((left + right) / 2 - 31, y - 32, 62, 64, _PALE)
            canvas.subject(look, ((left + right) / 2, y), 54)
    return canvas.finished()


def degraded(look: Look, fault: str, level: int) -> Image.Image:
    """The subject in a photograph spoilt by a fault, at a level from 1 to `LEVELS`, the worst."""
    canvas = _room(look)
    canvas.subject(look, look.middle, 92)
    image = canvas.finished()
    width, height = image.size
    faded = (0, 0.3, 0.55, 0.75, 0.88, 0.95)[level]
    match fault:
        case "blur":
            return image.filter(ImageFilter.GaussianBlur(0.4 + level * level * 0.6))
        case "noise":
            noise = random.Random(look.seed + level).randbytes(width * height * 3)
            return Image.blend(image, Image.frombytes("RGB", image.size, noise), faded * 0.93)
        case "brightness":
            return Image.blend(image, Image.new("RGB", image.size, "white"), faded)
        case "contrast":
            return Image.blend(image, Image.new("RGB", image.size, "#77777a"), faded)
        case "pixels":
            across = (0, 64, 40, 24, 16, 10)[level]
            coarse = image.resize((across, across * height // width), Image.Resampling.BOX)
        case "compression":
            # JPEG alone stays readable; the smaller the picture it works on, the larger its blocks.
            packed = BytesIO()
            image.reduce(level + 1).save(packed, "JPEG", quality=18 - 3 * level)
            coarse = Image.open(packed)
        case _:
            raise ValueError(f"no fault {fault!r}")
    return coarse.resize(image.size, Image.Resampling.NEAREST)


def sketched(look: Look, share: float) -> Image.Image:
    """The first `share` of the strokes of a pen sketch of the subject."""
    canvas = _Canvas(SHEET, _PALE)
    outlines = [_outline(numbers, (SHEET[0] / 2, SHEET[1] / 2), 116) for _, numbers in SUBJECTS[look.subject]]
    strokes = [stroke for points in outlines for stroke in pairwise([*points, points[0]])]
    for stroke in strokes[: max(1, round(share * len(strokes)))]:
        canvas.line(stroke, look.body, 3)
    return canvas.finished()


def rising(look: Look, share: float) -> Image.Image:
    """A frame of a film at `share` of its length: the subject comes out of a crate, a bar shows the time."""
    canvas, (x, y) = _room(look), look.middle
    canvas.subject(look, (x, y + 36 - 62 * min(1.0, max(0.0, share * 1.6 - 0.45))), 56)
    canvas.box(x - 42, y + 2, 84, 62, _WOOD)
    canvas.box(x - 46, y - 2, 92, 9, look.cover)
    width, height = FRAME
    canvas.box(-2, height - 8, width + 4, 10, _INK)
    canvas.box(-2, height - 7, 2 + width * (0.04 + 0.95 * share), 6, look.body)
    return canvas.finished()


def landscape(look: Look, at: Point, side: float) -> Image.Image:
    """A wide view with the subject around the point `at`, in shares of the picture."""
    width, height = LANDSCAPE
    canvas = _Canvas(LANDSCAPE, look.ground)
    canvas.box(-2, height * 0.66, width + 4, height, look.table)
    canvas.subject(look, (at[0] * width, at[1] * height), side)
    return canvas.finished()


class _Canvas:
    """A picture under work, in pixels of the finished one."""

    def __init__(self, size: Size, ground: str) -> None:
        self._image = Image.new("RGB", (size[0] * _FINER, size[1] * _FINER), ground)
        self._draw = ImageDraw.Draw(self._image)

    def fill(self, points: Sequence[Point], tint: str) -> None:
        self._draw.polygon([(x * _FINER, y * _FINER) for x, y in points], fill=tint)
        self.line([*points, points[0]], _INK, 1.5)

    def box(self, x: float, y: float, width: float, height: float, tint: str) -> None:
        self.fill([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], tint)

    def line(self, points: Sequence[Point], tint: str, width: float) -> None:
        finer = [(x * _FINER, y * _FINER) for x, y in points]
        self._draw.line(finer, fill=tint, width=round(width * _FINER), joint="curve")

    def subject(self, look: Look, middle: Point, side: float) -> None:
        tints = {"body": look.body, "trim": look.trim}
        for tint, numbers in SUBJECTS[look.subject]:
            self.fill(_outline(numbers, middle, side), tints.get(tint, tint))

    def finished(self) -> Image.Image:
        return self._image.reduce(_FINER)


def _room(look: Look) -> _Canvas:
    canvas = _Canvas(FRAME, look.ground)
    canvas.box(-2, look.middle[1] + 14, FRAME[0] + 4, FRAME[1], look.table)
    return canvas


def _outline(numbers: Sequence[float], middle: Point, side: float) -> list[Point]:
    """The points of one shape of a subject that is drawn around `middle`."""
    points = _oval(*numbers) if len(numbers) == 4 else zip(numbers[::2], numbers[1::2], strict=True)
    return [(middle[0] + (x - 50) * side / 100, middle[1] + (y - 50) * side / 100) for x, y in points]


def _oval(x: float, y: float, across: float, down: float) -> list[Point]:
    turns = [math.tau * step / 28 for step in range(28)]
    return [(x + across * math.cos(turn), y + down * math.sin(turn)) for turn in turns]
