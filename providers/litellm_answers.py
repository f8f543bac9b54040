"""LiteLLM's answer as ours: where it keeps what was said, how it ended and what was counted.

LiteLLM makes `stop` of every ending that it does not know and keeps the word that it replaced. Its
own estimate of the cost is never looked at. What makes an answer is said by `answers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from providers.answers import cost, counted, ended
from providers.errors import MalformedResponse
from providers.types import Finish, Response, Usage

_ENDINGS: Mapping[str, Finish] = {"length": "length", "content_filter": "refusal", "stop": "stop"}


def read_answer(raw: Any, who: str, route: str) -> Response:
    """The answer in `raw`, which came by LiteLLM's `route`. Raises `MalformedResponse` when there is none."""
    if not raw.choices:
        raise MalformedResponse(f"{who} sent no choices.", billed=True)
    choice = raw.choices[0]
    extra = _extra(choice)
    text, finish = ended(
        who,
        choice.message.content or "",
        _ENDINGS.get(choice.finish_reason, "stop"),
        ending=extra.get("native_finish_reason"),
        error=extra.get("error"),
        refusal=_extra(choice.message).get("refusal"),
    )
    usage = getattr(raw, "usage", None)
    told = cost(*(getattr(usage, name, None) for name in ("cost", "is_byok", "cost_details")))
    return Response(text, finish, usage=_usage(usage, text), cost=told, model=_model(raw, route))


def _extra(part: Any) -> Mapping[str, Any]:
    return getattr(part, "provider_specific_fields", None) or {}


def _usage(usage: Any, text: str) -> Usage | None:
    read = getattr(usage, "prompt_tokens_details", None)
    written = getattr(usage, "completion_tokens_details", None)
    return counted(
        text,
        asked=getattr(usage, "prompt_tokens", None),
        said=getattr(usage, "completion_tokens", None),
        total=getattr(usage, "total_tokens", None),
        reasoned=getattr(written, "reasoning_tokens", None),
        cached=getattr(read, "cached_tokens", None),
        written=getattr(read, "cache_write_tokens", None),
    )


def _model(raw: Any, route: str) -> str | None:
    served = getattr(raw, "model", None)
    return str(served).removeprefix(f"{route}/") if served else None
