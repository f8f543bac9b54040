"""The loopback server for tests: in the shapes of three vendors, with faults and a ledger.

It answers by a policy, fails by a plan, and keeps a ledger of what it served and would have billed.

    async with LoopbackServer(policy=lambda ask: "A") as server:
        ... server.url ...                      # OpenAI's base URL; server.root is Anthropic's and Google's
        assert server.calls == 1
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import struct
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal

from aiohttp import web
from loopback_shapes import Answer, Ask, Ending, ErrorKind, read_ask, write_answer, write_error

from providers.loopback import server
from providers.loopback.server import ROUGH_IMAGE_TOKENS
from providers.usage import Usage

__all__ = [
    "Ask",
    "ErrorKind",
    "Fault",
    "FaultKind",
    "LoopbackServer",
    "LoopbackThread",
    "OddKind",
    "Served",
    "full_usage",
    "read_ask",
    "rough_usage",
]

BrokenKind = Literal[
    "reset", "disconnect", "cut_off", "drip", "hang", "html", "empty_body", "torn_json", "body", "redirect"
]
OddKind = Literal["content_filter", "refusal", "length", "empty_text", "under_status"]
FaultKind = ErrorKind | BrokenKind | OddKind

_ODD_ENDINGS: dict[str, Ending] = {
    "content_filter": "content_filter",
    "refusal": "refusal",
    "length": "length",
    "empty_text": "stop",
    "under_status": "stop",
}
_HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    `headers` are sent with it (`{"retry-after": "2"}`); `message` and `parameter` reword an
    error's body; `retry_delay` is what Google writes there; `text` is what a refusal or a cut
    answer still says, or the whole body of the fault `body`. A `redirect` leads to where it came
    from, unless a `location` is among the headers. `status` is that of a `body`, and of a whole answer
    sent `under_status`; `billed` is whether a status of 300 and up is billed, as all others are.
    """

    kind: FaultKind
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str | None = None
    parameter: str | None = None
    retry_delay: str | None = None
    text: str = ""
    status: int = 200
    billed: bool = False


@dataclass(frozen=True, slots=True)
class Served:
    """One line of the ledger. `key` is the SHA-256 of the request's body."""

    key: str
    attempt: int
    model: str
    status: int
    fault: FaultKind | None
    usage: Usage
    cost: float
    ask: Ask | None = None


def rough_usage(ask: Ask, text: str) -> Usage:
    """A token for four characters of text or a word of the answer, and a few for each image."""
    words = len(text.split())
    limit = ask.max_tokens
    return Usage(
        input_tokens=len(ask.text) // 4 + ROUGH_IMAGE_TOKENS * len(ask.encoded) + 1,
        output_tokens=words if limit is None else min(words, limit),
    )


def full_usage(ask: Ask, text: str) -> Usage:
    """The worst bill: every output token that was allowed."""
    rough = rough_usage(ask, text)
    return Usage(input_tokens=rough.input_tokens, output_tokens=ask.max_tokens or rough.output_tokens)


class LoopbackServer(server.LoopbackServer):
    """The server, in the running loop, for as long as its `async with` block.

    `policy` says what is answered. `faults(ask, attempt)` may name what goes wrong instead,
    where `attempt` counts from 1 how often these very bytes were asked. `usage(ask, text)`
    and `cost(ask, usage)` make the bill; the cost is told to the client with `tells_cost`.
    `latency` is in seconds. Redirects and errors (status 300 and up) bill nothing; every other fault does.

    Memory: a short record for each call, `records` of them at most when given; the
    questions themselves are kept only with `keep_asks`.
    """

    def __init__(
        self,
        policy: Callable[[Ask], str] = lambda ask: "A",
        *,
        faults: Callable[[Ask, int], Fault | None] = lambda ask, attempt: None,
        usage: Callable[[Ask, str], Usage] = rough_usage,
        cost: Callable[[Ask, Usage], float] = lambda ask, usage: 0.0,
        tells_cost: bool = False,
        latency: Callable[[], float] | float = 0.0,
        headers: Mapping[str, str] | None = None,
        drip_seconds: float = 0.5,
        keep_asks: bool = False,
        records: int | None = None,
    ) -> None:
        super().__init__(policy)
        self.faults = faults
        self.usage = usage
        self.cost = cost
        self.latency = latency
        self.served: deque[Served] = deque(maxlen=records)
        self.in_flight = 0
        self.peak_in_flight = 0
        self.total_cost = 0.0
        self._tells_cost = tells_cost
        self._headers = dict(headers or {})
        self._drip_seconds = drip_seconds
        self._keep_asks = keep_asks
        self._attempts: Counter[bytes] = Counter()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.calls += 1
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        try:
            return await self._serve(request)
        finally:
            self.in_flight -= 1

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        ask = read_ask(request.path, json.loads(raw), request.headers)
        if ask is None:
            return web.json_response({"error": {"message": f"no model at {request.path}"}}, status=404)
        key = hashlib.sha256(raw).digest()
        self._attempts[key] += 1
        attempt = self._attempts[key]
        seconds = self.latency() if callable(self.latency) else self.latency
        if seconds:
            await asyncio.sleep(seconds)
        fault = self.faults(ask, attempt)
        if fault is not None and fault.kind not in _ODD_ENDINGS:
            return await self._fail(request, ask, fault, key.hex(), attempt)
        return self._answer(ask, fault, key.hex(), attempt)

    def _answer(self, ask: Ask, fault: Fault | None, key: str, attempt: int) -> web.Response:
        text = self.policy(ask) if fault is None else fault.text
        usage = self.usage(ask, text)
        status = 200 if fault is None else fault.status
        cost = self._record(ask, fault, key, attempt, status, usage)
        ending = "stop" if fault is None else _ODD_ENDINGS[fault.kind]
        answer = Answer(text, usage, ending, cost if self._tells_cost else None)
        body = json.dumps(write_answer(ask, answer, self.calls)).encode()
        headers = self._headers if fault is None else {**self._headers, **fault.headers}
        return web.Response(status=status, body=body, content_type="application/json", headers=headers)

    async def _fail(
        self, request: web.Request, ask: Ask, fault: Fault, key: str, attempt: int
    ) -> web.StreamResponse:
        status, body, media_type = _broken(ask, fault)
        billed = status < 300 or fault.billed
        usage = self.usage(ask, self.policy(ask)) if billed else Usage(0, 0)
        self._record(ask, fault, key, attempt, status, usage, billed)
        match fault.kind:
            case "reset" | "disconnect":
                _break(request, reset=fault.kind == "reset")
            case "hang":
                await asyncio.Event().wait()
            case "drip":
                return await self._drip(request, body)
            case "cut_off":
                return await _cut_off(request, body)
        place = {"location": str(request.url)} if fault.kind == "redirect" else {}
        headers = {**self._headers, **place, **fault.headers}
        return web.Response(status=status, body=body, content_type=media_type, headers=headers)

    async def _drip(self, request: web.Request, body: bytes) -> web.StreamResponse:
        """A byte now and then, so that no read of the client ever waits for long."""
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        for byte in body:
            await response.write(bytes([byte]))
            await asyncio.sleep(self._drip_seconds)
        return response

    def _record(
        self,
        ask: Ask,
        fault: Fault | None,
        key: str,
        attempt: int,
        status: int,
        usage: Usage,
        billed: bool = True,
    ) -> float:
        cost = self.cost(ask, usage) if billed else 0.0
        self.total_cost += cost
        kind = None if fault is None else fault.kind
        kept = ask if self._keep_asks else None
        self.served.append(Served(key, attempt, ask.model, status, kind, usage, cost, kept))
        return cost


class LoopbackThread:
    """A server in a loop and a thread of its own, for clients that are other processes or not async."""

    def __init__(self, server: LoopbackServer) -> None:
        self.server = server
        self._started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=self._run, name="loopback", daemon=True)

    def __enter__(self) -> LoopbackServer:
        self._thread.start()
        self._started.result()
        return self.server

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        loop, stop = self._started.result()
        loop.call_soon_threadsafe(stop.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    async def _serve(self) -> None:
        stop = asyncio.Event()
        async with self.server:
            self._started.set_result((asyncio.get_running_loop(), stop))
            await stop.wait()


def _broken(ask: Ask, fault: Fault) -> tuple[int, bytes, str]:
    """Status, body and media type of a fault that is no answer."""
    match fault.kind:
        case "html":
            return 200, _HTML, "text/html"
        case "torn_json":
            return 200, b'{"id": "torn", "choices": [{"mess', "application/json"
        case "redirect":
            return 307, b"", "text/plain"
        case "body":
            return fault.status, fault.text.encode(), "application/json"
        case "drip" | "hang" | "reset" | "disconnect" | "cut_off":
            return 200, b" " * 1000, "application/json"
        case "empty_body":
            return 200, b"", "application/json"
        case "content_filter" | "refusal" | "length" | "empty_text" | "under_status":
            raise ValueError(f"{fault.kind} is an answer")
        case kind:
            status, body = write_error(
                ask.shape,
                kind,
                message=fault.message,
                parameter=fault.parameter,
                retry_delay=fault.retry_delay,
            )
            return status, json.dumps(body).encode(), "application/json"


def _break(request: web.Request, *, reset: bool) -> None:
    """Break the connection off, as a crashed process (reset) or a patient one (end of stream) does."""
    if request.transport is None:
        return
    connection = request.transport.get_extra_info("socket")
    if reset and connection is not None:
        # Without lingering the kernel answers with RST instead of FIN.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.transport.abort()


async def _cut_off(request: web.Request, body: bytes) -> web.StreamResponse:
    """Promise a body, send half of it and go."""
    response = web.StreamResponse(headers={"content-length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    _break(request, reset=False)
    return response
