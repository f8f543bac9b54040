"""Cache key and stored form of requests and responses, as JSON.

Everything that may change the answer is in a request's JSON and nothing else: images as their
digests, options as sent, the repeat number; no API key, no path, no timeout.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from cache import canonical
from providers.types import Json, Message, Request, Response
from providers.usage import Usage

SCHEMA = 1
_FIELDS = frozenset(("text", "finish", "usage", "cost", "model", "run", "hold", "seconds"))


def request_json(identity: Mapping[str, Json], request: Request) -> dict[str, Json]:
    """What the cache key is made of; `identity` is the provider, endpoint and model."""
    messages: list[Json] = []
    for message in request.messages:
        parts: list[Json] = [
            {"text": part} if isinstance(part, str) else {"image": dict(part.identity)}
            for part in message.parts
        ]
        messages.append({"role": message.role, "parts": parts})
    return {
        "schema": SCHEMA,
        "provider": dict(identity),
        "messages": messages,
        "params": dict(request.params),
        "repeat": request.repeat,
    }


class KeyWriter:
    """Write the bytes of requests to one provider: those of `canonical(request_json(identity, request))`.

    They are put together from the bytes of their parts, of which most are the same in every request.
    """

    def __init__(self, identity: Mapping[str, Json]) -> None:
        self._provider = canonical(dict(identity))
        self._params: Mapping[str, Json] | None = None
        self._params_bytes = b""

    def __call__(self, request: Request) -> bytes:
        # A run hands on one and the same mapping with every request.
        if request.params is not self._params:
            self._params, self._params_bytes = request.params, canonical(dict(request.params))
        messages = b",".join(map(_message_bytes, request.messages))
        rest = self._params_bytes, self._provider, request.repeat, SCHEMA
        return b'{"messages":[%b],"params":%b,"provider":%b,"repeat":%d,"schema":%d}' % (messages, *rest)


def _message_bytes(message: Message) -> bytes:
    parts = [
        b'{"text":%b}' % canonical(part)
        if isinstance(part, str)
        else b'{"image":%b}' % canonical(dict(part.identity))
        for part in message.parts
    ]
    return b'{"parts":[%b],"role":"%b"}' % (b",".join(parts), message.role.encode())


def is_request(asked: Json) -> bool:
    """Whether a stored value is what `request_json` makes."""
    return isinstance(asked, dict) and "messages" in asked


def asked_of(asked: Json) -> Json:
    """The identity of who was asked, in what `request_json` made; None in anything else."""
    return asked.get("provider") if isinstance(asked, dict) else None


def images_in(asked: Json) -> int:
    """How many images were shown, in what `request_json` made."""
    messages: Any = asked.get("messages", []) if isinstance(asked, dict) else []
    return sum("image" in part for message in messages for part in message["parts"])


def response_json(response: Response, run: str, hold: int) -> dict[str, Json]:
    """A response as JSON, with the id of the run that bought it and the hold that covered it."""
    return {
        "text": response.text,
        "finish": response.finish,
        "usage": response.usage._asdict() if response.usage else None,
        "cost": response.cost,
        "model": response.model,
        "seconds": response.seconds,
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
    """The response in a stored answer; with a `key` it is a hit. Raises `ValueError` when it is none."""
    try:
        fields: dict[str, Any] = cast("dict[str, Any]", answer)
        if not fields.keys() <= _FIELDS:
            raise ValueError(f"it has {min(fields.keys() - _FIELDS)!r}")
        text, finish = fields["text"], fields["finish"]
        usage = Usage(**fields["usage"]) if fields["usage"] else None
        cost, model = fields.get("cost"), fields.get("model")
        # Earlier versions did not keep it.
        seconds = float(fields.get("seconds", 0))
        response = Response(text, finish, usage, cost, model, key, key is not None, seconds=seconds)
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise ValueError(f"not a stored answer: {error}") from None
    if not isinstance(response.text, str) or response.finish not in ("stop", "length", "refusal"):
        raise ValueError("not a stored answer: wrong fields")
    return response
