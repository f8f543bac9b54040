"""The JSON of a data row, read and spelled as Python's own `json` would, mostly by `orjson`.

orjson takes a quarter of the time and differs in numbers only: it takes a whole number of more than
64 bits for a fraction, and spells fractions in its own way. So whatever holds a fraction, is nested
more deeply than rows are, or is refused by orjson, is left to `json`. What a row must hold is
`dataset`'s business.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from reprlib import repr as shortly
from string import Formatter
from typing import Any

import orjson

from pbclient.errors import DataError
from pbclient.images.frames import is_inside

# The environments make lists of this many numbers, and an episode may take this many turns.
MAX_FRAMES = 20_000
MAX_OPTIONS = 1_000
MAX_PIXEL = 1_000_000


type _Check = tuple[str, Callable[[Any], bool]]


# What JSON gives has exactly these types, and its true and false are no numbers here.
def _whole(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _is_frame(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_FRAMES


def _is_number(value: Any) -> bool:
    # No comparison holds for NaN.
    return type(value) in (int, float) and abs(value) <= MAX_PIXEL


def _is_list(value: Any, holds: Callable[[Any], bool], most: int) -> bool:
    return type(value) is list and len(value) <= most and all(map(holds, value))


def _is_text(value: Any) -> bool:
    return type(value) is str


def _are_texts(value: Any) -> bool:
    return type(value) is list and 0 < len(value) <= MAX_OPTIONS and {str}.issuperset(map(type, value))


def _is_crop(value: Any) -> bool:
    return type(value) is dict and all(_is_number(value.get(edge)) for edge in _EDGES)


_EDGES = ("top", "left", "height", "width")

_TEXT: _Check = ("a text", _is_text)
_TEXTS: _Check = (f"a list of 1 to {MAX_OPTIONS} texts", _are_texts)
_FRAME: _Check = (f"a whole number from 0 to {MAX_FRAMES}", _is_frame)
_COUNT: _Check = (f"a whole number from 1 to {MAX_FRAMES}", lambda value: _whole(value, 1, MAX_FRAMES))
_NUMBER: _Check = (f"a number of at most {MAX_PIXEL}", _is_number)
# These are only written into paths, so a text serves as well.
_NAME: _Check = (
    "a frame's number or name",
    lambda value: _is_frame(value) or _is_text(value),
)
_MAYBE_NAME: _Check = (
    "a frame's number or name, or null",
    lambda value: value is None or _is_frame(value) or _is_text(value),
)
_NAMES: _Check = (
    f"a list of at most {MAX_FRAMES} frame numbers or names",
    lambda value: _is_list(value, _NAME[1], MAX_FRAMES),
)
_FLAG: _Check = ("true or false", lambda value: type(value) is bool or _whole(value, 0, 1))
_CROP: _Check = (f"an object with the numbers {', '.join(_EDGES)}", _is_crop)

# What the environments read of every row, and what single ones read besides or otherwise.
_COMMON_FIELDS: Mapping[str, _Check] = {
    "image_template": _TEXT,
    "first_image": _FRAME,
    "num_images": _COUNT,
    "reference_image": _MAYBE_NAME,
    "prompt": _TEXT,
    "options": _TEXTS,
    "categories": _TEXTS,
    "answer": _TEXT,
}
_OWN_FIELDS: Mapping[str, Mapping[str, _Check]] = {
    "ROD": {},
    "VSOD": {"strong_occlusions": _FLAG},
    "MVP-N": {"valid_images": _NAMES, "first_image": _NAME},
    "IN-C": {"quality_answer": _TEXT},
    "QD": {},
    "CIT": {"step_size": _FRAME, "max_steps": _COUNT},
    "COCO": {
        "direction": _TEXT,
        "granularity": _COUNT,
        "horizontal_step": _NUMBER,
        "vertical_step": _NUMBER,
        "crop": _CROP,
    },
}
_FIELDS = {acronym: {**_COMMON_FIELDS, **own} for acronym, own in _OWN_FIELDS.items()}

# What the environments fill into the path; that of COCO takes it as it is.
_PLACES: Mapping[str, frozenset[str] | None] = {
    "ROD": frozenset({"image"}),
    "VSOD": frozenset({"image"}),
    "MVP-N": frozenset({"image", "informative"}),
    "IN-C": frozenset({"level"}),
    "QD": frozenset({"image"}),
    "CIT": frozenset({"image"}),
    "COCO": None,
}


def sample_id(row: Mapping[str, Any]) -> int:
    found = row.get("id")
    if "id" not in row:
        raise DataError("field 'id' is missing")
    if not isinstance(found, int) or isinstance(found, bool):
        raise DataError(f"field 'id' must be a whole number, not {shortly(found)}")
    return found


def check_row(acronym: str, row: Mapping[str, Any]) -> None:
    """Refuse a row that the environment of this data set could not read."""
    for name, (wanted, holds) in _FIELDS[acronym].items():
        if name not in row:
            raise DataError(f"field {name!r} is missing")
        if not holds(row[name]):
            raise DataError(f"field {name!r} must be {wanted}, not {shortly(row[name])}")
    if row["answer"] not in row["categories"]:
        raise DataError(f"field 'answer' is none of the categories: {shortly(row['answer'])}")
    _check_template(row["image_template"], _PLACES[acronym])


def _check_template(template: str, places: frozenset[str] | None) -> None:
    """Refuse what `str.format` must not be given: it follows attributes and indexes."""
    filled = template if places is None else _filled(template, places)
    if not is_inside(filled):
        raise DataError(f"field 'image_template' leads out of the data folder: {shortly(template)}")


def _filled(template: str, places: frozenset[str]) -> str:
    filled = template
    for place in places:
        filled = filled.replace(f"{{{place}}}", "0")
    # Only where other braces are left it takes a parser to say what they mean.
    return "".join(_parts(template, places)) if "{" in filled or "}" in filled else filled


def _parts(template: str, places: frozenset[str]) -> Iterator[str]:
    try:
        for text, place, width, conversion in Formatter().parse(template):
            if place is not None and (place not in places or width or conversion):
                raise ValueError("unknown place")
            yield text if place is None else f"{text}0"
    except ValueError:
        allowed = " and ".join(f"{{{place}}}" for place in sorted(places))
        raise DataError(f"field 'image_template' may hold {allowed} only: {shortly(template)}") from None


_decode = json.JSONDecoder().decode
_encode = json.JSONEncoder(
    sort_keys=True, ensure_ascii=False, separators=(",", ":"), check_circular=False
).encode
_ALIKE = frozenset((str, int, bool, type(None)))
_LFS_POINTER = b"version https://git-lfs"


def read(line: bytes) -> dict[str, Any]:
    """The row in a line of a data file. Raises `DataError` for what is none."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return _read(line)  # which may take it (`NaN`), or says what is wrong
    return row if _is_alike(row) else _read(line)


def spelled(row: Mapping[str, Any]) -> bytes:
    """The one spelling of a row that was read, for digests: sorted keys, no spaces, UTF-8.

    Raises `DataError` for a text that UTF-8 cannot say.
    """
    if _is_alike(row):
        try:
            return orjson.dumps(row, option=orjson.OPT_SORT_KEYS)
        except orjson.JSONEncodeError:
            pass  # half a surrogate pair, or a number of more than 64 bits
    try:
        return _encode(row).encode("utf-8")
    except UnicodeEncodeError:
        raise DataError("a text holds half a surrogate pair, which cannot be sent") from None
    except RecursionError:
        raise DataError("a value is nested too deeply") from None


def _is_alike(row: object) -> bool:
    """Whether this is an object of leaves, and of lists and objects of leaves, without a fraction."""
    if type(row) is not dict:
        return False
    inner: set[type] = set()
    for value in row.values():
        kind = type(value)
        if kind is list:
            inner.update(map(type, value))
        elif kind is dict:
            inner.update(map(type, value.values()))
        elif kind not in _ALIKE:
            return False
    return inner <= _ALIKE


def _read(line: bytes) -> dict[str, Any]:
    try:
        row = _decode(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(_broken(line, error)) from None
    if not isinstance(row, dict):
        raise DataError(f"a row must be a JSON object, not {type(row).__name__}")
    return row


def _broken(line: bytes, error: Exception) -> str:
    if line.startswith(_LFS_POINTER):
        return "this is a Git LFS pointer and not the data: run git lfs pull"
    reason = f"{error.msg} at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else error
    if not line.endswith(b"\n"):
        return f"the file ends in the middle of a row ({reason}): the download is incomplete, start it again"
    return f"not valid JSON ({reason})"
