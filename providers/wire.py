"""A way to one model: what both wires have in common, and the one place where all a server says comes by."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Self

from providers.catalog.target import Asked, Target
from providers.errors import ProviderError
from providers.replies.error_text import without
from providers.types import Request, Response


class Wire(ABC):
    """A way to one target. Making it is cheap: the first call loads what it needs.

    `timeout` is the wall-clock deadline of a call in seconds. Close it with `aclose`, or use it as an
    async context manager, in the loop in which it was used.
    """

    def __init__(self, target: Target, timeout: float = 600.0) -> None:
        self._target = target
        self.provider = target.provider
        self.model = target.model
        self.timeout = timeout
        # What every cache key says of it: who answers, and where. The wire is no part of it.
        self.identity = target.identity
        self._loading = asyncio.Lock()

    @classmethod
    def of(
        cls,
        provider: str,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 600.0,
    ) -> Self:
        """The model of this name. Raises what `Target.of` raises."""
        return cls(Target.of(provider, model, base_url, api_key), timeout)

    async def complete(self, request: Request) -> Response:
        """One answer, or a `ProviderError`; at most one attempt on the wire, ended by the deadline.

        Neither holds a key, whatever the server has sent: here is where all that it says comes by.
        """
        asked = self._target.asked(request)
        try:
            answer = await self._complete(request, asked)
        except ProviderError as error:
            error.args = (without(str(error), asked.secrets),)
            raise
        served = None if answer.model is None else without(answer.model, asked.secrets)
        return answer._replace(text=without(answer.text, asked.secrets), model=served)

    @abstractmethod
    async def _complete(self, request: Request, asked: Asked) -> Response: ...

    @abstractmethod
    async def aclose(self) -> None:
        """Close the connections."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()
