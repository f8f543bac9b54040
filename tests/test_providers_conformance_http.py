"""Both wires below JSON: what is odd as HTTP, and connections that are kept and then end.

The same response must be the same outcome, and one call one request, whatever becomes of its connection.
"""

import asyncio
import contextlib
import json
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from loopback_faults import LoopbackServer, LoopbackThread

from providers import (
    AttemptTimedOut,
    BadRequest,
    ConnectionFailed,
    Message,
    ProviderError,
    RateLimited,
    Request,
    ServerFault,
    Unusable,
)
from providers.deadline import LATE
from providers.direct.wire import Direct
from providers.hosted.wire import Hosted

ASKING = Request((Message("user", ("q",)),), {"max_tokens": 50})
WIRES = pytest.mark.parametrize("wire", [Hosted, Direct])
OPENAI = json.dumps(
    {
        "model": "m",
        "choices": [{"message": {"role": "assistant", "content": "B"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
    }
).encode()
KEY = "hush-0123456789"
GZIP = "content-encoding: gzip"

type Wire = Hosted | Direct
type Outcome = str | tuple[type[ProviderError], bool, int | None, float | None]
type Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def http(status: str, *headers: str, body: bytes = b"") -> bytes:
    lines = (f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def outcome(wire: Wire) -> Outcome:
    try:
        return (await wire.complete(ASKING)).text
    except ProviderError as error:
        return type(error), error.billed, error.status, error.retry_after


@asynccontextmanager
async def asked(
    wire: type[Wire], serve: Serve, provider: str = "openai", scheme: str = "http"
) -> AsyncIterator[Wire]:
    async def end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(end, "127.0.0.1", 0)
    url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    more: dict[str, Any] = {"base_url": url, "api_key": KEY, "timeout": 10 if scheme == "http" else 0.2}
    try:
        async with wire.of(provider, "claude-haiku-4-5", **more) as opened:
            yield opened
    finally:
        server.close()


async def read_head(reader: asyncio.StreamReader) -> int:
    """The length of the body that follows."""
    head = await reader.readuntil(b"\r\n\r\n")
    return int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])


def once(wire: type[Wire], response: bytes, provider: str) -> Outcome:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(await read_head(reader))
        writer.write(response)

    async def main() -> Outcome:
        async with asked(wire, serve, provider) as opened:
            return await outcome(opened)

    return asyncio.run(main())


ODD: dict[str, tuple[bytes, Outcome]] = {
    "a choice": (http("300 X", "location: /x"), (BadRequest, True, 300, None)),
    "not modified": (http("304 X", "location: /x"), (BadRequest, True, 304, None)),
    "sent to nowhere": (http("301 X", "location:"), (Unusable, True, 301, None)),
    "sent away": (http("307 X", "location: /x"), (Unusable, True, 307, None)),
    "not told where": (http("307 X"), (BadRequest, True, 307, None)),
    "not packed": (http("200 OK", GZIP, body=b"words"), (ServerFault, True, None, None)),
    "a refusal not packed": (
        http("429 X", GZIP, body=b"words"),
        (ServerFault, True, None, None),
    ),
    "two waits": (http("429 X", "retry-after: 3", "retry-after: 9"), (RateLimited, False, 429, 9.0)),
    "another protocol": (b"SSH-2.0-OpenSSH\r\n\r\n", (ServerFault, True, None, None)),
    "two lengths": (http("200 OK", "content-length: 5", body=OPENAI), (ServerFault, True, None, None)),
    "a long header": (http("200 OK", f"x: {'a' * 20_000}", body=OPENAI), (ServerFault, True, None, None)),
}


@WIRES
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("name", ODD)
def test_odd_responses(wire: type[Wire], provider: str, name: str) -> None:
    response, found = ODD[name]
    assert once(wire, response, provider) == found


def test_an_odd_letter_in_a_header_is_lost_on_litellm_only() -> None:
    # httpx cannot hold it, and LiteLLM makes httpx's response before we see any of it.
    response = http("200 OK", "x: é", body=OPENAI)
    assert once(Direct, response, "openai") == "B"
    assert once(Hosted, response, "openai") == (ServerFault, True, 500, None)


def test_a_handshake_without_end_is_billed_on_litellm_only() -> None:
    # It does not tell whether it had connected: the dearer of both is assumed.
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def main(wire: type[Wire]) -> Outcome:
        async with asked(wire, serve, scheme="https") as opened:
            return await outcome(opened)

    assert asyncio.run(main(Direct)) == (AttemptTimedOut, False, None, None)
    assert asyncio.run(main(Hosted)) == (AttemptTimedOut, True, None, None)


@WIRES
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_proxy_that_only_connects_never_sees_the_key(
    monkeypatch: pytest.MonkeyPatch, wire: type[Wire], provider: str
) -> None:
    heads = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(http("502 X"))
        writer.close()

    async def main() -> Outcome:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            async with wire.of(
                provider, "m", base_url="https://far.invalid", api_key=KEY, timeout=10
            ) as opened:
                return await outcome(opened)

    assert asyncio.run(main()) == (ConnectionFailed, False, None, None)
    assert [head.split(b"\r\n")[0] for head in heads] == [b"CONNECT far.invalid:443 HTTP/1.1"]
    names = {line.lower().partition(b":")[0].removeprefix(b"proxy-") for line in heads[0].split(b"\r\n")}
    assert not {b"authorization", b"x-api-key"} & names
    assert KEY.encode() not in heads[0]


# Connections that are kept.


class Keeping:
    """Answers the first request of each connection, and ends the connection with its second by `end`."""

    def __init__(self, end: str) -> None:
        self.end = end
        self.requests = 0
        self.connections = 0
        self.leave = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await self._answer(reader, writer)
        if self.end == "said":
            return
        if self.end.startswith("idle"):
            await self.leave.wait()
        elif self.end == "reset at the head":
            await self._head(reader)
        else:
            while self.end == "none":
                await self._answer(reader, writer)
            await reader.readexactly(await self._head(reader))
        if self.end == "408":
            writer.write(http("408 X", "connection: close"))
        elif "reset" in self.end:
            reset(writer)

    async def _head(self, reader: asyncio.StreamReader) -> int:
        length = await read_head(reader)
        self.requests += 1
        return length

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(await self._head(reader))
        says = "connection: close" if self.end == "said" else "keep-alive: timeout=1"
        writer.write(http("200 OK", says, body=OPENAI))


def reset(writer: asyncio.StreamWriter) -> None:
    # Without lingering the kernel answers with RST instead of FIN.
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


BROKEN = (ConnectionFailed, True, None, None)


@WIRES
@pytest.mark.parametrize(
    ("end", "second", "connections"),
    [
        ("none", "B", 1),
        ("said", "B", 3),
        # The server had the request, or part of it: nobody knows what it did with it.
        ("reset at the head", BROKEN, 2),
        ("reset", BROKEN, 2),
        ("fin", BROKEN, 2),
        ("408", (AttemptTimedOut, True, 408, None), 2),
        # It is gone before the next request, which is sent on a new one.
        ("idle, fin", "B", 3),
        ("idle, reset", "B", 3),
    ],
)
def test_a_kept_connection_that_ends_is_no_second_request(
    wire: type[Wire], end: str, second: Outcome, connections: int
) -> None:
    async def main() -> None:
        serve = Keeping(end)
        async with asked(wire, serve) as opened:
            for expected in ("B", second, "B"):
                assert await outcome(opened) == expected
                serve.leave.set()
                for _ in range(20):  # turns of the loop, in which the end arrives
                    await asyncio.sleep(0)
                serve.leave.clear()
        assert (serve.requests, serve.connections) == (3, connections)

    asyncio.run(main())


@WIRES
def test_a_process_that_was_stopped_reads_what_has_arrived(wire: type[Wire]) -> None:
    # It threw the answer away, which was paid, and asked again.
    with LoopbackThread(LoopbackServer(latency=0.1)) as server:

        async def main() -> Outcome:
            async with wire.of("openai", "m", base_url=server.url, api_key=KEY) as opened:
                await outcome(opened)
                opened.timeout = 0.4
                asked = asyncio.create_task(outcome(opened))
                while server.in_flight == 0:
                    await asyncio.sleep(0.001)
                time.sleep(LATE + 0.6)
                return await asked

        assert asyncio.run(main()) == "A"
        assert server.calls == 2
