"""Read what a server counted, in the shapes of OpenAI, Anthropic and Google, and what it says of the cost.

Counts are believed only when they can be true, and a cost only from whoever reports it. They are looked
for in errors as well: a completion may have been billed under any status.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from providers.replies.bodies import MOST_TOKENS
from providers.usage import Usage

_HIGHEST_COST = 1e6  # dollars for one call
SOME = "..."  # stands for a text that is not read: whoever wrote it counts it


def has_completion(body: Mapping[str, Any]) -> bool:
    """Whether a body, of whatever status, holds what a model has written, or counts what it cost."""
    return any(body.get(name) for name in ("choices", "content", "candidates", "usage", "usageMetadata"))


def usage_in(body: Mapping[str, Any]) -> Usage | None:
    """What a body counts, in whichever shape; None also where it counts no output, which may be untrue."""
    google, usage = _mapping(body.get("usageMetadata")), _mapping(body.get("usage"))
    if google:
        return in_google(google, SOME)
    return in_message(usage, SOME) if "input_tokens" in usage else in_completion(usage, SOME)


def in_completion(usage: Mapping[str, Any], text: str) -> Usage | None:
    """OpenAI's shape, as chat completions have it."""
    read = _mapping(usage.get("prompt_tokens_details"))
    written = _mapping(usage.get("completion_tokens_details"))
    return counted(
        text,
        asked=usage.get("prompt_tokens"),
        said=usage.get("completion_tokens"),
        total=usage.get("total_tokens"),
        reasoned=_first(written.get("reasoning_tokens"), usage.get("reasoning_tokens")),
        # Anthropic's and DeepSeek's own names come before OpenAI's, as LiteLLM has it.
        cached=_first(
            usage.get("cache_read_input_tokens"),
            usage.get("prompt_cache_hit_tokens"),
            read.get("cached_tokens"),
        ),
        written=_first(
            usage.get("cache_creation_input_tokens"),
            read.get("cache_write_tokens"),
            read.get("cache_creation_tokens"),
        ),
    )


def in_message(usage: Mapping[str, Any], text: str) -> Usage | None:
    """Anthropic's shape."""
    # Where the server worked in several steps, only the steps hold all that is billed.
    steps = usage.get("iterations") or [usage]
    names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
    try:
        fresh, cached, written, said = (sum(step.get(name) or 0 for step in steps) for name in names)
        splits = [_mapping(step.get("cache_creation")) for step in steps]
        briefly = sum(split.get("ephemeral_5m_input_tokens") or 0 for split in splits)
        hour = longer(written, briefly)
    except (AttributeError, TypeError):
        return None
    details = usage.get("output_tokens_details")
    thought = details.get("thinking_tokens") if isinstance(details, dict) else None
    asked = fresh + cached + written
    return counted(
        text,
        asked=asked,
        said=said,
        total=asked + said,
        reasoned=thought,
        cached=cached,
        written=written,
        hour=hour,
    )


def in_google(usage: Mapping[str, Any], text: str) -> Usage | None:
    """Google's shape, which counts thoughts beside the output."""
    thought, said = usage.get("thoughtsTokenCount") or 0, usage.get("candidatesTokenCount") or 0
    return counted(
        text,
        asked=usage.get("promptTokenCount"),
        said=said + thought if type(said) is type(thought) is int else said,
        total=usage.get("totalTokenCount"),
        reasoned=thought,
        cached=usage.get("cachedContentTokenCount"),
    )


def longer(written: int, briefly: int) -> int:
    """Of the tokens `written` to a cache those that live longer than the five minutes of `briefly` many.

    What is not said to live five minutes counts as living an hour, which is dearer.
    """
    return max(0, written - briefly)


def counted(
    text: str,
    *,
    asked: object,
    said: object,
    total: object,
    reasoned: object = None,
    cached: object = None,
    written: object = None,
    hour: object = None,
) -> Usage | None:
    """The counts, or None when they cannot be true: then the bill is not known either.

    `asked` and `said` are all tokens in and out, `reasoned`, `cached` and `written` parts of them, `hour`
    those of `written` that stay in the provider's cache for longer than five minutes.
    """
    counts: list[int] = []
    for value in (asked, said, total, reasoned, cached, written, hour):
        count = value or 0
        if type(count) is not int or not 0 <= count <= MOST_TOKENS:
            return None
        counts.append(count)
    read, out, whole, thought, hit, kept, long = counts
    # LiteLLM writes zeros where a provider counted nothing.
    if not read:
        return None
    # xAI leaves the reasoning out of `completion_tokens`, though not out of the total.
    output = max(out, whole - read)
    if text and not output:
        return None
    # A part is no more than its whole: what is counted outside of it would go unbilled.
    if output > MOST_TOKENS or thought > output or hit + kept > read or long > kept:
        return None
    return Usage(read, output, thought, hit, kept, long)


def cost(reported: object, byok: object, details: object) -> float | None:
    """Dollars, as OpenRouter tells them."""
    fee = _amount(reported)
    if fee is not None and byok:
        # With the user's own key it bills its fee, and the provider behind it the rest.
        upstream = details.get("upstream_inference_cost") if isinstance(details, Mapping) else None
        rest = _amount(upstream)
        return None if rest is None else fee + rest
    return fee


def _amount(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value <= _HIGHEST_COST else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _first(*counts: object) -> object:
    """The first that is there."""
    return next((count for count in counts if count is not None), None)
