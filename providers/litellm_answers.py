"""LiteLLM's answer as ours: what was said, how it ended, what was counted.

An answer without text is none, whatever its status, and neither is one that ended in an
unknown way. Only a cost that the provider itself reported is taken: LiteLLM's own estimate
is never looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from providers.error_text import one_line
from providers.errors import MalformedResponse
from providers.types import Finish, Response, Usage

# How providers call a good end. LiteLLM makes `stop` of everything it does not know, `error` too,
# and keeps the word that it replaced.
_GOOD_ENDS = frozenset(
    {"stop", "stop_sequence", "end_turn", "complete", "completed", "eos", "eos_token", "finish", "finished"}
)  # fmt: skip
_ENDINGS: Mapping[str, Finish] = {"length": "length", "content_filter": "refusal", "stop": "stop"}


def read_answer(raw: Any, who: str, route: str) -> Response:
    """The answer in `raw`, which came by LiteLLM's `route`. Raises `MalformedResponse` when there is none."""
    if not raw.choices:
        raise MalformedResponse(f"{who} sent no choices.", billed=True)
    choice = raw.choices[0]
    text = choice.message.content or ""
    finish: Finish = _ENDINGS.get(choice.finish_reason, "stop")
    refusal = _extra(choice.message).get("refusal")
    if refusal is not None and (refusal or not text):
        text, finish = str(refusal), "refusal"
    if finish == "stop":
        _check_end(choice, text, who)
    usage = getattr(raw, "usage", None)
    return Response(text, finish, usage=_usage(usage), cost=_cost(usage), model=_model(raw, route))


def _check_end(choice: Any, text: str, who: str) -> None:
    extra = _extra(choice)
    ended = extra.get("native_finish_reason") or "stop"
    if extra.get("error") or str(ended).lower() not in _GOOD_ENDS:
        said = one_line(str(extra.get("error") or ""))
        raise MalformedResponse(f"{who} ended its answer with {ended!r}. {said}".rstrip(), billed=True)
    if not text.strip():
        raise MalformedResponse(f"{who} sent an empty answer.", billed=True)


def _extra(part: Any) -> Mapping[str, Any]:
    return getattr(part, "provider_specific_fields", None) or {}


def _usage(usage: Any) -> Usage | None:
    # LiteLLM writes zeros where a provider counted nothing.
    if usage is None or not usage.prompt_tokens:
        return None
    read, written = (
        getattr(usage, "prompt_tokens_details", None),
        getattr(usage, "completion_tokens_details", None),
    )
    return Usage(
        input_tokens=usage.prompt_tokens,
        # xAI leaves the reasoning out of `completion_tokens`, though not out of the total.
        output_tokens=max(usage.completion_tokens, usage.total_tokens - usage.prompt_tokens),
        reasoning_tokens=_count(written, "reasoning_tokens"),
        cached_input_tokens=_count(read, "cached_tokens"),
        cache_write_tokens=_count(read, "cache_write_tokens"),
    )


def _count(details: Any, name: str) -> int:
    return getattr(details, name, None) or 0


def _cost(usage: Any) -> float | None:
    cost = _amount(getattr(usage, "cost", None))
    if cost is not None and getattr(usage, "is_byok", False):
        # With the user's own key OpenRouter bills its fee, and the provider behind it the rest.
        details = getattr(usage, "cost_details", None) or {}
        return cost + (_amount(details.get("upstream_inference_cost")) or 0.0)
    return cost


def _amount(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and value >= 0 else None


def _model(raw: Any, route: str) -> str | None:
    served = getattr(raw, "model", None)
    return str(served).removeprefix(f"{route}/") if served else None
