"""What a server sent, seen before LiteLLM reads it: every body of every route passes here.

LiteLLM fails on counts that are no numbers and on text in parts, and calls an error inside of a
success a bad request. So: a body is cut off where none can be that long, and `bodies` looks at it
first. A sound body goes on byte for byte. A redirect, which LiteLLM would follow with a second request
and the key, is an error.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from providers.bodies import LONGEST, LONGEST_ERROR, parse, too_long
from providers.refusals import redirect

type Send = Callable[[Any, Any], Awaitable[Any]]


def reading(send: Send) -> Send:
    """LiteLLM's way to send a request, which now also reads the answer, here."""
    import httpx

    async def handle(transport: Any, request: Any) -> Any:
        response = await send(transport, request)
        away = redirect(response.status_code, response.headers)
        if away is not None:
            await response.aclose()
            raise away
        content = await _read(response)
        if response.is_success:
            content = mended(content, response.headers)
        # One of each name, the last one: httpx would join two of them, and nobody could read that.
        named = {name.lower(): value for name, value in response.headers.raw}
        headers = {name: value for name, value in named.items() if name not in _UNPACKED}
        return httpx.Response(response.status_code, headers=headers, content=content, request=request)

    return handle


_UNPACKED = (b"content-encoding", b"content-length", b"transfer-encoding")


async def _read(response: Any) -> bytes:
    content = bytearray()
    limit = LONGEST if response.is_success else LONGEST_ERROR
    async for part in response.aiter_bytes():
        content += part
        if len(content) > limit:
            await response.aclose()
            if response.is_success:
                raise too_long()
            break
    return bytes(content[:limit])


def mended(content: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """The body of a success without what spoils it. Raises `BodyError` for an error in it."""
    body, changed = parse(content, headers)
    return json.dumps(body).encode() if changed else content
