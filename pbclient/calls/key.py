"""A request as the JSON that is hashed and kept beside its answer, and an answer as JSON.

Everything that may change the answer is in it and nothing else: images as their digests,
options as sent, the repeat number; no key, no path, no timeout.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from cache import canonical
from providers.types import Json, Message, Part, Request, Response, Usage

SCHEMA = 1
_PACKED = frozenset(("text", "finish", "usage", "cost", "model", "run", "hold"))


def request_json(identity: Mapping[str, Json], request: Request) -> dict[str, Json]:
    """What the cache key is made of; `identity` is the provider, endpoint and model."""
    return {
        "schema": SCHEMA,
        "provider": dict(identity),
        "messages": [_message(message) for message in request.messages],
        "params": dict(request.params),
        "repeat": request.repeat,
    }


class KeyWriter:
    """Spells what is asked of one provider: `spelling(request)` is `canonical(describe(identity, request))`.

    It is put together from the spellings of its parts, of which most are the same in every request.
    """

    def __init__(self, identity: Mapping[str, Json]) -> None:
        self._provider = canonical(dict(identity))
        self._params: Mapping[str, Json] | None = None
        self._spelled = b""

    def __call__(self, request: Request) -> bytes:
        # A run hands on one and the same mapping with every request.
        if request.params is not self._params:
            self._params, self._spelled = request.params, canonical(dict(request.params))
        messages = b",".join(map(_spelled_message, request.messages))
        rest = self._spelled, self._provider, request.repeat, SCHEMA
        return b'{"messages":[%b],"params":%b,"provider":%b,"repeat":%d,"schema":%d}' % (messages, *rest)


def _spelled_message(message: Message) -> bytes:
    parts = b",".join(map(_spelled_part, message.parts))
    return b'{"parts":[%b],"role":"%b"}' % (parts, message.role.encode())


def _spelled_part(part: Part) -> bytes:
    if isinstance(part, str):
        return b'{"text":%b}' % canonical(part)
    return b'{"image":%b}' % canonical(dict(part.identity))


def is_request(asked: Json) -> bool:
    """Whether a stored value is what `describe` makes."""
    return isinstance(asked, dict) and "messages" in asked


def asked_of(asked: Json) -> Json:
    """The identity of who was asked, in what `describe` made; None in anything else."""
    return asked.get("provider") if isinstance(asked, dict) else None


def images_in(asked: Json) -> int:
    """How many images were shown, in what `describe` made."""
    messages: Any = asked.get("messages", []) if isinstance(asked, dict) else []
    return sum("image" in part for message in messages for part in message["parts"])


def _message(message: Message) -> dict[str, Json]:
    return {"role": message.role, "parts": [_part(part) for part in message.parts]}


def _part(part: Part) -> Json:
    return {"text": part} if isinstance(part, str) else {"image": dict(part.identity)}


def response_json(response: Response, run: str, hold: int) -> dict[str, Json]:
    """A response as JSON, with the id of the run that bought it and the hold that covered it."""
    return {
        "text": response.text,
        "finish": response.finish,
        "usage": response.usage._asdict() if response.usage else None,
        "cost": response.cost,
        "model": response.model,
        "run": run,
        "hold": hold,
    }


def bought_by(answer: Json) -> tuple[Json, int]:
    """The id of the run that bought a stored answer, and its hold there."""
    if not isinstance(answer, dict):
        return None, 0
    hold = answer.get("hold")
    return answer.get("run"), hold if isinstance(hold, int) else 0


def response_from(answer: Json, key: str | None = None) -> Response:
    """The response that `pack` packed; with a `key` it is a hit. Raises `ValueError` when it is none."""
    try:
        fields: dict[str, Any] = cast("dict[str, Any]", answer)
        if not fields.keys() <= _PACKED:
            raise ValueError(f"it has {min(fields.keys() - _PACKED)!r}")
        text, finish, usage = fields["text"], fields["finish"], fields["usage"]
        used = Usage(**usage) if usage else None
        response = Response(text, finish, used, fields.get("cost"), fields.get("model"), key, key is not None)
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise ValueError(f"not a stored answer: {error}") from None
    if not isinstance(response.text, str) or response.finish not in ("stop", "length", "refusal"):
        raise ValueError("not a stored answer: wrong fields")
    return response
