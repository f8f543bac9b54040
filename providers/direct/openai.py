"""Write chat completions as bytes and read their answers: OpenAI, OpenRouter, any server like them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from providers.catalog.target import Asked
from providers.direct.body import blocks, body, dumped, opened, separated
from providers.errors import MalformedResponse
from providers.replies.answers import ended, finish_of
from providers.replies.usage import cost, in_completion
from providers.types import EncodedImage, Json, Message, Request, Response, given

# Models of OpenAI's own that know the output limit only by its newer name.
_NEWER = re.compile(r"(?:^|/)o\d|gpt-(?:5(?!-chat)|[6-9])")
_PAYERS = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}
# Words for a stop that say nothing of how the model behind a router ended.
_PLAIN_ENDS = (None, "stop", "tool_calls", "function_call")


@dataclass(frozen=True)
class ChatCompletions:
    """`dialect` says whose: OpenAI's own, OpenRouter's, or any server's, which takes options as they are."""

    dialect: Literal["openai", "openrouter", "any"]

    def url(self, endpoint: str) -> str:
        """Below the endpoint."""
        return f"{endpoint}/chat/completions"

    def headers(self, key: str, environ: Mapping[str, str]) -> Mapping[str, str]:
        """The key, and at OpenAI also who of several pays."""
        payers = _PAYERS if self.dialect == "openai" else {}
        named = {header: environ[name] for header, name in payers.items() if environ.get(name)}
        return {"Authorization": f"Bearer {key}", **named}

    async def body(self, model: str, request: Request) -> bytes:
        """Raises `ParameterRejected` for what is no option, and whatever an image raises."""
        options = self._options(model, given(request.params))
        messages = separated([await _message(message) for message in request.messages])
        return body(model, options, messages)

    def _options(self, model: str, options: dict[str, Json]) -> dict[str, Json]:
        if self.dialect == "openai" and "max_tokens" in options and _NEWER.search(model):
            limit = options.pop("max_tokens")
            return {"max_completion_tokens": limit, **options}
        if self.dialect == "openrouter":
            if options.get("reasoning_effort") == "max":
                options["reasoning_effort"] = "xhigh"  # its word for it
            # Without this it does not say what the call cost.
            return {"usage": {"include": True}, **options}
        return options

    def read(self, answer: Mapping[str, Any], asked: Asked) -> Response:
        """Raises `MalformedResponse` when there is no answer in it."""
        choices = answer.get("choices")
        choice = _mapping(choices[0]) if isinstance(choices, list) and choices else {}
        message = choice.get("message")
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(message, dict) or (content is not None and not isinstance(content, str)):
            raise MalformedResponse(f"{asked.who} sent no choices.", billed=True)
        word = choice.get("finish_reason")
        text, finish = ended(
            asked,
            content or "",
            finish_of(word),
            ending=choice.get("native_finish_reason") if word in _PLAIN_ENDS else word,
            error=choice.get("error"),
            refusal=message.get("refusal"),
        )
        usage = _mapping(answer.get("usage"))
        dollars = cost(usage.get("cost"), usage.get("is_byok"), usage.get("cost_details"))
        served = answer.get("model")
        return Response(text, finish, in_completion(usage, text), dollars, str(served) if served else None)


async def _message(message: Message) -> tuple[bytes, ...]:
    head = b'{"role":"%b","content":' % message.role.encode()
    parts = message.parts
    if len(parts) == 1 and isinstance(parts[0], str):
        return (head, dumped(parts[0]), b"}")
    return (head, b"[", *await blocks(parts, _picture), b"]}")


def _picture(image: EncodedImage) -> tuple[bytes, ...]:
    url = opened(f"data:{image.media_type};base64,")
    return (b'{"type":"image_url","image_url":{"url":', url, image.base64, b'"}}')


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
