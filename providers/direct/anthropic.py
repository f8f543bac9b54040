"""Write Anthropic's messages as bytes, and read their answers.

OpenAI's names of options are written as Anthropic's where both mean the same. What has no
counterpart is refused before anything is sent, never dropped in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby, takewhile
from typing import Any

from providers.catalog.target import Asked
from providers.direct.body import blocks, body, opened, separated
from providers.errors import BadRequest, MalformedResponse, ParameterRejected
from providers.replies.answers import ended, finish_of
from providers.replies.bodies import texts
from providers.replies.usage import in_message
from providers.types import EncodedImage, Json, Request, Response, given

VERSION = "2023-06-01"

NO_EFFORT = (
    "Anthropic's messages have no reasoning_effort: give `thinking` as Anthropic writes it, "
    "or use --wire litellm, which makes one of the other."
)

_KEEP = b',"cache_control":{"type":"ephemeral"}}'
_RENAMED = {"max_completion_tokens": "max_tokens", "stop": "stop_sequences"}
_UNKNOWN = frozenset(
    {
        "frequency_penalty", "logit_bias", "logprobs", "n", "presence_penalty", "response_format", "seed",
        "top_logprobs",
    }
)  # fmt: skip


class Messages:
    """Anthropic's messages, at Anthropic or at any server that speaks them."""

    def url(self, endpoint: str) -> str:
        """Below the endpoint, which is the server's root."""
        return f"{endpoint}/v1/messages"

    def headers(self, key: str, environ: Mapping[str, str]) -> Mapping[str, str]:
        """The key, and the version of the shape."""
        return {"x-api-key": key, "anthropic-version": VERSION}

    async def body(self, model: str, request: Request) -> bytes:
        """Raises `BadRequest` for what cannot be said, and whatever an image raises."""
        system = list(takewhile(lambda message: message.role == "system", request.messages))
        turns = request.messages[len(system) :]
        if any(message.role == "system" for message in turns):
            raise BadRequest("Anthropic takes system messages at the start only.")
        options = _options(given(request.params))
        instructions = [part for message in system for part in message.parts if part]
        more: tuple[bytes, ...] = ()
        if instructions:
            more = (b',"system":[', *await blocks(instructions, _no_picture), b"]")
        written = []
        # Neighbours of one role are one turn.
        for role, group in groupby(turns, key=lambda message: message.role):
            neighbours = list(group)
            parts = [part for message in neighbours for part in message.parts]
            content = await blocks(parts, _picture if role == "user" else _no_picture)
            if neighbours[-1].repeated and content:
                # Until here the prompt is kept for five minutes; too short a one is not, at no cost.
                content[-1] = content[-1][:-1] + _KEEP
            written.append((b'{"role":"%b","content":[' % role.encode(), *content, b"]}"))
        return body(model, options, separated(written), more)

    def read(self, answer: Mapping[str, Any], asked: Asked) -> Response:
        """Raises `MalformedResponse` when there is no answer in it."""
        content, counts = answer.get("content"), answer.get("usage")
        if not isinstance(content, list) or not isinstance(counts, dict) or "stop_reason" not in answer:
            raise MalformedResponse(f"{asked.who} sent no message.", billed=True)
        if not all(isinstance(block, dict) for block in content):
            raise MalformedResponse(f"{asked.who} sent no message.", billed=True)
        word = answer["stop_reason"]
        # What was said before a tool was called is an answer, as it is in OpenAI's shape.
        ending = None if word == "tool_use" else word
        text, finish = ended(asked, "".join(texts(content)), finish_of(word), ending=ending)
        served = answer.get("model")
        return Response(text, finish, in_message(counts, text), model=str(served) if served else None)


def _options(options: dict[str, Json]) -> dict[str, Json]:
    for name in options:
        if name in _UNKNOWN:
            raise ParameterRejected(f"Anthropic's messages have no option {name!r}.", name)
    if "reasoning_effort" in options:
        # No rejected option: that would be dropped, and stay dropped for the wire that can send it.
        raise BadRequest(NO_EFFORT)
    if isinstance(options.get("stop"), str):
        options["stop"] = [options["stop"]]
    return {_RENAMED.get(name, name): value for name, value in options.items()}


def _picture(image: EncodedImage) -> tuple[bytes, ...]:
    head = b'{"type":"image","source":{"type":"base64","media_type":'
    return (head, opened(image.media_type), b'","data":"', image.base64, b'"}}')


def _no_picture(image: EncodedImage) -> tuple[bytes, ...]:
    raise BadRequest("Anthropic takes images in user messages only.")
