"""The rows of the data files: read one, spell it for digests, refuse what no environment could play."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from reprlib import repr as shortly
from string import Formatter
from typing import Any

from pbclient.errors import DataError
from pbclient.images.frames import is_inside

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


@dataclass(frozen=True, slots=True)
class Field:
    """What a field must hold, in words and as a test.

    What JSON gives has exactly the built-in types, and its true and false are no numbers here.
    """

    words: str
    holds: Callable[[Any], bool]


def whole(least: int, most: int) -> Field:
    """A whole number."""
    return Field(
        f"a whole number from {least} to {most}",
        lambda value: type(value) is int and least <= value <= most,
    )


def number(most: int) -> Field:
    """A number that is not too far from 0; no comparison holds for NaN."""
    return Field(
        f"a number of at most {most}", lambda value: type(value) in (int, float) and abs(value) <= most
    )


def texts(most: int) -> Field:
    """A list of texts that is not empty."""
    return Field(
        f"a list of 1 to {most} texts",
        lambda value: type(value) is list and 0 < len(value) <= most and {str}.issuperset(map(type, value)),
    )


def either(words: str, *fields: Field) -> Field:
    """What one of these fields may hold."""
    return Field(words, lambda value: any(field.holds(value) for field in fields))


def record(**fields: Field) -> Field:
    """An object that has these fields, and perhaps others."""
    return Field(
        f"an object with the numbers {', '.join(fields)}",
        lambda value: type(value) is dict and all(fields[name].holds(value.get(name)) for name in fields),
    )


TEXT = Field("a text", lambda value: type(value) is str)
BOOL = Field("true or false", lambda value: type(value) is bool)
NULL = Field("null", lambda value: value is None)
FRAME = whole(0, MAX_FRAMES)
COUNT = whole(1, MAX_FRAMES)
# These are only written into paths, so a text serves as well.
NAME = either("a frame's number or name", FRAME, TEXT)
NAMES = Field(
    f"a list of at most {MAX_FRAMES} frame numbers or names",
    lambda value: type(value) is list and len(value) <= MAX_FRAMES and all(map(NAME.holds, value)),
)
PIXELS = number(MAX_PIXEL)

# What the environments read of every row, and what single ones read besides or otherwise.
FIELDS: Mapping[str, Field] = {
    "image_template": TEXT,
    "first_image": FRAME,
    "num_images": COUNT,
    "reference_image": either("a frame's number or name, or null", NAME, NULL),
    "prompt": TEXT,
    "options": texts(MAX_OPTIONS),
    "categories": texts(MAX_OPTIONS),
    "answer": TEXT,
}
FIELDS_OF: Mapping[str, Mapping[str, Field]] = {
    "ROD": FIELDS,
    "VSOD": {**FIELDS, "strong_occlusions": either("true or false", BOOL, whole(0, 1))},
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
        "crop": record(top=PIXELS, left=PIXELS, height=PIXELS, width=PIXELS),
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
    filled = template
    for name in places:
        filled = filled.replace(f"{{{name}}}", "0")
    if "{" not in filled and "}" not in filled:
        return filled
    # Only where other braces are left it takes a parser to say what they mean.
    try:
        filled = ""
        for text, place, width, conversion in Formatter().parse(template):
            if place is not None and (place not in places or width or conversion):
                raise ValueError("unknown place")
            filled += text if place is None else f"{text}0"
    except ValueError:
        allowed = " and ".join(f"{{{place}}}" for place in sorted(places))
        raise DataError(f"field 'image_template' may hold {allowed} only: {shortly(template)}") from None
    return filled
