"""The direct wire's own behaviours: what a comparison with LiteLLM cannot show.

That it says and hears the same as LiteLLM is tested in `test_providers_conformance`.
"""

import asyncio
import base64
import contextlib
import gc
import gzip
import json
import socket
import ssl
import subprocess
import sys
import tracemalloc
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import StreamWriter
from hypothesis import given
from hypothesis import strategies as st
from loopback_faults import Ask, Fault, LoopbackServer
from yarl import URL

from providers import (
    AttemptTimedOut,
    AuthenticationFailed,
    BadRequest,
    ConnectionFailed,
    EncodedImage,
    Json,
    MalformedResponse,
    Message,
    ProviderError,
    RateLimited,
    Request,
    Response,
    ServerFault,
    Unusable,
)
from providers.catalog.names import HOSTED
from providers.catalog.target import Asked
from providers.direct import pool as direct_pool
from providers.direct import wire as direct
from providers.direct.anthropic import Messages
from providers.direct.openai import ChatCompletions
from providers.direct.pool import proxy_for
from providers.direct.wire import Direct, NotSpokenError, speaks
from providers.replies.bodies import LONGEST, LONGEST_ERROR

KEY = "hush-0123456789"
ANSWER = json.dumps(
    {
        "model": "m",
        "choices": [{"message": {"role": "assistant", "content": "B"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
    }
).encode()


class Picture:
    identity: Mapping[str, Json] = {}

    def __init__(self, data: bytes = b"pixels") -> None:
        self.encoded = EncodedImage("image/png", data, 16, 16)

    async def encode(self) -> EncodedImage:
        return self.encoded


def asking(*parts: Any, **params: Json) -> Request:
    return Request((Message("user", parts or ("q",)),), {"max_tokens": 50, **params})


def compatible(url: str, **more: Any) -> Direct:
    return Direct.of("openai", "m", base_url=url, **{"timeout": 10, "api_key": KEY, **more})


async def refused(wire: Direct, request: Request | None = None) -> ProviderError:
    async with wire:
        with pytest.raises(ProviderError) as caught:
            await wire.complete(request or asking())
    return caught.value


type Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(answer: Answer, trust: ssl.SSLContext | None = None, port: int = 0):
    """A server that says anything, HTTP or not; it closes the connection when `answer` ends."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            while length > 0:
                length -= len(await reader.read(min(length, 65536)))
            with contextlib.suppress(ConnectionError):
                await answer(head, writer)
                await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=trust)
    scheme = "https" if trust else "http"
    try:
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()


def replying(status: str, body: bytes = b"", **headers: str) -> Answer:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"

    async def reply(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(head + body)

    return reply


def outcome(answer: Answer, **more: Any) -> Response | ProviderError:
    async def main() -> Response | ProviderError:
        async with raw_server(answer) as url, compatible(url, **more) as wire:
            try:
                return await wire.complete(asking())
            except ProviderError as error:
                return error

    return asyncio.run(main())


# Who can be asked.


def test_it_speaks_the_two_shapes() -> None:
    spoken = {entry.name for entry in HOSTED if speaks(entry.name)}
    assert spoken == {"anthropic", "openai", "openrouter"}
    assert speaks("hosted_vllm")


def test_others_are_litellms() -> None:
    with pytest.raises(NotSpokenError, match="openrouter: use --wire litellm for gemini"):
        Direct.of("gemini", "gemini-x")
    with pytest.raises(LookupError, match="did you mean anthropic"):
        Direct.of("antropic", "m")
    with pytest.raises(ValueError, match="name it with --base-url"):
        Direct.of("hosted_vllm", "m")
    for url in ("ftp://h", "http://xn--e.invalid/v1"):
        with pytest.raises(ValueError, match="A base URL looks like"):
            compatible(url)


@pytest.mark.parametrize("provider", ["openai", "anthropic", "openrouter"])
def test_without_a_key_nothing_is_sent(provider: str) -> None:
    error = asyncio.run(refused(Direct.of(provider, "m")))
    assert type(error) is AuthenticationFailed
    assert f"set {provider.upper()}_API_KEY" in str(error)
    assert not error.billed


def test_what_no_header_can_carry_is_said_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    error = asyncio.run(refused(compatible("http://127.0.0.1:1", api_key="hush-012\n3456789")))
    assert type(error) is AuthenticationFailed
    assert str(error).startswith("Authorization for openai (m) ")
    assert "hush" not in str(error)
    monkeypatch.setenv("OPENAI_ORG_ID", "é")
    error = asyncio.run(refused(Direct.of("openai", "m", api_key=KEY)))
    assert str(error).startswith("OpenAI-Organization for openai (m) ")


def test_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project")

    async def main() -> list[Ask | None]:
        async with LoopbackServer(keep_asks=True) as server:
            own = direct._SPOKEN["openai"][1:]
            monkeypatch.setitem(direct._SPOKEN, "openai", (server.url, *own))
            for provider, url in (("openai", None), ("openai", server.url), ("anthropic", server.root)):
                async with Direct.of(provider, "m", base_url=url, api_key=KEY) as wire:
                    await wire.complete(asking())
            return [line.ask for line in server.served]

    asks = asyncio.run(main())
    theirs, compatible, anthropic = ({**ask.headers} for ask in asks if ask is not None)
    assert theirs["Authorization"] == compatible["Authorization"] == f"Bearer {KEY}"
    assert (theirs["OpenAI-Organization"], theirs["OpenAI-Project"]) == ("org", "project")
    # Who pays at OpenAI is no other server's business.
    assert "OpenAI-Organization" not in compatible
    assert (anthropic["x-api-key"], anthropic["anthropic-version"]) == (KEY, "2023-06-01")
    assert all(headers["Content-Type"] == "application/json" for headers in (theirs, compatible, anthropic))


def test_efforts_are_told_where_to_go() -> None:
    wire = Direct.of("anthropic", "m", base_url="http://127.0.0.1:1", api_key=KEY)
    error = asyncio.run(refused(wire, asking(reasoning_effort="low")))
    # A rejected option would be dropped, for the other wire as well.
    assert type(error) is BadRequest
    assert "`thinking`" in str(error)
    assert "--wire litellm" in str(error)


def test_neither_litellm_nor_its_parts_are_imported() -> None:
    code = (
        "import asyncio, sys\n"
        "from providers import Message, Request\n"
        "from providers.direct.wire import Direct\n"
        "wire = Direct.of('openai', 'm', base_url=sys.argv[1])\n"
        "wire.identity\n"
        "assert 'aiohttp' not in sys.modules\n"
        "request = Request((Message('user', ('q',)),), {'max_tokens': 5})\n"
        "async def main():\n"
        "    async with wire:\n"
        "        print((await wire.complete(request)).text)\n"
        "asyncio.run(main())\n"
        "print([name for name in ('litellm', 'openai', 'httpx', 'pydantic') if name in sys.modules])"
    )

    async def main() -> bytes:
        async with LoopbackServer(lambda ask: "B") as server:
            program = (sys.executable, "-c", code, server.url)
            child = await asyncio.create_subprocess_exec(*program, stdout=subprocess.PIPE)
            return (await child.communicate())[0]

    assert asyncio.run(main()).decode().split("\n")[:2] == ["B", "[]"]


# One request is one POST.


@pytest.mark.parametrize("status", ["301 X", "302 X", "303 X", "307 X", "308 X"])
def test_a_redirect_is_not_followed(status: str) -> None:
    async def main() -> ProviderError:
        async with LoopbackServer() as other:
            elsewhere = replying(status, location=f"{other.url}/chat/completions?key={KEY}")
            async with raw_server(elsewhere) as url, compatible(url) as wire:
                error = await refused(wire)
            assert other.calls == 0
            return error

    error = asyncio.run(main())
    assert type(error) is Unusable
    assert (error.status, error.billed) == (int(status[:3]), True)
    assert "redirects to http://127.0.0.1" in str(error)
    assert KEY not in str(error)


def test_connections_are_used_again_and_closed() -> None:
    async def main() -> None:
        opened = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            opened.append(writer)
            reply = b"HTTP/1.1 200 X\r\ncontent-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                await reader.readexactly(length)
                writer.write(reply)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server, compatible(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as wire:
            for _ in range(3):
                await wire.complete(asking())
            assert len(opened) == 1
            await asyncio.gather(*(wire.complete(asking()) for _ in range(20)))
            assert 1 < len(opened) <= 20
            before = len(opened)
            await wire.aclose()
            await wire.aclose()
            # Closed is not for ever.
            assert (await wire.complete(asking())).text == "B"
            assert len(opened) == before + 1

    asyncio.run(main())


class Gathering:
    """A server that answers when `calls` of them wait on it, and keeps their connections."""

    def __init__(self, calls: int) -> None:
        self._together = asyncio.Barrier(calls)
        self.opened = self.open = 0
        self._deserted = asyncio.Event()

    async def deserted(self) -> None:
        async with asyncio.timeout(20):
            await self._deserted.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        self.open += 1
        reply = b"HTTP/1.1 200 X\r\ncontent-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                await reader.readexactly(length)
                await self._together.wait()
                writer.write(reply)
        writer.close()
        self.open -= 1
        if not self.open:
            self._deserted.set()


@asynccontextmanager
async def gathering(calls: int):
    """A wire with so many calls at once, and its server."""
    gathered = Gathering(calls)
    server = await asyncio.start_server(gathered.serve, "127.0.0.1", 0)
    try:
        async with compatible(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as wire:
            await asyncio.gather(*(wire.complete(asking()) for _ in range(calls)))
            yield wire, gathered
    finally:
        server.close()


def test_all_connections_are_used_again_and_closed() -> None:
    async def main() -> None:
        async with gathering(calls=10) as (wire, server):
            await asyncio.gather(*(wire.complete(asking()) for _ in range(10)))
            assert (server.opened, server.open) == (10, 10)
            await wire.aclose()
            await server.deserted()

    asyncio.run(main())


def test_closing_that_is_cancelled_leaves_nothing_open() -> None:
    async def main() -> None:
        async with gathering(calls=40) as (wire, server):
            closing = asyncio.create_task(wire.aclose())
            await asyncio.sleep(0)
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
            await server.deserted()

    asyncio.run(main())


def test_many_at_once() -> None:
    async def main() -> None:
        async with LoopbackServer(lambda ask: ask.question) as server, compatible(server.url) as wire:
            requests = [asking(f"q{n}", Picture()) for n in range(200)]
            answers = await asyncio.gather(*map(wire.complete, requests))
            assert [answer.text for answer in answers] == [f"q{n}" for n in range(200)]
            assert server.calls == 200

    asyncio.run(main())


def test_a_cancelled_call_is_cancelled() -> None:
    async def main() -> None:
        asked = asyncio.Event()

        def hang(ask: Ask, attempt: int) -> Fault:
            asked.set()
            return Fault("hang")

        async with LoopbackServer(faults=hang) as server, compatible(server.url) as wire:
            call = asyncio.create_task(wire.complete(asking()))
            await asked.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            server.faults = lambda ask, attempt: None
            assert (await wire.complete(asking("again"))).text == "A"
            assert server.calls == 2

    asyncio.run(main())


# What is sent.


def test_an_image_is_encoded_once_and_for_this_wire_only() -> None:
    picture = Picture(bytes(1000))

    async def main() -> None:
        async with LoopbackServer() as server, compatible(server.url) as wire:
            await wire.complete(asking(picture, "a"))
            made = picture.encoded.base64
            await wire.complete(asking(picture, "b"))
            assert picture.encoded.base64 is made

    asyncio.run(main())
    assert picture.encoded.base64 == base64.b64encode(bytes(1000))
    assert "data_url" not in vars(picture.encoded)


def test_what_an_image_raises_is_passed_on() -> None:
    class Broken(Picture):
        async def encode(self) -> EncodedImage:
            raise BadRequest("no picture")

    error = asyncio.run(refused(compatible("http://127.0.0.1:1"), asking(Broken())))
    assert str(error) == "no picture"


def test_a_body_is_let_go_while_its_answer_is_awaited() -> None:
    size, calls = 1_000_000, 20

    async def main() -> int:
        arrived = asyncio.Semaphore(0)

        async def wait(_: bytes, writer: asyncio.StreamWriter) -> None:
            arrived.release()
            await asyncio.Event().wait()

        async with raw_server(wait) as url, compatible(url) as wire:
            tracemalloc.start()
            tasks = [asyncio.create_task(wire.complete(asking(Picture(bytes(size))))) for _ in range(calls)]
            for _ in range(calls):
                await arrived.acquire()
            held, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return held

    # The requests, which are the test's own, hold the images and their base64; the bodies are gone.
    assert asyncio.run(main()) < calls * size * (1 + 4 / 3 + 0.3)


def test_a_body_is_let_go_when_its_attempt_has_failed() -> None:
    async def cut_off(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")

    async def main() -> list[type[ProviderError]]:
        async with raw_server(cut_off) as url:
            wires = compatible("http://127.0.0.1:1"), compatible(url)
            return [type(await refused(wire)) for wire in wires]

    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(main()) == [ConnectionFailed, ConnectionFailed]
        assert not [each for each in gc.get_objects() if type(each) is direct_pool._Sending]
    finally:
        gc.enable()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_body_that_has_left_makes_room_for_the_next(
    scheme: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(direct_pool, "_LEAVING", 1)
    calls, together = 3, asyncio.Event()
    arrived = 0

    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal arrived
        arrived += 1
        if arrived == calls:
            together.set()
        await together.wait()
        await replying("200 OK", ANSWER)(head, writer)

    async def main() -> list[str]:
        trust = certified(tmp_path, monkeypatch) if scheme == "https" else None
        async with raw_server(answer, trust) as url, compatible(url) as wire:
            asked = (wire.complete(asking(Picture(bytes(300_000)))) for _ in range(calls))
            return [each.text for each in await asyncio.gather(*asked)]

    assert asyncio.run(main()) == ["B"] * calls


class Unread:
    """A server that takes what comes from when it is told to; `heads` counts requests that have begun."""

    def __init__(self) -> None:
        self.heads = asyncio.Semaphore(0)
        self.takes = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.release()
        await self.takes.wait()
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]))
            await replying("200 OK", ANSWER)(head, writer)
        writer.close()


class Numbered(Picture):
    """A picture larger than what systems and TLS take of themselves, that says when it is encoded."""

    def __init__(self, number: int, encoded: list[int]) -> None:
        super().__init__(bytes(8_000_000))
        self._number, self._encoded = number, encoded

    async def encode(self) -> EncodedImage:
        self._encoded.append(self._number)
        return await super().encode()


@asynccontextmanager
async def unread(trust: ssl.SSLContext | None = None):
    """A wire to an `Unread`."""
    unread = Unread()
    server = await asyncio.start_server(unread.serve, "127.0.0.1", 0, ssl=trust)
    scheme = "https" if trust else "http"
    url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        async with compatible(url, timeout=100) as wire:
            yield wire, unread
    finally:
        unread.takes.set()  # else who has failed waits for it for ever
        server.close()


async def rounds(of_the_loop: int = 100) -> None:
    """Let whatever can go on go on."""
    for _ in range(of_the_loop):
        await asyncio.sleep(0)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_bodies_are_put_together_as_there_is_room_for_them(
    scheme: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(direct_pool, "_LEAVING", 2)
    encoded: list[int] = []

    async def main() -> None:
        trust = certified(tmp_path, monkeypatch) if scheme == "https" else None
        async with unread(trust) as (wire, server):
            # Twice, since a place that is given back two times makes room for one too many.
            for first in (0, 5):
                server.takes.clear()
                async with asyncio.TaskGroup() as group:
                    for number in range(first, first + 5):
                        group.create_task(wire.complete(asking(Numbered(number, encoded))))
                    await server.heads.acquire()
                    await server.heads.acquire()
                    await rounds()
                    assert encoded[first:] == [first, first + 1]
                    server.takes.set()
                for _ in range(3):
                    await server.heads.acquire()
            assert encoded == list(range(10))

    asyncio.run(main())


def test_a_small_body_has_left_when_the_system_has_all_of_it() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            loop, left = asyncio.get_running_loop(), 60_000
            _, protocol = await loop.create_connection(lambda: BaseProtocol(loop), sock=ours)
            room = asyncio.Semaphore(0)
            place = contextlib.ExitStack()
            place.callback(room.release)
            sending = direct_pool._Sending(bytes(left), place)
            writing = asyncio.create_task(sending.write(StreamWriter(protocol, loop)))
            await rounds()
            assert room.locked()
            theirs.setblocking(False)
            while left:
                left -= len(await loop.sock_recv(theirs, left))
            await writing
            assert not room.locked()
            assert protocol.transport is not None
            protocol.transport.close()

    asyncio.run(main())


@pytest.mark.timeout(30)
def test_a_server_that_takes_nothing_holds_up_no_other_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_pool, "_LEAVING", 1)
    monkeypatch.setattr(direct_pool, "_PATIENCE", 0)
    encoded: list[int] = []

    async def main() -> None:
        async with unread() as (wire, server), asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(wire.complete(asking(Numbered(number, encoded))))
            for _ in range(3):
                await server.heads.acquire()
            server.takes.set()

    asyncio.run(main())
    assert encoded == [0, 1, 2]


@pytest.mark.timeout(30)
def test_a_closed_wire_has_room_in_another_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_pool, "_LEAVING", 1)
    wires: list[Direct] = []

    async def main(port: int) -> list[str]:
        async with raw_server(replying("200 OK", ANSWER), port=port) as url:
            wires.append(wires[0] if wires else compatible(url))
            ports.append(URL(url).port or 0)
            asked = (wires[0].complete(asking(Picture(bytes(300_000)))) for _ in range(3))
            texts = [each.text for each in await asyncio.gather(*asked)]
            await wires[0].aclose()
            return texts

    ports: list[int] = [0]
    assert asyncio.run(main(0)) == asyncio.run(main(ports[-1])) == ["B"] * 3


@pytest.mark.timeout(30)
def test_calls_that_fail_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_pool, "_LEAVING", 1)
    monkeypatch.setattr(direct_pool, "_PATIENCE", 1000)

    class Broken(Picture):
        async def encode(self) -> EncodedImage:
            raise FileNotFoundError

    async def main() -> str:
        never = asyncio.Event()
        good = replying("200 OK", ANSWER)
        async with raw_server(good) as url, compatible(url) as wire, compatible("http://127.0.0.1:1") as gone:
            for _ in range(2):
                with pytest.raises(FileNotFoundError):
                    await wire.complete(asking(Broken()))
                with pytest.raises(ConnectionFailed):
                    await gone.complete(asking())
                stuck = asyncio.create_task(wire.complete(asking(Waiting(never))))
                await rounds()
                stuck.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await stuck
            return (await wire.complete(asking())).text

    assert asyncio.run(main()) == "B"


class Waiting(Picture):
    """A picture that is drawn for as long as it takes."""

    def __init__(self, drawn: asyncio.Event) -> None:
        super().__init__()
        self._drawn = drawn

    async def encode(self) -> EncodedImage:
        await self._drawn.wait()
        return await super().encode()


def certified(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """What a server on this machine shows, and the client trusts."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "trusted.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "trusted.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def test_errors_that_the_caller_is_dealing_with_keep_where_they_came_from() -> None:
    outer, failed = raised(), raised()
    failed.__context__ = outer
    direct_pool._let_go(failed, outer)
    assert failed.__traceback__ is None
    assert outer.__traceback__ is not None


def test_a_ring_of_errors_is_let_go() -> None:
    first, second = raised(), raised()
    first.__cause__, second.__context__ = second, first
    direct_pool._let_go(first, None)
    assert first.__traceback__ is second.__traceback__ is None


def raised() -> OSError:
    try:
        raise OSError
    except OSError as error:
        return error


TEXTS = st.text(st.characters(exclude_categories=()), max_size=20)


@given(st.lists(TEXTS, min_size=1, max_size=3), st.dictionaries(TEXTS, TEXTS, max_size=2))
def test_any_text_is_json(parts: list[str], more: dict[str, str]) -> None:
    # Half of a surrogate pair too, which UTF-8 cannot say.
    request = asking(*parts, Picture(), **{f"x{name}": value for name, value in more.items()})
    for shape in (ChatCompletions("any"), Messages()):
        body = json.loads(asyncio.run(shape.body("m", request)))
        content = body["messages"][0]["content"]
        assert [part["text"] for part in content if part["type"] == "text"] == parts
        assert {name: body[f"x{name}"] for name in more} == more


# What comes back.

FIELDS = (
    "choices", "message", "content", "usage", "prompt_tokens", "completion_tokens", "type", "text", "model",
    "input_tokens", "output_tokens", "iterations", "stop_reason", "cost", "is_byok", "refusal",
    "prompt_tokens_details", "cost_details", "finish_reason", "error",
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6),
)


@given(JSON, JSON, JSON, JSON)
def test_any_body_is_an_answer_or_an_error(first: Any, second: Any, third: Any, fourth: Any) -> None:
    bodies = [
        {"choices": [first, second], "usage": third},
        {
            "choices": [{"message": {"content": "B"} | _mapping(first), "finish_reason": second}],
            "usage": third,
        },
        {"content": [first, {"type": "text", "text": "B"}], "usage": _mapping(third), "stop_reason": second},
        {"content": first, "usage": {"iterations": second}, "stop_reason": third, "model": fourth},
        _mapping(first),
    ]
    for body in bodies:
        for shape in (ChatCompletions("any"), Messages()):
            with contextlib.suppress(MalformedResponse):
                answer = shape.read(body, Asked("who", "m"))
                assert answer.text.strip() or answer.finish != "stop"


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def test_a_packed_answer_is_unpacked() -> None:
    found = outcome(replying("200 OK", gzip.compress(ANSWER), content_encoding="gzip"))
    assert isinstance(found, Response)
    assert found.text == "B"


def test_an_answer_is_unpacked_only_as_far_as_it_can_go() -> None:
    bomb = gzip.compress(b" " * (LONGEST + 1_000_000), 1)
    found = outcome(replying("200 OK", bomb, content_encoding="gzip"))
    assert type(found) is MalformedResponse
    assert str(found) == "openai (m) sent more than 16 MB"
    assert found.billed


def test_an_answer_without_end_is_cut_off() -> None:
    async def go_on(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n")
        while True:
            writer.write(bytes(1_000_000))
            await writer.drain()

    assert type(outcome(go_on)) is MalformedResponse


def test_an_error_that_never_ends_is_still_an_error() -> None:
    endless = gzip.compress(b'{"error": {"message": "' + b" " * (LONGEST_ERROR * 100), 1)
    found = outcome(replying("429 X", endless, content_encoding="gzip", retry_after="3"))
    assert type(found) is RateLimited
    # Torn where it is cut off: nobody knows what else it holds.
    assert (found.billed, found.retry_after) == (True, 3)


@pytest.mark.parametrize(
    "answer",
    [
        b"hello\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 1\r\n\r\nx",
    ],
    ids=["words", "chunks", "header", "packed"],
)
def test_what_is_no_http_may_have_been_billed(answer: bytes) -> None:
    async def reply(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    found = outcome(reply)
    assert type(found) is ServerFault
    assert found.billed
    assert "\n" not in str(found)


# What goes wrong before anything is sent is not billed.


def test_nobody_there_is_not_billed() -> None:
    for url in ("http://127.0.0.1:1/v1", "http://no-such-host.invalid/v1"):
        error = asyncio.run(refused(compatible(url)))
        assert type(error) is ConnectionFailed
        assert not error.billed
        assert "cannot be reached" in str(error)


def test_a_deadline_that_passes_before_anything_was_sent_is_not_billed() -> None:
    async def main() -> None:
        async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        # It waits for ever for the other side of the handshake.
        async with server, compatible(f"https://127.0.0.1:{port}", timeout=0.2) as wire:
            early = await refused(wire)
            assert (type(early), early.billed) == (AttemptTimedOut, False)
        async with LoopbackServer(faults=lambda ask, attempt: Fault("hang")) as loopback:
            for timeout in (0.2, 2, 8):
                async with compatible(loopback.url, timeout=timeout) as wire:
                    late = await refused(wire)
                if loopback.calls:  # a busy machine may not get there in time
                    break
            assert (type(late), late.billed) == (AttemptTimedOut, True)
        assert str(late) == f"openai (m) did not answer within {timeout} s."

    asyncio.run(main())


def test_certificates_that_are_none_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "no-such-file.pem")
    error = asyncio.run(refused(compatible("https://127.0.0.1:1")))
    assert type(error) is Unusable
    assert "SSL_CERT_FILE is no-such-file.pem" in str(error)


@pytest.mark.parametrize("fault", [Fault("authentication", message=f"bad key {KEY}"), Fault("cut_off"), None])
def test_nothing_that_hangs_on_an_error_holds_the_key(fault: Fault | None) -> None:
    async def main() -> ProviderError:
        server = LoopbackServer(faults=lambda ask, attempt: fault)
        async with server:
            url = server.url if fault else "http://127.0.0.1:1"
            async with compatible(url) as wire:
                return await refused(wire)

    error = asyncio.run(main())
    assert KEY not in str(error)
    assert error.__cause__ is None
    assert error.__context__ is None


# Proxies.


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({}, "https://h/v1", None),
        ({"https_proxy": "http://p:1"}, "https://h/v1", "http://p:1"),
        ({"https_proxy": "p:1"}, "https://h/v1", "http://p:1"),
        ({"http_proxy": "http://p:1"}, "https://h/v1", None),
        ({"all_proxy": "http://p:1"}, "https://h/v1", "http://p:1"),
        ({"https_proxy": "http://p:1", "no_proxy": "h"}, "https://h/v1", None),
        ({"https_proxy": "http://p:1", "no_proxy": "*"}, "https://h/v1", None),
        # A server on this machine is never asked through one.
        ({"all_proxy": "http://p:1"}, "http://localhost:8000/v1", None),
        ({"all_proxy": "http://p:1"}, "http://127.8.9.1:8000/v1", None),
        ({"all_proxy": "http://p:1"}, "http://[::1]:8000/v1", None),
    ],
)
def test_proxies(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str, proxy: str | None
) -> None:
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(URL(url)) == proxy


def test_a_call_goes_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    heads = []

    async def reply(head: bytes, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        await replying("200 OK", ANSWER)(head, writer)

    async def main() -> str:
        async with raw_server(reply) as url:
            monkeypatch.setenv("http_proxy", url.removesuffix("/v1"))
            async with compatible("http://far.invalid/v1") as wire:
                return (await wire.complete(asking())).text

    assert asyncio.run(main()) == "B"
    assert heads[0].startswith(b"POST http://far.invalid/v1/chat/completions HTTP/1.1\r\n")
    # The key is for the server behind it; the proxy has none of its own here.
    assert heads[0].count(KEY.encode()) == 1
    assert b"proxy-authorization" not in heads[0].lower()
