"""What LiteLLM is given to read: a sound body as it came, any other without what spoils it."""

import asyncio
import contextlib
import gzip
import json
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from providers import MalformedResponse, Message, ProviderError, RateLimited, Request
from providers.hosted.wire import Hosted
from providers.replies.bodies import LONGEST, LONGEST_ERROR, MOST_TOKENS, BodyError, parse

COUNTED = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}
DETAILED = COUNTED | {
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": None},
    "cost": 0.5,
    "cost_details": {"upstream_inference_cost": None},
    "is_byok": True,
    "queue_time": 0.01,
}
GOOGLE = {"promptTokenCount": 3, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 3}]}


def usage_in(usage: object, name: str = "usage", **more: Any) -> Any:
    shape = {"choices": []} if name == "usage" else {"candidates": []}
    return parse(json.dumps({**shape, **more, name: usage}).encode())[name]


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices": [{"message": {"content": "A"}}],\n "usage": {"prompt_tokens": 1}}',
        json.dumps({"choices": [], "usage": DETAILED}).encode(),
        json.dumps({"candidates": [], "usageMetadata": GOOGLE}).encode(),
        # Another vendor's counts are LiteLLM's business.
        b'{"message": {}, "usage": {"billed_units": {"input_tokens": 5.0}}}',
        b'{"choices": [1, {"message": 2}]}',
        b'{"choices": 3}',
        b"[1]",
    ],
)
def test_a_body_that_is_sound_or_of_no_known_shape_stays_as_it_is(body: bytes) -> None:
    assert parse(body) == json.loads(body)


@pytest.mark.parametrize(
    "wrong", [-1, True, 1.5, float("nan"), float("inf"), "12", MOST_TOKENS + 1, 10**100], ids=repr
)
def test_one_wrong_count_makes_all_of_them_unknown(wrong: object) -> None:
    for name in COUNTED:
        assert usage_in(COUNTED | {name: wrong}) == {}
    assert usage_in(COUNTED | {"prompt_tokens_details": {"cached_tokens": wrong}}) == {}
    assert usage_in({"input_tokens": 1, "cache_creation_input_tokens": wrong}, type="message") == {}
    assert usage_in(GOOGLE | {"totalTokenCount": wrong}, "usageMetadata") == {}
    deep = {"promptTokensDetails": [{"tokenCount": wrong}]}
    assert usage_in(GOOGLE | deep, "usageMetadata") == {}


def test_what_the_provider_says_it_cost_outlives_its_counts() -> None:
    kept = {name: DETAILED[name] for name in ("cost", "cost_details", "is_byok")}
    assert usage_in(DETAILED | {"prompt_tokens": -1}) == kept


@pytest.mark.parametrize("usage", [5, "x", [1], True])
def test_what_is_no_usage_is_none(usage: object) -> None:
    assert usage_in(usage) == {}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "choices", "message", "content", "usage", "prompt_tokens", "type", "text", "code"]
            ),
            inner,
            max_size=5,
        )
    ),
)


@given(JSON)
def test_any_body_is_mended_once_or_an_error(body: object) -> None:
    content = json.dumps(body).encode()
    with contextlib.suppress(BodyError):
        once = parse(content)
        assert parse(json.dumps(once).encode()) == once


@pytest.mark.parametrize("content", [b"<html>", b"\xff\xfe{", b"[" * 100_000, b"", b"9" * 5000])
def test_what_is_no_json_is_no_answer(content: bytes) -> None:
    with pytest.raises(BodyError, match="holds no answer") as caught:
        parse(content)
    assert caught.value.text == ""


def unpacked(content: bytes, status: int) -> ProviderError:
    """What becomes of this content, packed, over HTTP."""

    async def serve(request: web.Request) -> web.Response:
        headers = {"content-encoding": "gzip", "content-type": "application/json"}
        return web.Response(status=status, body=gzip.compress(content, 1), headers=headers)

    async def main() -> ProviderError:
        application = web.Application()
        application.router.add_post("/v1/chat/completions", serve)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        try:
            async with Hosted.of("openai", "m", base_url=url, timeout=60) as hosted:
                with pytest.raises(ProviderError) as caught:
                    await hosted.complete(Request((Message("user", ("q",)),), {"max_tokens": 5}))
            return caught.value
        finally:
            await runner.cleanup()

    return asyncio.run(main())


def test_a_body_is_unpacked_only_as_far_as_an_answer_can_go() -> None:
    error = unpacked(b" " * (LONGEST + 1_000_000), 200)
    assert type(error) is MalformedResponse
    assert error.billed
    assert str(error) == "openai (m) sent more than 16 MB"


def test_an_error_that_never_ends_is_still_an_error() -> None:
    error = unpacked(b'{"error": {"message": "' + b" " * (LONGEST_ERROR * 100), 429)
    assert type(error) is RateLimited
    assert error.billed  # torn where it is cut off: nobody knows what else it holds
