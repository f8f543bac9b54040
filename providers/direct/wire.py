"""Ask a model behind an API without LiteLLM: one request, one attempt on the wire.

For the two shapes that matter, at a small part of LiteLLM's processor time. What is sent, what
comes back and what goes wrong are the same as through `Hosted`: a conformance suite holds the two
against each other.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from providers.catalog.target import Asked, Target, sendable
from providers.direct.anthropic import Messages
from providers.direct.openai import ChatCompletions
from providers.errors import AuthenticationFailed, ProviderError
from providers.replies.bodies import LONGEST, LONGEST_ERROR, BodyError, parse, too_long
from providers.replies.rate_limits import rate_limits
from providers.replies.refusals import no_answer, redirect, redirected, refused
from providers.replies.usage import usage_in
from providers.types import Request, Response
from providers.wire import Wire

if TYPE_CHECKING:
    from providers.direct.pool import Arrived, Pool


class NotSpokenError(LookupError):
    """A provider that only LiteLLM reaches; the message says what to do."""


type Shape = ChatCompletions | Messages

_OPENROUTER = ChatCompletions("openrouter")
# Who is asked at which own endpoint, in which shape there, and in which at a base URL.
_SPOKEN: Mapping[str, tuple[str | None, Shape, Shape]] = {
    "anthropic": ("https://api.anthropic.com", Messages(), Messages()),
    "hosted_vllm": (None, ChatCompletions("any"), ChatCompletions("any")),
    "openai": ("https://api.openai.com/v1", ChatCompletions("openai"), ChatCompletions("any")),
    "openrouter": ("https://openrouter.ai/api/v1", _OPENROUTER, _OPENROUTER),
}


def speaks(provider: str) -> bool:
    """Whether `Direct` reaches this provider."""
    return provider in _SPOKEN


class Direct(Wire):
    """One model of one provider; the first call imports aiohttp. The deadline begins when the body is there.

    Raises `NotSpokenError` for a provider that it does not reach.
    """

    def __init__(self, target: Target, timeout: float = 600.0) -> None:
        super().__init__(target, timeout)
        self._pool: Pool | None = None
        if target.provider not in _SPOKEN:
            known = ", ".join(sorted(_SPOKEN))
            raise NotSpokenError(f"--wire direct reaches {known}: use --wire litellm for {target.provider}.")
        own, there, elsewhere = _SPOKEN[target.provider]
        self._shape = elsewhere if target.endpoint else there
        if not (target.endpoint or own):
            raise ValueError(f"{target.provider} is a server of your own: name it with --base-url.")
        self._endpoint = target.endpoint or own or ""

    async def _complete(self, request: Request, asked: Asked) -> Response:
        pool = self._pool or await self._open(asked)
        body = partial(self._shape.body, self.model, request)
        arrived = await pool.post(body, asked, self.timeout)
        if isinstance(arrived, ProviderError):
            raise arrived
        answer = self._read(arrived, asked)
        if isinstance(answer, ProviderError):
            raise answer
        return answer

    async def aclose(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            await self._pool.close()

    async def _open(self, asked: Asked) -> Pool:
        key = self._target.key
        if not key:
            wanted = " or ".join(self._target.entry.key_variables)
            raise AuthenticationFailed(f"{asked.who} needs a key: set {wanted}.")
        headers = self._shape.headers(key, os.environ)
        for name, value in headers.items():
            if not sendable(value):
                raise AuthenticationFailed(f"{name} for {asked.who} would hold characters that no key has.")
        async with self._loading:
            if self._pool is None:
                # In a thread, so that the loop goes on meanwhile: others may have hits.
                self._pool = await asyncio.to_thread(_pool, self._shape.url(self._endpoint), headers)
            return self._pool

    def _read(self, arrived: Arrived, asked: Asked) -> Response | ProviderError:
        if not arrived.good:
            return _refused(arrived, asked)
        body: dict[str, Any] = {}
        try:
            if len(arrived.content) > LONGEST:
                raise too_long()
            parsed = parse(arrived.content, arrived.headers)
            body = parsed if isinstance(parsed, dict) else {}
            answer = self._shape.read(body, asked)
            return answer._replace(limits=rate_limits(arrived.headers))
        except BodyError as error:
            return no_answer(error, asked, time.time())
        except ProviderError as error:
            error.usage = usage_in(body)
            return error.with_traceback(None)


def _pool(url: str, headers: Mapping[str, str]) -> Pool:
    from providers.direct.pool import Pool

    return Pool(url, headers)


def _refused(arrived: Arrived, asked: Asked) -> ProviderError:
    away = redirect(arrived.status, arrived.headers)
    if away is not None:
        return redirected(away, asked)
    text = arrived.content[:LONGEST_ERROR].decode(errors="replace")
    return refused(arrived.status, arrived.headers, text, asked, time.time())
