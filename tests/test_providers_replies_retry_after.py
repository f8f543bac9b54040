"""Retry-After in all its shapes."""

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.replies.retry_after import retry_after, retry_after_in_body

NOW = datetime(2026, 11, 21, 4, 0, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "20"}, 20),
        ({"Retry-After": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "7200"}, 7200),
        ({"retry-after": "Sat, 21 Nov 2026 04:00:30 GMT"}, 30),
        ({"retry-after": "Sat, 21 Nov 2026 05:00:30 +0100"}, 30),
        ({"retry-after": "Sat, 21 Nov 2026 03:59:00 GMT"}, None),
        ({"retry-after": "Sat, 99 Nov 2026 03:59:00 GMT"}, None),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after-ms": "x", "retry-after": "2"}, 2),
        ({"retry-after": "2", "x-ratelimit-reset-requests": "30s"}, 2),
        # What is used up counts, what is left does not.
        ({"x-ratelimit-reset-requests": "1s"}, 1),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-remaining-requests": "12"}, None),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-remaining-requests": "0"}, 1),
        (
            {
                "x-ratelimit-reset-requests": "9s",
                "x-ratelimit-remaining-requests": "3",
                "x-ratelimit-reset-tokens": "6m0s",
                "x-ratelimit-remaining-tokens": "0",
            },
            360,
        ),
        ({"x-ratelimit-reset-requests": "9s", "x-ratelimit-reset-tokens": "120ms"}, 9),
        ({"x-ratelimit-reset-tokens": "120ms"}, 0.12),
        ({"x-ratelimit-reset-tokens": "2m59.56s"}, 179.56),
        ({"x-ratelimit-reset-tokens": "1h2m3s"}, 3723),
        ({"x-ratelimit-reset-tokens": "1d"}, 86400),
        ({"x-ratelimit-reset-tokens": "7.66"}, 7.66),
        ({"x-ratelimit-reset-tokens": "later"}, None),
        ({"x-ratelimit-reset-tokens": "-5s"}, None),
        ({"x-ratelimit-reset-tokens-minute": "4", "x-ratelimit-remaining-tokens-minute": "0"}, 4),
        ({"x-ratelimit-reset": str(int(NOW) + 42), "x-ratelimit-remaining": "0"}, 42),
        ({"x-ratelimit-reset": str((int(NOW) + 42) * 1000)}, 42),
        ({"x-ratelimit-reset": str(int(NOW) - 1)}, None),
        ({"ratelimit-reset": "11"}, 11),
        ({"anthropic-ratelimit-tokens-reset": "2026-11-21T04:00:17Z"}, 17),
        (
            {
                "anthropic-ratelimit-requests-reset": "2026-11-21T04:00:50Z",
                "anthropic-ratelimit-requests-remaining": "49",
                "anthropic-ratelimit-input-tokens-reset": "2026-11-21T04:00:05+00:00",
                "anthropic-ratelimit-input-tokens-remaining": "0",
            },
            5,
        ),
        ({"anthropic-ratelimit-tokens-reset": "2026-11-21T03:00:00Z"}, None),
        ({"anthropic-ratelimit-tokens-reset": "yesterday"}, None),
    ],
)
def test_headers(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ('{"error": {"details": [{"@type": "x.RetryInfo", "retryDelay": "34s"}]}}', 34),
        ('{"retryDelay":"0.847655010s"}', 0.847655010),
        ('{"retryDelay": "-3s"}', None),
        ('{"retryDelay": "soon"}', None),
        ("Please retry in 34s.", None),
        ("", None),
    ],
)
def test_bodies(body: str, seconds: float | None) -> None:
    assert retry_after_in_body(body) == seconds


NAMES = st.sampled_from(
    [
        "retry-after",
        "retry-after-ms",
        "x-ratelimit-reset",
        "x-ratelimit-reset-tokens",
        "anthropic-ratelimit-x-reset",
    ]
)


@given(st.dictionaries(NAMES, st.text(max_size=40) | st.from_regex(r"[0-9dhms.:TZ+-]{0,25}", fullmatch=True)))
def test_whatever_comes_is_a_sane_wait_or_none(headers: dict[str, str]) -> None:
    seconds = retry_after(headers, NOW)
    assert seconds is None or (seconds >= 0 and math.isfinite(seconds))
