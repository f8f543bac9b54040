"""The loopback server of the demo as any HTTP client sees it."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import aiohttp
import pytest

from providers import Message, Request
from providers.direct.wire import Direct
from providers.loopback.server import Ask, LoopbackServer

PIXELS = bytes(range(256))
BODY = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "be kind"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "what"},
                {
                    "type": "image_url",
                    "image_url": {"url": f"data:image/webp;base64,{base64.b64encode(PIXELS).decode()}"},
                },
                {"type": "text", "text": "is it"},
            ],
        },
    ],
}


async def post(server: LoopbackServer, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as session, session.post(server.url + path, json=body) as answer:
        return answer.status, await answer.json()


def test_the_policy_sees_texts_and_images_and_its_answer_is_sent() -> None:
    seen: list[Ask] = []

    def policy(ask: Ask) -> str:
        seen.append(ask)
        return "it is B"

    async def main() -> None:
        async with LoopbackServer(policy) as server:
            status, answer = await post(server, "/chat/completions", BODY)
            assert status == 200
            assert answer["choices"][0]["message"]["content"] == "it is B"
            assert answer["model"] == "m"
            assert answer["usage"]["completion_tokens"] == 3
            assert server.calls == 1
        with pytest.raises(aiohttp.ClientError):
            await post(server, "/chat/completions", BODY)

    asyncio.run(main())
    (ask,) = seen
    assert (ask.text, ask.question) == ("be kind\nwhat\nis it", "what\nis it")
    assert ask.images == (("image/webp", PIXELS),)
    assert ask.body == BODY


def test_our_own_wire_reads_its_answers() -> None:
    async def main() -> None:
        async with LoopbackServer() as server, Direct.of("openai", "m", base_url=server.url) as wire:
            response = await wire.complete(Request((Message("user", ("what",)),), {"max_tokens": 5}))
            assert (response.text, response.finish) == ("A", "stop")
            assert response.usage is not None
            assert response.usage.output_tokens == 1

    asyncio.run(main())


def test_other_paths_are_not_found() -> None:
    async def main() -> None:
        async with LoopbackServer() as server:
            assert (await post(server, "/embeddings", {}))[0] == 404

    asyncio.run(main())
