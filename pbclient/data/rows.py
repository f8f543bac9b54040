"""The rows of the data files: read one, spell it for digests, refuse what no environment could play."""

from __future__ import annotations

import json
from collections.abc import Mapping
from reprlib import repr as shortly
from string import Formatter
from typing import Any

from pbclient.errors import DataError
from pbclient.images.frames import is_inside
from pbclient.option import Rule

# The environments make lists of this many numbers, and an episode may take this many turns.
MAX_FRAMES = 20_000
MAX_OPTIONS = 1_000
MAX_PIXEL = 1_000_000

_LFS_POINTER = b"version https://git-lfs"

_decode = json.JSONDecoder().decode
_encode = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode


def read(line: bytes) -> dict[str, Any]:
    """The row in a line of a data file. Raises `DataError` for what is none."""
    try:
        row = _decode(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        if line.startswith(_LFS_POINTER):
            raise DataError("this is a Git LFS pointer and not the data: run git lfs pull") from None
        reason = str(error)
        if isinstance(error, json.JSONDecodeError):
            reason = f"{error.msg} at character {error.pos + 1}"
        if not line.endswith(b"\n"):
            raise DataError(
                f"the file ends in the middle of a row ({reason}): the download is incomplete, start it again"
            ) from None
        raise DataError(f"not valid JSON ({reason})") from None
    if not isinstance(row, dict):
        raise DataError(f"a row must be a JSON object, not {type(row).__name__}")
    return row


def spelled(row: Mapping[str, Any]) -> bytes:
    """The one spelling of a row that was read, for digests: sorted keys, no spaces, UTF-8.

    Raises `DataError` for a text that UTF-8 cannot say.
    """
    try:
        return _encode(row).encode("utf-8")
    except UnicodeEncodeError:
        raise DataError("a text holds half a surrogate pair, which cannot be sent") from None
    except RecursionError:
        raise DataError("a value is nested too deeply") from None


# What JSON gives has exactly the built-in types, and its true and false are no numbers here.
def _whole(least: int, most: int) -> Rule:
    return Rule(
        f"a whole number from {least} to {most}",
        lambda value: type(value) is int and least <= value <= most,
    )


def _is_pixels(value: object) -> bool:
    return type(value) in (int, float) and abs(value) <= MAX_PIXEL  # type: ignore[arg-type]  # NaN is none


TEXT = Rule("a text", lambda value: type(value) is str)
TEXTS = Rule(
    f"a list of 1 to {MAX_OPTIONS} texts",
    lambda value: (
        type(value) is list and 0 < len(value) <= MAX_OPTIONS and {str}.issuperset(map(type, value))
    ),
)
FRAME = _whole(0, MAX_FRAMES)
COUNT = _whole(1, MAX_FRAMES)
# These are only written into paths, so a text serves as well.
NAME = Rule("a frame's number or name", lambda value: type(value) is str or FRAME.holds(value))
NAMES = Rule(
    f"a list of at most {MAX_FRAMES} frame numbers or names",
    lambda value: type(value) is list and len(value) <= MAX_FRAMES and all(map(NAME.holds, value)),
)
FLAG = Rule("true or false", lambda value: type(value) in (bool, int) and value in (0, 1))
PIXELS = Rule(f"a number of at most {MAX_PIXEL}", _is_pixels)
CROP = Rule(
    "an object with the numbers top, left, height, width",
    lambda value: (
        type(value) is dict
        and all(_is_pixels(value.get(side)) for side in ("top", "left", "height", "width"))
    ),
)

# What the environments read of every row, and what single ones read besides or otherwise.
FIELDS: Mapping[str, Rule] = {
    "image_template": TEXT,
    "first_image": FRAME,
    "num_images": COUNT,
    "reference_image": Rule(
        "a frame's number or name, or null", lambda value: value is None or NAME.holds(value)
    ),
    "prompt": TEXT,
    "options": TEXTS,
    "categories": TEXTS,
    "answer": TEXT,
}
FIELDS_OF: Mapping[str, Mapping[str, Rule]] = {
    "ROD": FIELDS,
    "VSOD": {**FIELDS, "strong_occlusions": FLAG},
    "MVP-N": {**FIELDS, "valid_images": NAMES, "first_image": NAME},
    "IN-C": {**FIELDS, "quality_answer": TEXT},
    "QD": FIELDS,
    "CIT": {**FIELDS, "step_size": FRAME, "max_steps": COUNT},
    "COCO": {
        **FIELDS,
        "direction": TEXT,
        "granularity": COUNT,
        "horizontal_step": PIXELS,
        "vertical_step": PIXELS,
        "crop": CROP,
    },
}

# What the environments fill into the path; that of COCO takes it as it is.
PLACES: Mapping[str, frozenset[str] | None] = {
    "ROD": frozenset({"image"}),
    "VSOD": frozenset({"image"}),
    "MVP-N": frozenset({"image", "informative"}),
    "IN-C": frozenset({"level"}),
    "QD": frozenset({"image"}),
    "CIT": frozenset({"image"}),
    "COCO": None,
}


def sample_id(row: Mapping[str, Any]) -> int:
    """The id of a row. Raises `DataError` when it has none."""
    if "id" not in row:
        raise DataError("field 'id' is missing")
    if type(row["id"]) is not int:
        raise DataError(f"field 'id' must be a whole number, not {shortly(row['id'])}")
    return int(row["id"])


def check_row(acronym: str, row: Mapping[str, Any]) -> None:
    """Refuse a row that the environment of this data set could not read."""
    for name, field in FIELDS_OF[acronym].items():
        if name not in row:
            raise DataError(f"field {name!r} is missing")
        if not field.holds(row[name]):
            raise DataError(f"field {name!r} must be {field.words}, not {shortly(row[name])}")
    if row["answer"] not in row["categories"]:
        raise DataError(f"field 'answer' is none of the categories: {shortly(row['answer'])}")
    template, places = row["image_template"], PLACES[acronym]
    if not is_inside(template if places is None else _filled(template, places)):
        raise DataError(f"field 'image_template' leads out of the data folder: {shortly(template)}")


def _filled(template: str, places: frozenset[str]) -> str:
    """A template with its places filled. Refuses what `str.format` must not be given: it follows
    attributes and indexes."""
    filled = ""
    try:
        for text, place, width, conversion in Formatter().parse(template):
            if place is not None and (place not in places or width or conversion):
                raise ValueError("unknown place")
            filled += text if place is None else f"{text}0"
    except ValueError:
        allowed = " and ".join(f"{{{place}}}" for place in sorted(places))
        raise DataError(f"field 'image_template' may hold {allowed} only: {shortly(template)}") from None
    return filled
