"""The last door before the wire: once a key, a model or an account is found unusable, it stays shut.

The first such error costs one call; without the door each waiting call would make it again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from providers import Provider, Request, Response, Unusable


@dataclass
class Gate:
    """Lets calls through until one shows that none can succeed; `shut` is that error."""

    inner: Provider
    noticed: Callable[[Unusable], None] = lambda error: None
    shut: Unusable | None = None

    async def complete(self, request: Request) -> Response:
        if self.shut is not None:
            # Nothing was sent, so nothing was billed, whatever the first error cost.
            raise type(self.shut)(str(self.shut), billed=False, status=self.shut.status)
        try:
            return await self.inner.complete(request)
        except Unusable as error:
            if self.shut is None:
                self.shut = error
                self.noticed(error)
            raise
