"""The words of the seam: what is asked of a model, and what comes back.

Values only, as named tuples: every call makes several, and a frozen dataclass takes twice as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, Protocol

from providers.errors import ParameterRejected
from providers.rate_limit import RateLimit
from providers.usage import Usage

type Json = bool | int | float | str | list[Json] | dict[str, Json] | None

Role = Literal["system", "user", "assistant"]
Finish = Literal["stop", "length", "refusal"]


@dataclass(frozen=True)
class EncodedImage:
    """Image bytes exactly as they go over the wire; `width` and `height` in pixels.

    Each wire asks for one of the two base64 forms, so only one of them is ever kept.
    """

    media_type: str
    data: bytes
    width: int
    height: int

    @cached_property
    def base64(self) -> bytes:
        """The bytes as base64, made once however often the image is sent."""
        from pybase64 import b64encode  # a fifteenth of the standard library's time

        return b64encode(self.data)

    @cached_property
    def data_url(self) -> str:
        """The bytes as a base64 data URL, made once however often the image is sent."""
        from pybase64 import b64encode_as_string

        return f"data:{self.media_type};base64,{b64encode_as_string(self.data)}"


class Image(Protocol):
    """An image that can say what it is before it is decoded."""

    @property
    def identity(self) -> Mapping[str, Json]:
        """What a cache key says of it: the digest of its source bytes and what is done to them."""
        ...

    async def encode(self) -> EncodedImage:
        """The bytes to send. Raises `BadRequest` when they cannot be made."""
        ...


type Part = str | Image


class Message(NamedTuple):
    """One message; `parts` are texts and images in the order in which the model reads them.

    `repeated`: all up to here is sent again by later requests, which a vendor that sells repeated
    prefixes for less may be told. It is neither asked nor part of a key.
    """

    role: Role
    parts: tuple[Part, ...]
    repeated: bool = False


class Request(NamedTuple):
    """One question to one model.

    `params` are the sampling options as sent (`max_tokens` is always among them).
    `repeat` numbers independent draws of one question; `turn` is how many turns of its
    episode are already answered, which is what a queue may order by. The rest is filled in on
    the way by the cache and the purse that a request passes: its spelling in the cache, the `key`
    that names it and the number of the hold that covers it. None of the five is sent.
    """

    messages: tuple[Message, ...]
    params: Mapping[str, Json]
    repeat: int = 0
    turn: int = 0
    key: str = ""
    hold: int = 0
    spelled: bytes = b""


class Response(NamedTuple):
    """What the model said.

    `finish` is `refusal` when the model or a filter declined, `length` when the output
    limit cut it off. `cost` is in dollars and only there when the provider itself reported
    it. `model` is the model that the provider says served the call.
    A cache around the provider fills in `key` (of the request), `hit` (the answer was there and nothing was
    sent) and the `seconds` that it took on the wire when it was bought. `limits` are what the provider
    announced with this answer; they are never stored.
    """

    text: str
    finish: Finish
    usage: Usage | None = None
    cost: float | None = None
    model: str | None = None
    key: str | None = None
    hit: bool = False
    limits: tuple[RateLimit, ...] = ()
    seconds: float = 0.0


class Provider(Protocol):
    """Asks one model one thing. Whatever wraps a provider is a provider itself."""

    async def complete(self, request: Request) -> Response:
        """One answer, or a `ProviderError`. A bare provider makes one call on the wire."""
        ...


# These are not options: they are what is asked, and how the answer comes back.
RESERVED = frozenset({"contents", "messages", "model", "stream", "stream_options"})


def given(params: Mapping[str, Json]) -> dict[str, Json]:
    """The options that are set. Raises `ParameterRejected` for what is none."""
    for name in params:
        if name in RESERVED:
            raise ParameterRejected(f"{name!r} is not a sampling option.", name)
    return {name: value for name, value in params.items() if value is not None}
