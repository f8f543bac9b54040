"""Read LiteLLM's answers: where it keeps what was said, how it ended and what was counted.

LiteLLM makes `stop` of every ending that it does not know and keeps the word that it replaced. Its
own estimate of the cost is never looked at.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from providers.catalog.target import Asked
from providers.errors import MalformedResponse
from providers.replies.answers import ended
from providers.replies.bodies import LONGEST, LONGEST_ERROR, parse, too_long
from providers.replies.refusals import redirect
from providers.replies.usage import cost, counted, longer
from providers.types import Finish, Response

_ENDINGS: Mapping[str, Finish] = {"length": "length", "content_filter": "refusal", "stop": "stop"}


def read_answer(raw: Any, asked: Asked, route: str) -> Response:
    """The answer in `raw`, which came by LiteLLM's `route`. Raises `MalformedResponse` when there is none."""
    if not raw.choices:
        raise MalformedResponse(f"{asked.who} sent no choices.", billed=True)
    choice = raw.choices[0]
    extra = _extra(choice)
    usage = getattr(raw, "usage", None)
    text, finish = ended(
        asked,
        choice.message.content or "",
        _ENDINGS.get(choice.finish_reason, "stop"),
        ending=extra.get("native_finish_reason"),
        error=extra.get("error"),
        refusal=_extra(choice.message).get("refusal"),
    )
    read = getattr(usage, "prompt_tokens_details", None)
    written = getattr(usage, "completion_tokens_details", None)
    kept = getattr(read, "cache_write_tokens", None)
    split = getattr(read, "cache_creation_token_details", None)
    briefly = getattr(split, "ephemeral_5m_input_tokens", None)
    served = getattr(raw, "model", None)
    return Response(
        text,
        finish,
        usage=counted(
            text,
            asked=getattr(usage, "prompt_tokens", None),
            said=getattr(usage, "completion_tokens", None),
            total=getattr(usage, "total_tokens", None),
            reasoned=getattr(written, "reasoning_tokens", None),
            cached=getattr(read, "cached_tokens", None),
            written=kept,
            hour=longer(kept or 0, briefly or 0) if route == "anthropic" else None,
        ),
        cost=cost(*(getattr(usage, name, None) for name in ("cost", "is_byok", "cost_details"))),
        model=str(served).removeprefix(f"{route}/") if served else None,
    )


def _extra(part: Any) -> Mapping[str, Any]:
    return getattr(part, "provider_specific_fields", None) or {}


@dataclass(slots=True)
class Call:
    """What the transport notes of one call: whether it was sent, the answer's headers and body as JSON."""

    sent: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None


# The call that this task makes, for whoever has put one there.
CALL: ContextVar[Call | None] = ContextVar("providers_call", default=None)

type Send = Callable[[Any, Any], Awaitable[Any]]

_UNPACKED = (b"content-encoding", b"content-length", b"transfer-encoding")


def reading(send: Send) -> Send:
    """LiteLLM's way to send a request, which now also reads the answer, here."""
    import httpx

    async def handle(transport: Any, request: Any) -> Any:
        call = CALL.get() or Call()
        call.sent = True
        response = await send(transport, request)
        away = redirect(response.status_code, response.headers)
        if away is not None:
            await response.aclose()
            raise away
        body = bytearray()
        limit = LONGEST if response.is_success else LONGEST_ERROR
        async for part in response.aiter_bytes():
            body += part
            if len(body) > limit:
                await response.aclose()
                if response.is_success:
                    raise too_long()
                break
        content = bytes(body[:limit])
        if response.is_success:
            call.body = parse(content, response.headers)
            content = json.dumps(call.body).encode()
        call.headers.update(response.headers)
        # One of each name, the last one: httpx would join two of them, and nobody could read that.
        named = {name.lower(): value for name, value in response.headers.raw}
        headers = {name: value for name, value in named.items() if name not in _UNPACKED}
        return httpx.Response(response.status_code, headers=headers, content=content, request=request)

    return handle
