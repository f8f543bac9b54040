"""A model server on this machine that speaks OpenAI's chat completions over real HTTP.

It listens on 127.0.0.1 and a free port, answers by a policy, and ends with its block. It has no model,
checks no key and streams nothing.

    async with LoopbackServer(policy=lambda ask: "A") as server:
        ... server.url ...                      # the base URL
        assert server.calls == 1
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from providers.types import Json

MAX_BODY = 256 * 1024 * 1024
ROUGH_IMAGE_TOKENS = 16


@dataclass(frozen=True)
class Ask:
    """One question as it arrived. `text` is all its text, `question` the last message's."""

    text: str
    question: str
    body: Mapping[str, Json]
    encoded: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @cached_property
    def images(self) -> tuple[tuple[str, bytes], ...]:
        """Media type and bytes of each image; decoded only when somebody looks."""
        return tuple((media_type, base64.b64decode(data)) for media_type, data in self.encoded)


class LoopbackServer:
    """The server, in the running loop, for as long as its `async with` block; `policy` gives the answers."""

    def __init__(self, policy: Callable[[Ask], str] = lambda ask: "A") -> None:
        self.policy = policy
        self.calls = 0
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def root(self) -> str:
        """The server without a path."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The base URL of an OpenAI client."""
        return f"{self.root}/v1"

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=MAX_BODY)
        application.router.add_post("/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            application, access_log=None, handler_cancellation=True, shutdown_timeout=0.05
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.calls += 1
        if not request.path.endswith("/chat/completions"):
            return web.json_response({"error": {"message": f"no model at {request.path}"}}, status=404)
        ask = _ask(json.loads(await request.read()))
        text = self.policy(ask)
        prompt_tokens = len(ask.text) // 4 + ROUGH_IMAGE_TOKENS * len(ask.encoded) + 1
        completion_tokens = len(text.split())
        return web.json_response(
            {
                "id": f"chatcmpl-{self.calls}",
                "object": "chat.completion",
                "created": 1_700_000_000,
                "model": ask.body.get("model", ""),
                "choices": [
                    {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
                ],
                "usage": {
                    "prompt_tokens": prompt_tokens,
                    "completion_tokens": completion_tokens,
                    "total_tokens": prompt_tokens + completion_tokens,
                },
            }
        )


def _ask(body: dict[str, Any]) -> Ask:
    messages = [list(_parts(message.get("content"))) for message in body.get("messages", ())]
    texts = [[part for part in parts if isinstance(part, str)] for parts in messages]
    return Ask(
        text="\n".join(text for parts in texts for text in parts),
        question="\n".join(texts[-1]) if texts else "",
        body=body,
        encoded=tuple(part for parts in messages for part in parts if not isinstance(part, str)),
    )


def _parts(content: Any) -> Iterator[str | tuple[str, str]]:
    """The texts of a message, and the media type and base64 data of its images."""
    if isinstance(content, str):
        yield content
        return
    for part in content or ():
        if part["type"] == "text":
            yield part["text"]
        elif part["type"] == "image_url":
            head, _, data = part["image_url"]["url"].partition(",")
            yield head.removeprefix("data:").removesuffix(";base64"), data
