"""How long a provider asks us to wait, in whichever of its shapes it says so.

    retry-after-ms: 1500                          milliseconds (OpenAI, Azure)
    retry-after: 20 | Wed, 21 Oct 2026 07:28:00 GMT
    x-ratelimit-reset-requests: 1s | 6m0s | 120ms   when x-ratelimit-remaining-requests is 0 or not said
    x-ratelimit-reset: 1790000000 | 1790000000000   epoch, in seconds or milliseconds (OpenRouter)
    anthropic-ratelimit-tokens-reset: 2026-11-21T04:00:00Z
    {"retryDelay": "34s"}                         in the body (Google)

What is not understood, or lies in the past, is None; nothing is capped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_RESET = re.compile(r"(?P<family>(?:x-|anthropic-)?ratelimit)-(?:reset(?P<after>-.+)?|(?P<before>.+)-reset)")
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_UNITS = (86400.0, 3600.0, 60.0, 1.0, 0.001)
_DELAY = re.compile(r'"retryDelay"\s*:\s*"(\d+(?:\.\d+)?)s"')

# A plain number in a reset header is a duration below this and a moment above it.
_EPOCH = 1e9
_EPOCH_MILLISECONDS = 1e12


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait by the headers of a response; `now` is in seconds since the epoch."""
    named = {name.lower(): value.strip() for name, value in headers.items()}
    for seconds in _stated(named, now):
        if seconds is not None:
            return seconds
    # Several limits may be used up at once: the last to come back is the one that counts.
    return max(_resets(named, now), default=None)


def retry_after_in_body(text: str) -> float | None:
    """Seconds to wait by the body of a response, as Google writes it."""
    found = _DELAY.search(text)
    return _number(found.group(1)) if found else None


def _stated(headers: Mapping[str, str], now: float) -> Iterator[float | None]:
    milliseconds = _number(headers.get("retry-after-ms", ""))
    yield None if milliseconds is None else milliseconds / 1000
    value = headers.get("retry-after", "")
    seconds = _number(value)
    yield seconds if seconds is not None else _ahead(_http_date(value), now)


def _resets(headers: Mapping[str, str], now: float) -> Iterator[float]:
    """The waits of all limits that are used up, or that do not say what remains."""
    for name, value in headers.items():
        found = _RESET.fullmatch(name)
        if not found:
            continue
        if found["before"]:
            remaining = headers.get(f"{found['family']}-{found['before']}-remaining")
        else:
            remaining = headers.get(f"{found['family']}-remaining{found['after'] or ''}")
        if remaining is None or _number(remaining) == 0:
            seconds = _reset(value, now)
            if seconds is not None:
                yield seconds


def _reset(value: str, now: float) -> float | None:
    number = _number(value)
    if number is None:
        return duration(value) if value[:1].isdigit() and "T" not in value else _ahead(_rfc3339(value), now)
    if number >= _EPOCH_MILLISECONDS:
        return _ahead(number / 1000, now)
    return _ahead(number, now) if number >= _EPOCH else number


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def duration(value: str) -> float | None:
    """Seconds of a text like `6m0s` or `120ms`; None for anything else."""
    found = _DURATION.fullmatch(value)
    if not found or not any(found.groups()):
        return None
    return sum(float(part) * unit for part, unit in zip(found.groups(), _UNITS, strict=True) if part)


def _ahead(moment: float | None, now: float) -> float | None:
    return None if moment is None or moment < now else moment - now


def _http_date(value: str) -> float | None:
    try:
        date = parsedate_to_datetime(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return _seconds(date)


def _rfc3339(value: str) -> float | None:
    try:
        return _seconds(datetime.fromisoformat(value))
    except ValueError:
        return None


def _seconds(date: datetime) -> float | None:
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    try:
        return aware.timestamp()
    except (OverflowError, ValueError):
        return None
