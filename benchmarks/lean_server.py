"""A model server that costs nearly nothing: it counts the bytes of a request and sends one answer.

For measuring clients: in a process of its own it never is the bottleneck, which the loopback
server, a whole web framework, would be. It takes OpenAI's shape and looks at nothing in it.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

WORDS = "The picture shows a boat that is half hidden behind a pier; I would have to see more of it. " * 3
ANSWER: dict[str, Any] = {
    "id": "chatcmpl-benchmark",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "glance",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 424,
        "completion_tokens": 63,
        "total_tokens": 487,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    },
    "service_tier": "default",
    "system_fingerprint": "fp_benchmark",
}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"


class Serving(asyncio.Protocol):
    """One connection; requests come one after the other, each with its length."""

    latency = 0.0
    response = b""

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._left == 0:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            self._left = _length(self._head[:end]) - (len(self._head) - end - 4)
            self._head.clear()
        else:
            self._left -= len(data)
        if self._left == 0:
            self._answer()

    def _answer(self) -> None:
        if self.latency:
            asyncio.get_running_loop().call_later(self.latency, self._transport.write, self.response)
        else:
            self._transport.write(self.response)


def response(words: str) -> bytes:
    """What is sent back to every request."""
    (choice,) = ANSWER["choices"]
    said = {**choice, "message": {**choice["message"], "content": words}}
    body = json.dumps({**ANSWER, "choices": [said]}).encode()
    return HEAD % (len(body), body)


def _length(head: bytearray) -> int:
    return int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])


@contextmanager
def serving(latency: float = 0.0, words: str = WORDS) -> Iterator[str]:
    """The base URL of a server in a process of its own, for as long as the block; latency is in seconds."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, latency, words), daemon=True)
    process.start()
    theirs.close()  # a server that cannot start must not be waited for
    try:
        yield f"http://127.0.0.1:{ours.recv()}/v1"
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Connection, latency: float, words: str) -> None:
    Serving.latency, Serving.response = latency, response(words)
    asyncio.run(_forever(pipe))


async def _forever(pipe: Connection) -> None:
    server = await asyncio.get_running_loop().create_server(Serving, "127.0.0.1", 0, backlog=8192)
    pipe.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()
