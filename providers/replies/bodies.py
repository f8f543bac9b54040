"""Parse what a server sent as a success, before it is read as an answer: over either wire.

An error inside of a success is raised as what it is, and what would spoil an answer is taken out:
counts that cannot be true, text in parts, an error that says nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from providers.replies.error_text import LOOKED_AT

# In bytes, when unpacked: a million characters are twelve times as long when each one is escaped.
LONGEST = 16 * 1024 * 1024
# Reading a long error takes LiteLLM a second for each megabyte, and nobody looks at its end.
LONGEST_ERROR = 100_000
MOST_TOKENS = 10**9


class BodyError(Exception):
    """A success that holds no answer; `text` is the whole of an error in it, else empty."""

    def __init__(self, message: str, text: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.text = text
        self.headers = dict(headers.items()) if headers else {}  # the last of each name


def too_long() -> BodyError:
    """The error of a success that is longer than `LONGEST`."""
    return BodyError(f"more than {LONGEST >> 20} MB")


def loads(content: str | bytes) -> Any:
    """JSON; of a name that stands twice in one object the larger value counts, as in a bill.

    Python's own reader also takes half a surrogate pair and UTF-16. Raises what it raises.
    """
    return json.loads(content, object_pairs_hook=_merged)


def _merged(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    merged = dict(pairs)
    if len(merged) < len(pairs):
        for name, value in pairs:
            merged[name] = _larger(merged[name], value)
    return merged


def _larger(one: Any, other: Any) -> Any:
    if isinstance(one, dict) and isinstance(other, dict):
        return one | {name: _larger(one.get(name), value) for name, value in other.items()}
    if isinstance(one, int | float) and isinstance(other, int | float):
        return max(one, other)
    return other if one is None else one


def parse(content: bytes, headers: Mapping[str, str] | None = None) -> Any:
    """The body of a success without what spoils it.

    Raises `BodyError` for an error in it, and for what is no JSON.
    """
    try:
        body = loads(content)
    except (ValueError, RecursionError):
        start = content[:LOOKED_AT].decode(errors="replace")
        raise BodyError(f"a success that holds no answer: {start}") from None
    if not isinstance(body, dict):
        return body
    error = body.pop("error", None)
    if isinstance(error, dict):
        says_error = any(error.get(name) for name in ("message", "code", "type", "status"))
    else:
        says_error = bool(error)
    if says_error:
        raise BodyError("an error", content.decode(errors="replace"), headers)
    known = "choices" in body or body.get("type") == "message"  # other shapes only LiteLLM reads
    name = "usage" if known else "usageMetadata"
    usage = body.get(name)
    if usage is not None and not _sound(usage):
        # All counts go: half a count would be a bill too low.
        fields = usage if isinstance(usage, dict) else {}
        body[name] = {key: fields[key] for key in ("cost", "cost_details", "is_byok") if key in fields}
    _join(body)
    return body


_COUNTS = ("tokens", "tokencount")


def _sound(usage: object) -> bool:
    """Whether everything that is called a number of tokens can be one, at any depth."""
    if not isinstance(usage, dict):
        return False
    waiting: list[Any] = [usage]
    while waiting:
        part = waiting.pop()
        for name, value in part.items() if isinstance(part, dict) else ():
            # Nearly all of them are whole numbers, and this is looked at in every answer.
            if value is None or (type(value) is int and 0 <= value <= MOST_TOKENS):
                continue
            if isinstance(value, dict):
                waiting.append(value)
            elif isinstance(value, list):
                waiting += value
            elif name.lower().endswith(_COUNTS):
                return False
    return True


def _join(body: dict[str, Any]) -> None:
    """Write the text of each message that came in parts as one text."""
    choices = body.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        message = choice.get("message") if isinstance(choice, dict) else None
        if isinstance(message, dict) and isinstance(message.get("content"), list):
            message["content"] = "".join(texts(message["content"]))


def texts(parts: list[Any]) -> Iterator[str]:
    """The texts among the parts of a message."""
    for part in parts:
        if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
            yield part["text"]
