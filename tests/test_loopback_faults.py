"""The tests' own loopback server as any HTTP client sees it."""

import asyncio
import base64
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, get_args

import aiohttp
import pytest
from loopback_faults import (
    Ask,
    ErrorKind,
    Fault,
    FaultKind,
    LoopbackServer,
    LoopbackThread,
    OddKind,
    full_usage,
    rough_usage,
)

from providers.usage import Usage

PIXELS = bytes(range(256))
ENCODED = base64.b64encode(PIXELS).decode()

OPENAI = (
    "/v1/chat/completions",
    {
        "model": "m",
        "max_tokens": 7,
        "messages": [
            {"role": "system", "content": "be kind"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "what"},
                    {"type": "image_url", "image_url": {"url": f"data:image/webp;base64,{ENCODED}"}},
                    {"type": "text", "text": "is it"},
                ],
            },
        ],
    },
)
ANTHROPIC = (
    "/v1/messages",
    {
        "model": "m",
        "max_tokens": 7,
        "system": [{"type": "text", "text": "be kind"}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "what"},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/webp", "data": ENCODED},
                    },
                    {"type": "text", "text": "is it"},
                ],
            }
        ],
    },
)
GEMINI = (
    "/v1beta/models/m:generateContent",
    {
        "generationConfig": {"maxOutputTokens": 7},
        "systemInstruction": {"parts": [{"text": "be kind"}]},
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "what"},
                    {"inlineData": {"mimeType": "image/webp", "data": ENCODED}},
                    {"text": "is it"},
                ],
            }
        ],
    },
)
SHAPES = (OPENAI, ANTHROPIC, GEMINI)

type Post = Callable[[tuple[str, dict[str, Any]]], Awaitable[tuple[int, bytes]]]


@asynccontextmanager
async def client(server: LoopbackServer) -> AsyncIterator[Post]:
    async with server, aiohttp.ClientSession() as session:

        async def post(asked: tuple[str, dict[str, Any]]) -> tuple[int, bytes]:
            async with session.post(server.root + asked[0], json=asked[1]) as answer:
                return answer.status, await answer.read()

        yield post


@pytest.mark.parametrize("asked", SHAPES, ids=["openai", "anthropic", "gemini"])
def test_a_question_is_read_in_every_shape(asked: tuple[str, dict[str, Any]]) -> None:
    seen: list[Ask] = []

    def policy(ask: Ask) -> str:
        seen.append(ask)
        return "B"

    async def main() -> None:
        async with client(LoopbackServer(policy)) as post:
            status, body = await post(asked)
            assert status == 200
            assert b'"B"' in body

    asyncio.run(main())
    (ask,) = seen
    assert (ask.model, ask.text, ask.question) == ("m", "be kind\nwhat\nis it", "what\nis it")
    assert ask.images == (("image/webp", PIXELS),)
    assert ask.max_tokens == 7


def test_the_ledger_counts_what_was_served() -> None:
    async def main() -> None:
        server = LoopbackServer(
            lambda ask: "a b c",
            faults=lambda ask, attempt: Fault("unavailable") if attempt == 1 else None,
            usage=lambda ask, text: Usage(100, len(text.split())),
            cost=lambda ask, usage: usage.input_tokens * 1e-6 + usage.output_tokens * 2e-6,
            tells_cost=True,
        )
        async with client(server) as post:
            assert (await post(OPENAI))[0] == 503
            _, body = await post(OPENAI)
            assert json.loads(body)["usage"]["cost"] == pytest.approx(106e-6)
        first, second = server.served
        assert (first.status, first.fault, first.cost, first.attempt) == (503, "unavailable", 0.0, 1)
        assert (second.status, second.fault, second.attempt) == (200, None, 2)
        assert second.usage == Usage(100, 3)
        assert first.key == second.key
        assert first.ask is None
        assert server.calls == 2
        assert server.total_cost == second.cost == pytest.approx(106e-6)

    asyncio.run(main())


def test_memory_can_be_bounded_and_questions_kept() -> None:
    async def main() -> None:
        server = LoopbackServer(records=2, keep_asks=True)
        async with client(server) as post:
            for _ in range(5):
                await post(ANTHROPIC)
        assert (len(server.served), server.calls) == (2, 5)
        assert server.served[0].ask is not None

    asyncio.run(main())


def test_the_peak_in_flight() -> None:
    async def main() -> None:
        server = LoopbackServer(latency=lambda: 0.02)
        async with client(server) as post:
            await asyncio.gather(*(post(OPENAI) for _ in range(7)))
        assert server.peak_in_flight == 7
        assert server.in_flight == 0

    asyncio.run(main())


def test_usage() -> None:
    ask = Ask("openai", "m", "x" * 40, "", {"max_tokens": 2}, {}, (("image/png", ""),))
    assert rough_usage(ask, "one two three") == Usage(10 + 16 + 1, 2)
    assert full_usage(ask, "one") == Usage(27, 2)


@pytest.mark.parametrize("kind", get_args(ErrorKind))
def test_an_error_is_worded_by_each_vendor(kind: ErrorKind) -> None:
    async def main() -> None:
        async with client(LoopbackServer(faults=lambda ask, attempt: Fault(kind, retry_delay="34s"))) as post:
            for asked in SHAPES:
                status, body = await post(asked)
                assert status >= 400
                assert json.loads(body)["error"]["message"]

    asyncio.run(main())


@pytest.mark.parametrize("kind", get_args(OddKind))
def test_an_odd_answer_is_a_success(kind: OddKind) -> None:
    async def main() -> None:
        async with client(LoopbackServer(faults=lambda ask, attempt: Fault(kind))) as post:
            for asked in SHAPES:
                assert (await post(asked))[0] == 200

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["reset", "disconnect", "cut_off"])
def test_a_broken_connection(kind: FaultKind) -> None:
    async def main() -> None:
        server = LoopbackServer(faults=lambda ask, attempt: Fault(kind), cost=lambda ask, usage: 1.0)
        async with client(server) as post:
            with pytest.raises(aiohttp.ClientError):
                await post(OPENAI)
        assert server.total_cost == 1.0  # the model may have worked

    asyncio.run(main())


def test_it_ends_with_its_block_whatever_hangs() -> None:
    async def main() -> None:
        asked = asyncio.Event()

        def hang(ask: Ask, attempt: int) -> Fault:
            asked.set()
            return Fault("hang")

        server = LoopbackServer(faults=hang)
        async with asyncio.timeout(5):
            async with aiohttp.ClientSession() as session, server:
                hanging = asyncio.create_task(session.post(server.url + "/chat/completions", json=OPENAI[1]))
                await asked.wait()
            with pytest.raises(aiohttp.ClientError):
                await hanging

    asyncio.run(main())


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
def test_a_large_image_passes() -> None:
    async def main() -> None:
        data = base64.b64encode(bytes(30_000_000)).decode()
        part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
        body = {"model": "m", "messages": [{"role": "user", "content": [part]}]}
        async with client(LoopbackServer(lambda ask: str(len(ask.images[0][1])))) as post:
            _, answer = await post((OPENAI[0], body))
            assert b"30000000" in answer

    asyncio.run(main())


def test_other_paths_are_not_found() -> None:
    async def main() -> None:
        async with client(LoopbackServer()) as post:
            assert (await post(("/v1/embeddings", {})))[0] == 404

    asyncio.run(main())


def test_a_thread_of_its_own() -> None:
    with LoopbackThread(LoopbackServer(lambda ask: ask.question)) as server:
        asked = urllib.request.Request(server.root + OPENAI[0], json.dumps(OPENAI[1]).encode(), method="POST")
        with urllib.request.urlopen(asked, timeout=10) as answer:
            assert "what\nis it" in json.load(answer)["choices"][0]["message"]["content"]
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(asked, timeout=10)


def test_a_thread_that_cannot_start_says_why() -> None:
    class Broken(LoopbackServer):
        async def __aenter__(self) -> "Broken":
            raise OSError("no port")

    with pytest.raises(OSError, match="no port"), LoopbackThread(Broken()):
        pass
