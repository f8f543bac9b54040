"""What a server sent, seen before LiteLLM reads it: every body of every route passes here.

LiteLLM fails on counts that are no numbers and on text in parts, and calls an error inside of a
success a bad request. So: a body is cut off where none can be that long, an error is raised as
what it is, and what would spoil an answer is taken out. A sound body goes on byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from providers.error_text import LOOKED_AT

# In bytes, when unpacked: a million characters are twelve times as long when each one is escaped.
LONGEST = 16 * 1024 * 1024
# LiteLLM takes a second for each megabyte of an error.
LONGEST_ERROR = 100_000
MOST_TOKENS = 10**9


class BodyError(Exception):
    """A success that holds no answer; `text` is the whole of an error in it, else empty."""

    def __init__(self, message: str, text: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.text = text
        self.headers = dict(headers or {})


type Send = Callable[[Any, Any], Awaitable[Any]]


def reading(send: Send) -> Send:
    """LiteLLM's way to send a request, which now also reads the answer, here."""
    import httpx

    async def handle(transport: Any, request: Any) -> Any:
        response = await send(transport, request)
        content = await _read(response)
        if response.is_success:
            content = mended(content, response.headers)
        headers = [pair for pair in response.headers.raw if pair[0].lower() not in _UNPACKED]
        return httpx.Response(response.status_code, headers=headers, content=content, request=request)

    return handle


_UNPACKED = (b"content-encoding", b"content-length", b"transfer-encoding")


async def _read(response: Any) -> bytes:
    content = bytearray()
    limit = LONGEST if response.is_success else LONGEST_ERROR
    async for part in response.aiter_bytes():
        content += part
        if len(content) > limit:
            await response.aclose()
            if response.is_success:
                raise BodyError(f"more than {LONGEST >> 20} MB")
            break
    return bytes(content[:limit])


def mended(content: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """The body of a success without what spoils it. Raises `BodyError` for an error in it."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        said = content[:LOOKED_AT].decode(errors="replace")
        raise BodyError(f"a success that holds no answer: {said}") from None
    if not isinstance(body, dict):
        return content
    if _says_error(body.get("error")):
        raise BodyError("an error", content.decode(errors="replace"), headers)
    changed = [_without_empty_error(body), _counted(body), _joined(body)]
    return json.dumps(body).encode() if any(changed) else content


def _says_error(error: object) -> bool:
    if isinstance(error, dict):
        return any(error.get(name) for name in ("message", "code", "type", "status"))
    return bool(error)


def _without_empty_error(body: dict[str, Any]) -> bool:
    return "error" in body and body.pop("error") is not None


def _counted(body: dict[str, Any]) -> bool:
    """Take out counts that cannot be true, all of them: half a count would be a bill too low."""
    known = "choices" in body or body.get("type") == "message"  # other shapes are LiteLLM's business
    name = "usage" if known else "usageMetadata"
    usage = body.get(name)
    if usage is None or _sound(usage):
        return False
    kept = usage if isinstance(usage, dict) else {}
    body[name] = {key: kept[key] for key in ("cost", "cost_details", "is_byok") if key in kept}
    return True


def _sound(usage: object) -> bool:
    return isinstance(usage, dict) and all(
        value is None or (type(value) is int and 0 <= value <= MOST_TOKENS) for value in _counts(usage)
    )


def _counts(usage: Mapping[str, Any]) -> Iterator[object]:
    """Whatever is called a number of tokens, at any depth."""
    waiting: list[Any] = [usage]
    while waiting:
        part = waiting.pop()
        for name, value in part.items() if isinstance(part, dict) else ():
            if isinstance(value, dict | list):
                waiting += value if isinstance(value, list) else [value]
            elif name.lower().endswith(("tokens", "tokencount")):
                yield value


def _joined(body: dict[str, Any]) -> bool:
    """Write the text of each message that came in parts as one text."""
    changed = False
    choices = body.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        message = choice.get("message") if isinstance(choice, dict) else None
        if isinstance(message, dict) and isinstance(message.get("content"), list):
            message["content"] = "".join(_texts(message["content"]))
            changed = True
    return changed


def _texts(parts: list[Any]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
            yield part["text"]
