"""The JSON of a data row, read and spelled as Python's own `json` would, mostly by `orjson`.

orjson takes a quarter of the time and differs in numbers only: it takes a whole number of more than
64 bits for a fraction, and spells fractions in its own way. So whatever holds a fraction, is nested
more deeply than rows are, or is refused by orjson, is left to `json`. What a row must hold is
`dataset`'s business.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson

from pbclient.errors import DataError

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
