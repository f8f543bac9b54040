"""How three vendors write a question, an answer and an error on the wire.

What the loopback server of the tests needs of the formats of OpenAI (chat completions), Anthropic
(messages) and Google (generateContent): enough for text and images, and nothing of
streaming, tools or audio.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from providers.types import Json
from providers.usage import Usage

Shape = Literal["openai", "anthropic", "gemini"]
Ending = Literal["stop", "length", "content_filter", "refusal"]

ErrorKind = Literal[
    "rate_limit",
    "insufficient_quota",
    "payment_required",
    "server_error",
    "unavailable",
    "overloaded",
    "authentication",
    "permission",
    "model_not_found",
    "bad_request",
    "unsupported_parameter",
    "context_exceeded",
    "content_policy",
    "images_unsupported",
    "bad_image",
]


@dataclass(frozen=True)
class Ask:
    """One question as it arrived. `text` is all its text, `question` the last message's."""

    shape: Shape
    model: str
    text: str
    question: str
    body: Mapping[str, Json]
    headers: Mapping[str, str]
    encoded: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    path: str = ""

    @cached_property
    def images(self) -> tuple[tuple[str, bytes], ...]:
        """Media type and bytes of each image; decoded only when somebody looks."""
        return tuple((media_type, base64.b64decode(data)) for media_type, data in self.encoded)

    @property
    def max_tokens(self) -> int | None:
        """The output limit as sent, under whichever name."""
        config = self.body.get("generationConfig")
        places = (self.body, config if isinstance(config, Mapping) else {})
        names = ("max_completion_tokens", "max_tokens", "maxOutputTokens", "max_output_tokens")
        found = [place[name] for place in places for name in names if name in place]
        return next((limit for limit in found if isinstance(limit, int)), None)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server says; `cost` is written only in OpenAI's shape, as OpenRouter does."""

    text: str
    usage: Usage
    ending: Ending = "stop"
    cost: float | None = None


def read_ask(path: str, body: dict[str, Any], headers: Mapping[str, str]) -> Ask | None:
    """The question in a request, or None when the path is no model's."""
    shape = _shape_of(path)
    if shape is None:
        return None
    messages = [list(parts) for parts in _READERS[shape](body)]
    texts = [[part for part in parts if isinstance(part, str)] for parts in messages]
    return Ask(
        shape=shape,
        model=_model_in(path) if shape == "gemini" else str(body.get("model", "")),
        text="\n".join(text for parts in texts for text in parts),
        question="\n".join(texts[-1]) if texts else "",
        body=body,
        headers=headers,
        encoded=tuple(part for parts in messages for part in parts if not isinstance(part, str)),
        path=path,
    )


def write_answer(ask: Ask, answer: Answer, number: int) -> dict[str, Json]:
    """The body of a success, in the shape in which the question came."""
    return _WRITERS[ask.shape](ask, answer, number)


def write_error(
    shape: Shape, kind: ErrorKind, *, message: str | None, parameter: str | None, retry_delay: str | None
) -> tuple[int, dict[str, Json]]:
    """Status and body of a refusal, as this vendor words it."""
    words = _WORDS[kind]
    status = words.anthropic_status if shape == "anthropic" and words.anthropic_status else words.status
    said = message or words.message.format(parameter=parameter or "temperature")
    if shape == "openai":
        error: dict[str, Json] = {"message": said, "type": words.openai_type, "code": words.openai_code}
        return status, {"error": error | {"param": parameter}}
    if shape == "anthropic":
        return status, {"type": "error", "error": {"type": words.anthropic_type, "message": said}}
    info: list[Json] = []
    if retry_delay is not None:
        info = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": retry_delay}]
    return status, {
        "error": {"code": status, "message": said, "status": words.gemini_status, "details": info}
    }


def _shape_of(path: str) -> Shape | None:
    if path.endswith("/chat/completions"):
        return "openai"
    if path.endswith("/messages"):
        return "anthropic"
    return "gemini" if path.endswith(":generateContent") else None


def _model_in(path: str) -> str:
    return path.rsplit("/", 1)[-1].removesuffix(":generateContent")


type _Part = str | tuple[str, str]


def _openai_parts(body: dict[str, Any]) -> Iterator[Iterator[_Part]]:
    return (_content_parts(message.get("content")) for message in body.get("messages", ()))


def _anthropic_parts(body: dict[str, Any]) -> Iterator[Iterator[_Part]]:
    if body.get("system"):
        yield _content_parts(body["system"])
    yield from _openai_parts(body)


def _content_parts(content: Any) -> Iterator[_Part]:
    if isinstance(content, str):
        yield content
        return
    for part in content or ():
        if part["type"] == "text":
            yield part["text"]
        elif part["type"] == "image_url":
            head, _, data = part["image_url"]["url"].partition(",")
            yield head.removeprefix("data:").removesuffix(";base64"), data
        elif part["type"] == "image" and part["source"]["type"] == "base64":
            yield part["source"]["media_type"], part["source"]["data"]


def _gemini_parts(body: dict[str, Any]) -> Iterator[Iterator[_Part]]:
    system = body.get("systemInstruction") or body.get("system_instruction")
    for content in ([system] if system else []) + list(body.get("contents", ())):
        yield _google_parts(content.get("parts", ()))


def _google_parts(parts: list[dict[str, Any]]) -> Iterator[_Part]:
    for part in parts:
        inline = part.get("inlineData") or part.get("inline_data")
        if inline:
            yield inline.get("mimeType") or inline["mime_type"], inline["data"]
        elif "text" in part:
            yield part["text"]


def _write_openai(ask: Ask, answer: Answer, number: int) -> dict[str, Json]:
    refused = answer.ending == "refusal"
    message: dict[str, Json] = {"role": "assistant", "content": None if refused else answer.text}
    if refused:
        message["refusal"] = answer.text
    usage = answer.usage
    counted: dict[str, Json] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
    if answer.cost is not None:
        counted["cost"] = answer.cost
    finish = "stop" if refused else answer.ending
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": ask.model,
        "service_tier": "default",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": counted,
    }


def _write_anthropic(ask: Ask, answer: Answer, number: int) -> dict[str, Json]:
    endings = {"stop": "end_turn", "length": "max_tokens"}
    usage = answer.usage
    fresh = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": [{"type": "text", "text": answer.text}] if answer.text else [],
        "stop_reason": endings.get(answer.ending, "refusal"),
        "stop_sequence": None,
        "usage": {
            "input_tokens": fresh,
            "output_tokens": usage.output_tokens,
            "cache_read_input_tokens": usage.cached_input_tokens,
            "cache_creation_input_tokens": usage.cache_write_tokens,
        },
    }


def _write_gemini(ask: Ask, answer: Answer, number: int) -> dict[str, Json]:
    endings = {"stop": "STOP", "length": "MAX_TOKENS", "refusal": "SAFETY"}
    usage = answer.usage
    body: dict[str, Json] = {
        "responseId": f"gemini-{number}",
        "modelVersion": ask.model,
        "usageMetadata": {
            "promptTokenCount": usage.input_tokens,
            "candidatesTokenCount": usage.output_tokens - usage.reasoning_tokens,
            "thoughtsTokenCount": usage.reasoning_tokens,
            "cachedContentTokenCount": usage.cached_input_tokens,
            "totalTokenCount": usage.input_tokens + usage.output_tokens,
        },
    }
    if answer.ending == "content_filter":
        return body | {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
    candidate: dict[str, Json] = {"index": 0, "finishReason": endings[answer.ending]}
    if answer.text:
        candidate["content"] = {"role": "model", "parts": [{"text": answer.text}]}
    return body | {"candidates": [candidate]}


_READERS = {"openai": _openai_parts, "anthropic": _anthropic_parts, "gemini": _gemini_parts}
_WRITERS = {"openai": _write_openai, "anthropic": _write_anthropic, "gemini": _write_gemini}


@dataclass(frozen=True, slots=True)
class _Words:
    """One refusal in three vocabularies."""

    status: int
    message: str
    openai_type: str
    openai_code: str | None
    anthropic_type: str
    gemini_status: str
    anthropic_status: int | None = None


_INVALID = "invalid_request_error"

_WORDS: dict[ErrorKind, _Words] = {
    "rate_limit": _Words(
        429,
        "Rate limit reached for requests.",
        "requests",
        "rate_limit_exceeded",
        "rate_limit_error",
        "RESOURCE_EXHAUSTED",
    ),
    "insufficient_quota": _Words(
        429,
        "You exceeded your current quota, please check your plan and billing details. "
        "Your credit balance is too low.",
        "insufficient_quota",
        "insufficient_quota",
        _INVALID,
        "RESOURCE_EXHAUSTED",
        anthropic_status=400,
    ),
    "payment_required": _Words(
        402, "Insufficient credits.", "payment_required", "402", "billing_error", "FAILED_PRECONDITION"
    ),
    "server_error": _Words(500, "The server had an error.", "server_error", None, "api_error", "INTERNAL"),
    "unavailable": _Words(
        503, "The engine is unavailable.", "server_error", None, "api_error", "UNAVAILABLE"
    ),
    "overloaded": _Words(529, "Overloaded", "server_error", None, "overloaded_error", "UNAVAILABLE"),
    "authentication": _Words(
        401,
        "Incorrect API key provided.",
        _INVALID,
        "invalid_api_key",
        "authentication_error",
        "UNAUTHENTICATED",
    ),
    "permission": _Words(
        403,
        "Your account may not use this model.",
        _INVALID,
        "model_forbidden",
        "permission_error",
        "PERMISSION_DENIED",
    ),
    "model_not_found": _Words(
        404, "The model does not exist.", _INVALID, "model_not_found", "not_found_error", "NOT_FOUND"
    ),
    "bad_request": _Words(
        400, "Invalid value in messages.", _INVALID, "invalid_value", _INVALID, "INVALID_ARGUMENT"
    ),
    "unsupported_parameter": _Words(
        400,
        "Unsupported parameter: '{parameter}' is not supported with this model.",
        _INVALID,
        "unsupported_parameter",
        _INVALID,
        "INVALID_ARGUMENT",
    ),
    "context_exceeded": _Words(
        400,
        "prompt is too long: this model's maximum context length is 8192 tokens, "
        "and the input token count exceeds the maximum number of tokens allowed.",
        _INVALID,
        "context_length_exceeded",
        _INVALID,
        "INVALID_ARGUMENT",
    ),
    "content_policy": _Words(
        400,
        "Your request was rejected: output blocked by content filtering policy.",
        _INVALID,
        "content_policy_violation",
        _INVALID,
        "INVALID_ARGUMENT",
    ),
    "images_unsupported": _Words(
        400,
        "This model does not support image input.",
        _INVALID,
        None,
        _INVALID,
        "INVALID_ARGUMENT",
    ),
    "bad_image": _Words(
        400,
        "Could not process image: image exceeds 5 MB maximum.",
        "image_error",
        "invalid_image",
        _INVALID,
        "INVALID_ARGUMENT",
    ),
}
