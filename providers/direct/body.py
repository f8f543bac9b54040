"""A request's body as bytes: each image's base64 is made once and copied in, never serialised again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import cache

from providers.types import EncodedImage, Json, Part

type Picture = Callable[[EncodedImage], Iterable[bytes]]


def dumped(value: Json) -> bytes:
    """JSON in ASCII: half a surrogate pair, which UTF-8 has no bytes for, is written too."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


@cache
def opened(text: str) -> bytes:
    """A JSON string without its closing quote; for the few words that stand in every request."""
    return dumped(text)[:-1]


def separated(items: Iterable[Iterable[bytes]]) -> list[bytes]:
    """The pieces of all items with commas between the items."""
    pieces: list[bytes] = []
    for item in items:
        if pieces:
            pieces.append(b",")
        pieces += item
    return pieces


async def blocks(parts: Iterable[Part], picture: Picture) -> list[bytes]:
    """The pieces of a list of content parts, without its brackets."""
    return separated(
        [
            (b'{"type":"text","text":', dumped(part), b"}")
            if isinstance(part, str)
            else picture(await part.encode())
            for part in parts
        ]
    )


def body(
    model: str, options: Mapping[str, Json], messages: Iterable[bytes], more: Iterable[bytes] = ()
) -> bytes:
    """One object of the model, the options and the messages; `more` are pieces of further fields."""
    head = dumped({"model": model, **options})
    return b"".join((head[:-1], *more, b',"messages":[', *messages, b"]}"))
