"""LiteLLM's answer as ours: what was said, how it ended, what was counted.

An answer without text is none, whatever its status, and neither is one that ended in an
unknown way. Only a cost that the provider itself reported is taken: LiteLLM's own estimate
is never looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from providers.error_text import one_line
from providers.errors import MalformedResponse
from providers.litellm_bodies import MOST_TOKENS
from providers.types import Finish, Response, Usage

# How providers call a good end. LiteLLM makes `stop` of everything it does not know, `error` too,
# and keeps the word that it replaced.
_GOOD_ENDS = frozenset(
    {"stop", "stop_sequence", "end_turn", "complete", "completed", "eos", "eos_token", "finish", "finished"}
)  # fmt: skip
# More than any output limit gives room for: whoever sends it did not answer our request.
LONGEST_TEXT = 1_000_000
_HIGHEST_COST = 1e6  # dollars for one call
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
    if len(text) > LONGEST_TEXT:
        raise MalformedResponse(f"{who} sent an answer of {len(text):,} characters.", billed=True)
    if finish == "stop":
        _check_end(choice, text, who)
    usage = getattr(raw, "usage", None)
    return Response(text, finish, usage=_usage(usage, text), cost=_cost(usage), model=_model(raw, route))


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


def _usage(usage: Any, text: str) -> Usage | None:
    """The counts, or None when they cannot be true: then the bill is not known either."""
    # LiteLLM writes zeros where a provider counted nothing.
    asked, said, total = (_tokens(usage, f"{what}_tokens") for what in ("prompt", "completion", "total"))
    if not asked or said is None or total is None:
        return None
    # xAI leaves the reasoning out of `completion_tokens`, though not out of the total.
    output = max(said, total - asked)
    if text and not output:
        return None
    read = getattr(usage, "prompt_tokens_details", None)
    reasoned = _tokens(getattr(usage, "completion_tokens_details", None), "reasoning_tokens")
    cached, written = _tokens(read, "cached_tokens"), _tokens(read, "cache_write_tokens")
    if reasoned is None or cached is None or written is None:
        return None
    # A part is no more than its whole: what is counted outside of it would go unbilled.
    if output > MOST_TOKENS or reasoned > output or cached + written > asked:
        return None
    return Usage(asked, output, reasoned, cached, written)


def _tokens(counts: Any, name: str) -> int | None:
    """A count of tokens: whole, not negative, and such as one call can have."""
    value = getattr(counts, name, None) or 0
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else None


def _cost(usage: Any) -> float | None:
    cost = _amount(getattr(usage, "cost", None))
    if cost is not None and getattr(usage, "is_byok", False):
        # With the user's own key OpenRouter bills its fee, and the provider behind it the rest.
        details = getattr(usage, "cost_details", None) or {}
        upstream = _amount(details.get("upstream_inference_cost"))
        return None if upstream is None else cost + upstream
    return cost


def _amount(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= _HIGHEST_COST else None


def _model(raw: Any, route: str) -> str | None:
    served = getattr(raw, "model", None)
    return str(served).removeprefix(f"{route}/") if served else None
