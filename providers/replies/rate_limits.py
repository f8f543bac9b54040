"""Read the rate limits that a provider announces in the headers of an answer or a refusal.

    x-ratelimit-limit-requests: 3000          OpenAI and all that speak like it; a minute unless the name
    x-ratelimit-remaining-requests: 2950      says otherwise (-second, -minute, -hour, -day)
    x-ratelimit-reset-requests: 1s
    anthropic-ratelimit-input-tokens-limit: 400000
    anthropic-ratelimit-input-tokens-remaining: 399000
    anthropic-ratelimit-input-tokens-reset: 2026-11-21T04:00:00Z

Sources: OpenAI's guide to rate limits, Anthropic's page on rate limits (headers), Mistral's and Groq's
names with the period at the end. A limit for an hour or a day is a quota and no pace: it is left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from providers.rate_limit import RateLimit
from providers.replies.retry_after import duration

_NAMES = re.compile(
    r"x-ratelimit-limit-(?P<openai>[a-z0-9-]+)|anthropic-ratelimit-(?P<anthropic>[a-z-]+)-limit"
)
_PERIOD = re.compile(r"-(?P<count>\d+)?-?(?P<unit>second|s|minute|m|hour|h|day|d)$")
_SECONDS = {"second": 1, "s": 1, "minute": 60, "m": 60, "hour": 3600, "h": 3600, "day": 86400, "d": 86400}
# What vendors call the same thing.
_RESOURCES = {
    "req": "requests",
    "request": "requests",
    "requests": "requests",
    "tokens": "tokens",
    "input-tokens": "input tokens",
    "tokens-prompt": "input tokens",
    "output-tokens": "output tokens",
    "tokens-generated": "output tokens",
}
_LONGEST_PERIOD = 600.0


def rate_limits(headers: Mapping[str, str]) -> tuple[RateLimit, ...]:
    """The limits that are announced, in headers of any case; what is not understood is left out."""
    limits = []
    for header, value in headers.items():
        match = _NAMES.fullmatch(header.lower())
        if match is None:
            continue
        name = match["openai"] or match["anthropic"]
        period = 60.0
        if stated := _PERIOD.search(name):
            period = float(stated["count"] or 1) * _SECONDS[stated["unit"]]
        resource = _RESOURCES.get(name[: stated.start()] if stated else name)
        limit = _number(value)
        if resource is None or not limit or not 0 < period <= _LONGEST_PERIOD:
            continue
        vendor = "x-ratelimit-{}-" + name if match["openai"] else f"anthropic-ratelimit-{name}-" + "{}"
        remaining = _number(_get(headers, vendor.format("remaining")))
        if match["openai"] and not stated and _resets_late(headers, vendor, limit, remaining):
            continue
        limits.append(RateLimit(resource, limit, period, remaining))
    return tuple(limits)


def _resets_late(headers: Mapping[str, str], vendor: str, limit: float, remaining: float | None) -> bool:
    """Whether what is used up comes back so slowly that the limit is a day's: Groq's requests are."""
    if remaining is None or remaining >= limit:
        return False
    reset = duration(_get(headers, vendor.format("reset")))
    # A reset may be rounded up by a second, which a small use would make hours of.
    return reset is not None and (reset - 1) * limit / (limit - remaining) > _LONGEST_PERIOD


def _get(headers: Mapping[str, str], name: str) -> str:
    return headers.get(name) or next((value for key, value in headers.items() if key.lower() == name), "")


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
