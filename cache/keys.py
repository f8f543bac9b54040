"""The one spelling of a JSON value, and the digest that names it.

Two values share a spelling only if they are the same value: `1`, `1.0` and `True` differ, the
order of an object's keys does not. Who spells much that is alike may put a spelling together from
those of its parts.
"""

from __future__ import annotations

import hashlib
import json

from cache.errors import CacheError

type Json = bool | int | float | str | list[Json] | dict[str, Json] | None

# Deeper values might be written and then not be read back: the C parser has its own limit.
MAX_DEPTH = 100

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
_LEAVES = frozenset((type(None), bool, int, float, str))


def canonical(value: Json) -> bytes:
    """The bytes that stand for `value`: sorted keys, no spaces, UTF-8.

    Raises `CacheError` for whatever is not JSON: NaN, infinities, tuples, keys that are no
    strings. Lone surrogates, which Python's own JSON parser lets in, keep bytes of their own.
    """
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
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        deeper: list[object] = []
        for item in level:
            if type(item) in _LEAVES:
                continue
            if type(item) is dict:
                for key in item:
                    if type(key) is not str:
                        kind = type(key).__name__
                        raise CacheError(f"this value is not JSON: it holds a key that is a {kind}")
                deeper.extend(item.values())
            elif type(item) is list:
                deeper.extend(item)
            else:
                raise CacheError(f"this value is not JSON: it holds a {type(item).__name__}")
        if not deeper:
            return
        level = deeper
    raise CacheError(f"this value is nested deeper than {MAX_DEPTH} levels")
