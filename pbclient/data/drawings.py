"""The pictures of the built-in samples: simple drawings, one function for each kind of scene.

A scene is drawn from a `Look` (what is shown, in which colours, where) and from how far the scene has
come; equal arguments give equal pictures. What the frames are called, asked and answered is not here:
see `pbclient/data/samples.py`.
"""

from __future__ import annotations

import colorsys
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from typing import NamedTuple

from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter

Point = tuple[float, float]
Size = tuple[int, int]

FRAME: Size = (192, 144)
SHEET: Size = (160, 160)
LANDSCAPE: Size = (320, 240)
FAULTS = ("blur", "noise", "brightness", "contrast", "pixels", "compression", "patches", "saturation")
LEVELS = 5

_INK = "#2b2b33"
_PALE = "#fbf9f0"
_WOOD = "#8a5a33"
_LEAF = "#3f8f4f"
# Everything is drawn this many times larger and then averaged down: Pillow's own lines are jagged.
_FINER = 2
# How much of a picture is gone at each level.
_FADED = (0, 0.3, 0.55, 0.75, 0.88, 0.95)


class _Part(NamedTuple):
    """One outline of a subject on a 100 x 100 sheet; the tint "body" or "trim" is the sample's own."""

    shape: str
    tint: str
    numbers: tuple[float, ...]


SUBJECTS: dict[str, tuple[_Part, ...]] = {
    "mug": (
        _Part("arc", "trim", (70, 54, 20, 19, -95, 95)),
        _Part("poly", "body", (20, 26, 74, 26, 69, 90, 25, 90)),
        _Part("oval", _PALE, (47, 26, 27, 7)),
        _Part("poly", "trim", (22, 46, 72, 46, 71, 60, 23, 60)),
        _Part("line", _INK, (38, 15, 42, 9, 38, 3)),
        _Part("line", _INK, (54, 15, 58, 9, 54, 3)),
    ),
    "fish": (
        _Part("poly", "trim", (68, 50, 96, 26, 89, 50, 96, 74)),
        _Part("poly", "trim", (36, 32, 60, 12, 62, 36)),
        _Part("oval", "body", (43, 50, 36, 23)),
        _Part("arc", _INK, (34, 50, 9, 16, -75, 75)),
        _Part("oval", _PALE, (24, 44, 6, 6)),
        _Part("oval", _INK, (23, 44, 2.5, 2.5)),
    ),
    "house": (
        _Part("poly", "trim", (66, 12, 76, 12, 76, 40, 66, 40)),
        _Part("poly", "body", (19, 46, 81, 46, 81, 93, 19, 93)),
        _Part("poly", "trim", (8, 48, 50, 10, 92, 48)),
        _Part("poly", _WOOD, (43, 66, 57, 66, 57, 93, 43, 93)),
        _Part("poly", _PALE, (26, 56, 38, 56, 38, 69, 26, 69)),
        _Part("poly", _PALE, (62, 56, 74, 56, 74, 69, 62, 69)),
    ),
    "tree": (
        _Part("poly", _WOOD, (44, 76, 56, 76, 57, 97, 43, 97)),
        _Part("poly", "body", (14, 80, 50, 42, 86, 80)),
        _Part("poly", "body", (20, 58, 50, 22, 80, 58)),
        _Part("poly", "body", (28, 36, 50, 6, 72, 36)),
        _Part("oval", "trim", (42, 30, 4, 4)),
        _Part("oval", "trim", (58, 50, 4, 4)),
        _Part("oval", "trim", (38, 70, 4, 4)),
    ),
    "boat": (
        _Part("poly", "body", (8, 66, 92, 66, 76, 90, 24, 90)),
        _Part("line", _INK, (50, 66, 50, 6)),
        _Part("poly", _PALE, (53, 12, 86, 60, 53, 60)),
        _Part("poly", "trim", (47, 20, 20, 60, 47, 60)),
        _Part("oval", _PALE, (36, 76, 5, 5)),
        _Part("oval", _PALE, (62, 76, 5, 5)),
    ),
    "umbrella": (
        _Part("line", _INK, (50, 6, 50, 84)),
        _Part("arc", _INK, (42, 84, 8, 9, 0, 180)),
        _Part(
            "poly",
            "body",
            (7, 52, 14, 32, 29, 17, 50, 11, 71, 17, 86, 32, 93, 52, 79, 46, 65, 52, 35, 52, 21, 46),
        ),
        _Part("poly", "trim", (35, 52, 40, 26, 50, 11, 60, 26, 65, 52, 50, 46)),
    ),
    "apple": (
        _Part("oval", "body", (50, 58, 36, 34)),
        _Part("arc", _INK, (50, 25, 14, 9, 15, 165)),
        _Part("line", _WOOD, (50, 33, 55, 10)),
        _Part("poly", _LEAF, (55, 18, 66, 7, 86, 9, 74, 21)),
        _Part("arc", _PALE, (48, 58, 25, 23, 190, 250)),
    ),
    "car": (
        _Part("poly", "body", (4, 60, 22, 55, 35, 33, 69, 33, 82, 55, 96, 60, 96, 78, 4, 78)),
        _Part("poly", _PALE, (38, 39, 50, 39, 50, 55, 29, 55)),
        _Part("poly", _PALE, (55, 39, 66, 39, 75, 55, 55, 55)),
        _Part("oval", _INK, (26, 79, 12, 12)),
        _Part("oval", _INK, (75, 79, 12, 12)),
        _Part("oval", "trim", (26, 79, 5, 5)),
        _Part("oval", "trim", (75, 79, 5, 5)),
    ),
    "flower": (
        _Part("line", _LEAF, (50, 40, 50, 97)),
        _Part("poly", _LEAF, (50, 86, 60, 70, 82, 66, 70, 82)),
        _Part("oval", "body", (50, 17, 12, 14)),
        _Part("oval", "body", (70, 32, 14, 12)),
        _Part("oval", "body", (62, 54, 13, 13)),
        _Part("oval", "body", (38, 54, 13, 13)),
        _Part("oval", "body", (30, 32, 14, 12)),
        _Part("oval", "trim", (50, 37, 12, 12)),
    ),
    "cat": (
        _Part("poly", "body", (18, 44, 20, 6, 46, 27)),
        _Part("poly", "body", (82, 44, 80, 6, 54, 27)),
        _Part("oval", "body", (50, 56, 37, 34)),
        _Part("oval", _PALE, (36, 49, 7, 9)),
        _Part("oval", _PALE, (64, 49, 7, 9)),
        _Part("oval", _INK, (36, 50, 2.5, 6)),
        _Part("oval", _INK, (64, 50, 2.5, 6)),
        _Part("poly", "trim", (44, 63, 56, 63, 50, 70)),
        _Part("arc", _INK, (44, 71, 6, 6, 0, 180)),
        _Part("arc", _INK, (56, 71, 6, 6, 0, 180)),
        _Part("line", _INK, (4, 58, 30, 66)),
        _Part("line", _INK, (96, 58, 70, 66)),
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
    shift: Point
    seed: int


def look(subject: str, rng: random.Random) -> Look:
    """A look of its own for one sample."""
    hue = rng.random()
    return Look(
        subject=subject,
        body=_colour(hue, 0.75, 0.86),
        trim=_colour(hue + rng.uniform(0.12, 0.3), 0.7, 0.95),
        ground=_colour(hue + rng.uniform(0.42, 0.58), rng.uniform(0.08, 0.22), rng.uniform(0.9, 1.0)),
        table=_colour(hue + rng.uniform(0.42, 0.58), rng.uniform(0.25, 0.4), rng.uniform(0.66, 0.8)),
        cover=_colour(hue + rng.uniform(0.6, 0.8), 0.55, 0.7),
        shift=(rng.uniform(-7, 7), rng.uniform(-3, 3)),
        seed=rng.getrandbits(32),
    )


def behind_blocks(look: Look, aside: float) -> Image.Image:
    """The subject on a table behind toy blocks that stand `aside` pixels from hiding it."""
    canvas = _room(look)
    (x, y), side = _middle(look), 62.0
    _subject(canvas, look, (x - side / 2, y - side / 2, side, side))
    left, base = x + aside - 41, y + 44
    for row, (start, count) in enumerate(((0, 2), (-10, 2), (6, 2))):
        for column in range(count):
            corner = (left + start + column * 41, base - 27 * (row + 1))
            _block(canvas, corner, (41, 27), look.cover if (row + column) % 2 else look.trim)
    return canvas.finished()


def behind_passer(look: Look, aside: float) -> Image.Image:
    """The subject on a table while somebody walks past, `aside` pixels from hiding it."""
    canvas = _room(look)
    (x, y), side = _middle(look), 50.0
    _subject(canvas, look, (x - side / 2, y - side / 2, side, side))
    _passer(canvas, look, (x + aside, y))
    return canvas.finished()


def turned_box(look: Look, yaw: float) -> Image.Image:
    """A box turned by `yaw` degrees; only the face at 0 bears the subject, the others are bare."""
    canvas = _room(look)
    x, y = _middle(look)
    for face in range(4):
        facing = math.radians(yaw + 90 * face)
        if math.cos(facing) > 0.02:
            edges = [x + 58 * math.sin(facing + corner) for corner in (-math.pi / 4, math.pi / 4)]
            box = (edges[0], y - 42, edges[1] - edges[0], 84)
            _face(canvas, look, box, shade=math.cos(facing), bare=face > 0)
    return canvas.finished()


def degraded(look: Look, fault: str, level: int) -> Image.Image:
    """The subject in a photograph spoilt by one of `FAULTS`, at a level from 1 to `LEVELS`, the worst."""
    canvas = _room(look)
    (x, y), side = _middle(look), 92.0
    _subject(canvas, look, (x - side / 2, y - side / 2, side, side))
    return _SPOIL[fault](canvas.finished(), level, random.Random(look.seed + level))


def sketched(look: Look, share: float) -> Image.Image:
    """The first `share` of the strokes of a pen sketch of the subject."""
    canvas = _Canvas(SHEET, _PALE)
    rng = random.Random(look.seed)
    strokes = [_wobbly(_outline(part, closed=True), rng) for part in SUBJECTS[look.subject]]
    total = sum(map(_length, strokes))
    left = share * total
    corner = (22 + look.shift[0], 22 + look.shift[1])
    for stroke in strokes:
        drawn = _first(stroke, left)
        left -= _length(stroke)
        if len(drawn) > 1:
            canvas.line([(corner[0] + px * 1.16, corner[1] + py * 1.16) for px, py in drawn], look.body, 3)
    return canvas.finished()


def rising(look: Look, share: float) -> Image.Image:
    """A frame of a film at `share` of its length: the subject comes out of a crate, a bar shows the time."""
    canvas = _room(look)
    (x, y), side = _middle(look), 56.0
    top = y + 8 - 62 * min(1.0, max(0.0, share * 1.6 - 0.45))
    _subject(canvas, look, (x - side / 2, top, side, side))
    _crate(canvas, look, (x - 42, y + 2))
    width, height = FRAME
    canvas.fill(_rectangle(0, height - 8, width, 8), _INK, edge=None)
    canvas.fill(_rectangle(0, height - 7, width * (0.04 + 0.95 * share), 6), look.body, edge=None)
    return canvas.finished()


def landscape(look: Look, at: Point, side: float) -> Image.Image:
    """A wide view with the subject around the point `at`, in shares of the picture."""
    width, height = LANDSCAPE
    rng = random.Random(look.seed)
    canvas = _Canvas(LANDSCAPE, look.ground)
    canvas.oval((rng.uniform(60, 260), rng.uniform(24, 44)), (14, 14), "#f6d860")
    for hill in range(4):
        canvas.oval((hill * 110 + rng.uniform(-30, 10), 168), (90, rng.uniform(40, 66)), look.table)
    canvas.fill(_rectangle(-2, 158, width + 4, height), _LEAF)
    for _ in range(14):
        x, y = rng.uniform(0, width), rng.uniform(170, height)
        canvas.line([(x - 3, y - 6), (x, y), (x + 3, y - 6)], "#2c6e3b", 1.5)
    x, y = at[0] * width + look.shift[0], at[1] * height + look.shift[1]
    _subject(canvas, look, (x - side / 2, y - side / 2, side, side))
    return canvas.finished()


class _Canvas:
    """A picture under work, in pixels of the finished one."""

    def __init__(self, size: Size, ground: str) -> None:
        self._image = Image.new("RGB", (size[0] * _FINER, size[1] * _FINER), ground)
        self._draw = ImageDraw.Draw(self._image)

    def fill(self, points: Sequence[Point], tint: str, edge: str | None = _INK) -> None:
        self._draw.polygon(self._finer(points), fill=tint)
        if edge is not None:
            self.line([*points, points[0]], edge, 1.5)

    def line(self, points: Sequence[Point], tint: str, width: float) -> None:
        self._draw.line(self._finer(points), fill=tint, width=round(width * _FINER), joint="curve")

    def oval(self, centre: Point, radii: Point, tint: str, edge: str | None = _INK) -> None:
        self.fill(_ring(centre, radii), tint, edge)

    def finished(self) -> Image.Image:
        return self._image.reduce(_FINER)

    def _finer(self, points: Sequence[Point]) -> list[Point]:
        return [(x * _FINER, y * _FINER) for x, y in points]


def _room(look: Look) -> _Canvas:
    width, height = FRAME
    canvas = _Canvas(FRAME, look.ground)
    canvas.fill(_rectangle(-2, height * 0.6 + look.shift[1], width + 4, height), look.table)
    return canvas


def _middle(look: Look) -> Point:
    return FRAME[0] / 2 + look.shift[0], FRAME[1] * 0.5 + look.shift[1]


def _subject(canvas: _Canvas, look: Look, box: tuple[float, float, float, float]) -> None:
    left, top, width, height = box
    tints = {"body": look.body, "trim": look.trim}
    for part in SUBJECTS[look.subject]:
        points = [(left + x * width / 100, top + y * height / 100) for x, y in _outline(part)]
        tint = tints.get(part.tint, part.tint)
        if part.shape in ("poly", "oval"):
            canvas.fill(points, tint)
        else:
            thick = 8 if part.tint == "trim" else 3.5
            canvas.line(points, tint, max(1.5, thick * height / 100))


def _block(canvas: _Canvas, corner: Point, size: Point, tint: str) -> None:
    (x, y), (width, height) = corner, size
    for stud in (0.14, 0.58):
        canvas.fill(_rectangle(x + width * stud, y - 5, width * 0.28, 6), tint)
    canvas.fill(_rectangle(x, y, width, height), tint)


def _passer(canvas: _Canvas, look: Look, at: Point) -> None:
    x, y = at
    # The legs swing with the way walked, so that no two steps look alike.
    swing = 9 * math.sin(x / 9)
    for leg in (swing, -swing):
        canvas.line([(x + leg / 3, y + 30), (x + leg, y + 76)], _INK, 12)
    right = [(17, -30), (31, -6), (33, 46)]
    coat = [*right, *((-across, down) for across, down in reversed(right))]
    canvas.fill([(x + across, y + down) for across, down in coat], look.cover)
    canvas.line([(x, y - 30), (x, y + 46)], _INK, 1.5)
    canvas.oval((x, y - 45), (14, 16), "#d9a778")
    cap = _ring((x, y - 48), (16, 17), 180, 360)
    canvas.fill([*cap, (x + 22, y - 48)], look.trim)


def _face(
    canvas: _Canvas, look: Look, box: tuple[float, float, float, float], *, shade: float, bare: bool
) -> None:
    x, y, width, height = box
    canvas.fill(_rectangle(x, y, width, height), _shaded(look.cover, 0.55 + 0.45 * shade))
    canvas.fill(_rectangle(x, y + height * 0.06, width, height * 0.08), look.trim, edge=None)
    if not bare:
        canvas.fill(_rectangle(x + width * 0.1, y + height * 0.2, width * 0.8, height * 0.7), _PALE)
        _subject(canvas, look, (x + width * 0.16, y + height * 0.24, width * 0.68, height * 0.62))


def _crate(canvas: _Canvas, look: Look, corner: Point) -> None:
    x, y = corner
    canvas.fill(_rectangle(x, y, 84, 62), _WOOD)
    for plank in (16, 32, 48):
        canvas.line([(x, y + plank), (x + 84, y + plank)], _INK, 1)
    canvas.fill(_rectangle(x - 4, y - 4, 92, 9), look.cover)


def _outline(part: _Part, *, closed: bool = False) -> list[Point]:
    """The points of a part on its 100 x 100 sheet; `closed` repeats the first where the shape is a ring."""
    if part.shape in ("poly", "line"):
        points = list(zip(part.numbers[::2], part.numbers[1::2], strict=True))
    elif part.shape == "oval":
        x, y, across, down = part.numbers
        points = _ring((x, y), (across, down))
    else:
        x, y, across, down, start, end = part.numbers
        points = _ring((x, y), (across, down), start, end)
    return [*points, points[0]] if closed and part.shape in ("poly", "oval") else points


def _ring(centre: Point, radii: Point, start: float = 0, end: float = 360) -> list[Point]:
    turns = [math.radians(start + (end - start) * step / 28) for step in range(29)]
    return [(centre[0] + radii[0] * math.cos(turn), centre[1] + radii[1] * math.sin(turn)) for turn in turns]


def _rectangle(x: float, y: float, width: float, height: float) -> list[Point]:
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


def _wobbly(points: Sequence[Point], rng: random.Random) -> list[Point]:
    return [(x + rng.uniform(-0.9, 0.9), y + rng.uniform(-0.9, 0.9)) for x, y in points]


def _length(points: Sequence[Point]) -> float:
    return sum(map(math.dist, points, points[1:]))


def _first(points: Sequence[Point], length: float) -> list[Point]:
    """The part of a stroke that a pen has drawn after `length`."""
    drawn = [points[0]] if length > 0 else []
    for start, end in pairwise(points):
        way = math.dist(start, end)
        if length <= 0:
            break
        reached = min(1.0, length / way) if way else 1.0
        drawn.append((start[0] + (end[0] - start[0]) * reached, start[1] + (end[1] - start[1]) * reached))
        length -= way
    return drawn


def _colour(hue: float, saturation: float, value: float) -> str:
    red, green, blue = (round(255 * one) for one in colorsys.hsv_to_rgb(hue % 1, saturation, value))
    return f"#{red:02x}{green:02x}{blue:02x}"


def _shaded(tint: str, light: float) -> str:
    return "#" + bytes(round(one * light) for one in bytes.fromhex(tint[1:])).hex()


def _blurred(image: Image.Image, level: int, rng: random.Random) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(0.4 + level * level * 0.6))


def _noisy(image: Image.Image, level: int, rng: random.Random) -> Image.Image:
    noise = Image.frombytes("RGB", image.size, rng.randbytes(image.width * image.height * 3))
    return Image.blend(image, noise, (0, 0.25, 0.5, 0.68, 0.8, 0.88)[level])


def _bright(image: Image.Image, level: int, rng: random.Random) -> Image.Image:
    return Image.blend(image, Image.new("RGB", image.size, "white"), _FADED[level])


def _flat(image: Image.Image, level: int, rng: random.Random) -> Image.Image:
    return Image.blend(image, Image.new("RGB", image.size, "#77777a"), _FADED[level])


def _coarse(image: Image.Image, level: int, rng: random.Random) -> Image.Image:
    width = (0, 64, 40, 24, 16, 10)[level]
    small = image.resize((width, width * image.height // image.width), Image.Resampling.BOX)
    return small.resize(image.size, Image.Resampling.NEAREST)


def _squeezed(image: Image.Image, level: int, rng: random.Random) -> Image.Image:
    # JPEG alone stays readable at its worst; the smaller the picture it works on, the larger its blocks.
    shrunk = image.reduce(level + 1)
    packed = BytesIO()
    shrunk.save(packed, "JPEG", quality=18 - 3 * level)
    return Image.open(packed).resize(image.size, Image.Resampling.NEAREST)


def _patched(image: Image.Image, level: int, rng: random.Random) -> Image.Image:
    source, spoilt = image.copy(), image.copy()
    for _ in range(4 * level * level):
        x, y = rng.randrange(image.width - 24), rng.randrange(image.height - 18)
        patch = source.crop((x, y, x + 24, y + 18))
        spoilt.paste(patch, (rng.randrange(image.width - 24), rng.randrange(image.height - 18)))
    return spoilt


def _gaudy(image: Image.Image, level: int, rng: random.Random) -> Image.Image:
    return ImageChops.add(ImageEnhance.Color(image).enhance(1 + level * 2.5), image, scale=2 - level * 0.12)


_SPOIL = dict(
    zip(FAULTS, (_blurred, _noisy, _bright, _flat, _coarse, _squeezed, _patched, _gaudy), strict=True)
)
