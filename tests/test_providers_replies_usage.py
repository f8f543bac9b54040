"""A server's own count of tokens is believed only when it can be true."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from loopback_faults import Fault, LoopbackServer

from providers import Message, Request, Response, Usage
from providers.hosted.wire import Hosted


def answer(usage: Any, text: str = "B. yes") -> Response:
    message = {"role": "assistant", "content": text}
    body = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage,
    }

    async def main() -> Response:
        fault = Fault("body", text=json.dumps(body))
        async with (
            LoopbackServer(faults=lambda ask, attempt: fault) as server,
            Hosted.of("openai", "m", base_url=server.url, timeout=10) as hosted,
        ):
            return await hosted.complete(Request((Message("user", ("q",)),), {"max_tokens": 5}))

    return asyncio.run(main())


COUNTED = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}


def test_a_true_count_is_taken() -> None:
    assert answer(COUNTED).usage == Usage(10, 3)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"prompt_tokens": 10},
        {**COUNTED, "completion_tokens": 0, "total_tokens": 10},
        {"prompt_tokens": -5, "completion_tokens": -2, "total_tokens": -7},
        {"prompt_tokens": 10, "completion_tokens": -500, "total_tokens": -490},
        {"prompt_tokens": 10**30, "completion_tokens": 1, "total_tokens": 10**30},
    ],
    ids=lambda usage: json.dumps(usage)[:40],
)
def test_a_count_that_cannot_be_true_is_none(usage: Any) -> None:
    response = answer(usage)
    assert response.text == "B. yes"
    assert response.usage is None


def test_thoughts_arrive_as_they_were_sent() -> None:
    # The benchmark scores the raw text; LiteLLM would take what stands between such tags out of it.
    for text in ("<think>hm</think>A", "<thinking>z</thinking>B. y", "  A. spaced \n"):
        assert answer(COUNTED, text).text == text
