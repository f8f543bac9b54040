"""Ask a model behind an API through LiteLLM: one request, one attempt on the wire, no streaming.

With a `base_url` and the provider `openai` it is any OpenAI-compatible server.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from providers.catalog.target import Asked, Target, sendable
from providers.deadline import deadline
from providers.errors import AttemptTimedOut, AuthenticationFailed, MalformedResponse, ProviderError
from providers.hosted.answers import CALL, Call, read_answer
from providers.hosted.errors import translate
from providers.hosted.library import enter, leave, load, own_settings, reach, unlogged
from providers.hosted.options import arguments as options
from providers.replies.rate_limits import rate_limits
from providers.replies.usage import usage_in
from providers.types import Message, Request, Response
from providers.wire import Wire


class Hosted(Wire):
    """One model of one provider; the first call, or `load`, imports LiteLLM."""

    def __init__(self, target: Target, timeout: float = 600.0) -> None:
        super().__init__(target, timeout)
        # LiteLLM routes by provider; its route for vLLM takes any OpenAI-compatible server, and is lighter.
        self._route = "hosted_vllm" if target.provider == "openai" and target.endpoint else target.provider
        self._litellm: Any = None
        self._entered = False

    def load(self) -> None:
        """Import LiteLLM now (seconds), so that the first call does not."""
        self._litellm = load()
        if self._target.endpoint:
            reach(self._target.endpoint)

    @property
    def loaded(self) -> bool:
        """Whether LiteLLM is there, so that a call takes no seconds to begin."""
        return self._litellm is not None

    async def prepare(self) -> None:
        """Import LiteLLM in a thread if that was not done yet: the loop goes on, and others may have hits."""
        async with self._loading:
            if self._litellm is None:
                await asyncio.to_thread(self.load)

    async def _complete(self, request: Request, asked: Asked) -> Response:
        await self.prepare()
        if not self._entered:
            self._entered = True
            enter()
        unlogged()
        if not sendable(self._target.key or ""):
            raise AuthenticationFailed(f"The key for {asked.who} holds characters that no key has.")
        arguments = {
            "model": f"{self._route}/{self.model}",
            "messages": [
                await _message(message, keep=message.repeated and self._route == "anthropic")
                for message in request.messages
            ],
            "api_base": self._target.endpoint,
            "api_key": self._target.key,
            "timeout": self.timeout,
            "num_retries": 0,
            "max_retries": 0,
            **options(self._route, self.model, request.params, own_settings()),
        }
        outcome = await self._attempt(arguments, asked)
        if isinstance(outcome, ProviderError):
            # Raised outside of any `except`: LiteLLM's error would keep the request's bytes and the
            # key alive as its context.
            raise outcome
        return outcome

    async def aclose(self) -> None:
        """Close the connections, unless another user of the loop still needs them."""
        if self._entered:
            self._entered = False
            await leave()

    async def _attempt(self, arguments: dict[str, Any], asked: Asked) -> Response | ProviderError:
        # LiteLLM's own timeout starts anew with every byte that arrives.
        ends: asyncio.Timeout | None = None
        call = Call()
        CALL.set(call)
        try:
            async with deadline(self.timeout) as ends:
                raw = await self._litellm.acompletion(**arguments)
                answer = read_answer(raw, asked, self._route)
                return answer._replace(limits=rate_limits(call.headers))
        except ProviderError as error:
            told = error.with_traceback(None)
        except Exception as error:
            if ends is not None and ends.expired():
                return AttemptTimedOut(
                    f"{asked.who} did not answer within {self.timeout:g} s.", billed=call.sent
                )
            told = translate(error, asked, time.time(), sent=call.sent)
        if isinstance(told, MalformedResponse) and isinstance(call.body, dict):
            told.usage = usage_in(call.body)
        return told


async def _message(message: Message, *, keep: bool) -> dict[str, Any]:
    """A message in OpenAI's shape; with `keep` Anthropic keeps the prompt until here."""
    parts = message.parts
    if len(parts) == 1 and isinstance(parts[0], str) and not keep:
        return {"role": message.role, "content": parts[0]}
    content: list[dict[str, Any]] = [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": {"url": (await part.encode()).data_url}}
        for part in parts
    ]
    if keep and content:
        content[-1]["cache_control"] = {"type": "ephemeral"}
    return {"role": message.role, "content": content}
