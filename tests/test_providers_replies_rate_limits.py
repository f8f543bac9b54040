"""Which limits a provider's headers announce."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback_faults import Fault, LoopbackServer

from providers import Message, RateLimit, RateLimited, Request
from providers.direct.wire import Direct
from providers.hosted.wire import Hosted
from providers.replies.rate_limits import rate_limits

OPENAI = {
    "X-RateLimit-Limit-Requests": "3000",
    "x-ratelimit-remaining-requests": "2950",
    "x-ratelimit-reset-requests": "1s",
    "x-ratelimit-limit-tokens": "400000",
    "x-ratelimit-remaining-tokens": "399000",
    "x-ratelimit-reset-tokens": "150ms",
    "retry-after": "1",
}
ANTHROPIC = {
    "anthropic-ratelimit-requests-limit": "2000",
    "anthropic-ratelimit-requests-remaining": "1999",
    "anthropic-ratelimit-requests-reset": "2026-11-21T04:00:00Z",
    "anthropic-ratelimit-input-tokens-limit": "400000",
    "anthropic-ratelimit-input-tokens-remaining": "0",
    "anthropic-ratelimit-output-tokens-limit": "80000",
}


@pytest.mark.parametrize(
    ("headers", "limits"),
    [
        (OPENAI, {RateLimit("requests", 3000, 60, 2950), RateLimit("tokens", 400_000, 60, 399_000)}),
        (
            ANTHROPIC,
            {
                RateLimit("requests", 2000, 60, 1999),
                RateLimit("input tokens", 400_000, 60, 0),
                RateLimit("output tokens", 80_000, 60, None),
            },
        ),
        ({"x-ratelimit-limit-req-minute": "90"}, {RateLimit("requests", 90, 60)}),
        ({"x-ratelimit-limit-tokens-5-minute": "1000"}, {RateLimit("tokens", 1000, 300)}),
        ({"x-ratelimit-limit-requests-second": "5"}, {RateLimit("requests", 5, 1)}),
        # A day's quota is no pace, whether the name says so or only how slowly it comes back.
        ({"x-ratelimit-limit-requests-day": "14400"}, set()),
        (
            {
                "x-ratelimit-limit-requests": "14400",
                "x-ratelimit-remaining-requests": "14370",
                "x-ratelimit-reset-requests": "3m0s",
            },
            set(),
        ),
        # A reset that is rounded up to a second makes no day of a minute.
        (
            {
                "x-ratelimit-limit-requests": "12000",
                "x-ratelimit-remaining-requests": "11999",
                "x-ratelimit-reset-requests": "1s",
            },
            {RateLimit("requests", 12_000, 60, 11_999)},
        ),
        ({"x-ratelimit-limit-requests": "0"}, set()),
        ({"x-ratelimit-limit-requests": "many"}, set()),
        ({"x-ratelimit-limit-requests": "nan"}, set()),
        ({"x-ratelimit-limit-requests": "-5"}, set()),
        ({"x-ratelimit-limit-images": "10"}, set()),
        ({"x-ratelimit-limit": "20", "content-type": "application/json"}, set()),
        ({}, set()),
    ],
)
def test_what_is_announced(headers, limits):
    assert set(rate_limits(headers)) == limits


@given(st.dictionaries(st.sampled_from(list(OPENAI | ANTHROPIC)), st.text(max_size=12)))
def test_nothing_in_a_header_is_an_error(headers):
    assert all(limit.per_second > 0 for limit in rate_limits(headers))


def test_a_limit_in_words():
    assert str(RateLimit("requests", 3000)) == "3,000 requests/min"
    assert str(RateLimit("tokens", 5, 1)) == "5 tokens/s"
    assert str(RateLimit("tokens", 5, 300)) == "5 tokens/300 s"


ROUTES = (("openai", "/v1"), ("hosted_vllm", "/v1"), ("openrouter", "/v1"), ("anthropic", ""))


@pytest.mark.parametrize("wire", [Direct, Hosted])
@pytest.mark.parametrize(("provider", "path"), ROUTES)
def test_limits_come_with_answers_and_refusals_over_both_wires(wire, provider, path):
    """LiteLLM hides the headers of an answer: they are taken where it reads it."""

    async def main():
        faults = lambda ask, attempt: Fault("rate_limit") if attempt > 1 else None  # noqa: E731
        async with LoopbackServer(faults=faults, headers=OPENAI | ANTHROPIC) as server:
            asked = wire.of(provider, "some-model", base_url=server.root + path, api_key="hush")
            request = Request((Message("user", ("hello",)),), {"max_tokens": 5})
            async with asked as model:
                answer = await model.complete(request)
                with pytest.raises(RateLimited) as refusal:
                    await model.complete(request)
        return answer.limits, refusal.value.limits

    for limits in asyncio.run(main()):
        assert set(limits) == set(rate_limits(OPENAI | ANTHROPIC))
