"""The one spelling of a JSON value, and the digest that names it.

Two values share a spelling only if they are the same value: `1`, `1.0` and `True` differ, the
order of an object's keys does not. What a request consists of is the caller's business; who
spells much that is alike may put a spelling together from those of its parts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

import orjson

from cache.errors import CacheError

type Json = bool | int | float | str | list[Json] | dict[str, Json] | None

# Deeper values might be written and then not be read back: the C parser has its own limit.
MAX_DEPTH = 100

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
# What orjson spells as Python does. Floats are not among it: orjson writes other exponents.
_PLAIN = frozenset((type(None), bool, int, str))
_LEAVES = _PLAIN | {float}
_TEXT = frozenset((str,))


def canonical(value: Json) -> bytes:
    """The bytes that stand for `value`: sorted keys, no spaces, UTF-8.

    Raises `CacheError` for whatever is not JSON: NaN, infinities, tuples, keys that are no
    strings. Lone surrogates, which Python's own JSON parser lets in, keep bytes of their own.
    """
    if _is_plain(value):  # most of what is spelled
        try:
            return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        except orjson.JSONEncodeError:
            pass  # half a surrogate pair, or a number of more than 64 bits
    try:
        text = _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise CacheError(f"this value is not JSON: {error}") from error
    _refuse_lookalikes(value)
    return text.encode("utf-8", "surrogatepass")


def digest(value: Json) -> str:
    """The SHA-256 of `canonical(value)`, in hexadecimal."""
    return digest_of(canonical(value))


def digest_of(spelled: bytes) -> str:
    """The digest of the value that is spelled so."""
    return hashlib.sha256(spelled).hexdigest()


def _refuse_lookalikes(value: Json) -> None:
    """Raise for what the encoder takes but would not give back: tuples, enums, `{1: ...}`."""
    level: list[Json] = [value]
    for _ in range(MAX_DEPTH):
        deeper: list[Json] = []
        for item in level:
            kind = type(item)
            if kind in _LEAVES:
                continue
            if kind is dict:
                deeper.extend(_members(item))  # type: ignore[arg-type]  # `kind` is its exact type
            elif kind is list:
                deeper.extend(item)  # type: ignore[arg-type]  # likewise
            else:
                raise CacheError(f"this value is not JSON: it holds a {kind.__name__}")
        if not deeper:
            return
        level = deeper
    raise CacheError(f"this value is nested deeper than {MAX_DEPTH} levels")


def _is_plain(value: Json) -> bool:
    """Whether orjson spells it in the one way: a text, or an object of leaves and of objects of leaves."""
    if type(value) is not dict:
        return type(value) is str
    inner = [each for each in value.values() if type(each) not in _PLAIN]
    return _are_texts(value) and all(map(_is_flat, inner))


def _is_flat(value: Json) -> bool:
    return type(value) is dict and _are_texts(value) and _PLAIN.issuperset(map(type, value.values()))


def _are_texts(keys: Iterable[object]) -> bool:
    return _TEXT.issuperset(map(type, keys))


def _members(item: dict[str, Json]) -> list[Json]:
    for key in item:
        if type(key) is not str:
            raise CacheError(f"this value is not JSON: it holds a key that is a {type(key).__name__}")
    return list(item.values())
