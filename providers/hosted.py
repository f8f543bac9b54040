"""A model behind an API: one request, one attempt on the wire, through LiteLLM.

With a `base_url` and the provider `openai` it is any OpenAI-compatible server. Retries,
limits, money and the cache are wrapped around it elsewhere; streaming is not used.

The key comes from the caller, else from the provider's environment variable, as with the
OpenAI SDK: a key that the user has set for `openai` is sent to her `base_url` too. Without any
key a server at a `base_url` is sent the word `none`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from typing import Any, Self

from providers import catalog
from providers.errors import AttemptTimedOut, ProviderError
from providers.litellm_answers import read_answer
from providers.litellm_errors import Asked, translate
from providers.litellm_options import arguments
from providers.litellm_quiet import Clients, load, own_settings, reach, unlogged
from providers.types import Json, Message, Request, Response

_clients = Clients()


class Hosted:
    """One model of one provider. Making it is cheap; the first call, or `load`, imports LiteLLM.

    `timeout` is the wall-clock deadline of a call in seconds. Close it with `aclose`, or use it
    as an async context manager, in the loop in which it was used.
    """

    def __init__(
        self,
        provider: str,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 600.0,
    ) -> None:
        self.provider = provider
        self.timeout = timeout
        self._entry = catalog.lookup(provider)
        self._endpoint = catalog.endpoint(provider, base_url, os.environ)
        self.model = _bare(provider, model, self._endpoint)
        self._key = api_key or self._entry.key(os.environ) or ("none" if self._endpoint else None)
        # LiteLLM routes by provider; its route for vLLM takes any OpenAI-compatible server, and is lighter.
        self._route = "hosted_vllm" if provider == "openai" and self._endpoint else provider
        self._litellm: Any = None
        self._entered = False
        self._loading = asyncio.Lock()

    @property
    def identity(self) -> Mapping[str, Json]:
        """What a cache key says of it: who answers, and where."""
        return {"provider": self.provider, "endpoint": self._endpoint, "model": self.model}

    def load(self) -> None:
        """Import LiteLLM now (seconds), so that the first call does not."""
        self._litellm = load()
        if self._endpoint:
            reach(self._endpoint)

    async def complete(self, request: Request) -> Response:
        """One answer, or a `ProviderError`; at most one attempt on the wire, ended by the deadline."""
        await self._enter()
        asked = Asked(self.provider, self.model, tuple(request.params), self._secrets())
        outcome = await self._attempt(await self._arguments(request), asked)
        if isinstance(outcome, ProviderError):
            # Raised outside of any `except`: LiteLLM's error would keep the request's bytes and the
            # key alive as its context.
            raise outcome
        return outcome

    async def aclose(self) -> None:
        """Close the connections, unless another user of the loop still needs them."""
        if self._entered:
            self._entered = False
            await _clients.leave()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def _enter(self) -> None:
        async with self._loading:
            if self._litellm is None:
                # In a thread, so that the loop goes on meanwhile: others may have hits.
                await asyncio.to_thread(self.load)
        if not self._entered:
            self._entered = True
            _clients.enter()
        unlogged()

    async def _arguments(self, request: Request) -> dict[str, Any]:
        return {
            "model": f"{self._route}/{self.model}",
            "messages": [await _message(message) for message in request.messages],
            "api_base": self._endpoint,
            "api_key": self._key,
            "timeout": self.timeout,
            "num_retries": 0,
            "max_retries": 0,
            **arguments(self._route, request.params, own_settings()),
        }

    async def _attempt(self, arguments: dict[str, Any], asked: Asked) -> Response | ProviderError:
        # LiteLLM's own timeout starts anew with every byte that arrives.
        deadline = asyncio.timeout(self.timeout)
        try:
            async with deadline:
                raw = await self._litellm.acompletion(**arguments)
                return read_answer(raw, asked.who, self._route)
        except ProviderError as error:
            return error.with_traceback(None)
        except Exception as error:
            if deadline.expired():
                return AttemptTimedOut(f"{asked.who} did not answer within {self.timeout:g} s.", billed=True)
            return translate(error, asked, time.time())

    def _secrets(self) -> tuple[str, ...]:
        found = (self._key, *(os.environ.get(name) for name in self._entry.key_variables))
        return tuple(secret for secret in found if secret)


def _bare(provider: str, model: str, endpoint: str | None) -> str:
    """The model without LiteLLM's own prefix: `gemini/gemini-x` is `gemini-x` at gemini."""
    bare = model.removeprefix(f"{provider}/")
    # A server may really have a model `openai/x`, and OpenRouter has one called `openrouter/auto`.
    keep = endpoint or (provider == "openrouter" and "/" not in bare)
    return model if keep else bare


async def _message(message: Message) -> dict[str, Any]:
    parts = message.parts
    if len(parts) == 1 and isinstance(parts[0], str):
        return {"role": message.role, "content": parts[0]}
    content: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, str):
            content.append({"type": "text", "text": part})
        else:
            encoded = await part.encode()
            content.append({"type": "image_url", "image_url": {"url": encoded.data_url}})
    return {"role": message.role, "content": content}
