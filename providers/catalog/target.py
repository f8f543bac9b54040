"""Who is asked, where and with which key: what both wires have in common, and so the cache sees.

The key comes from the caller, else from the provider's environment variable, as with the
OpenAI SDK: a key that the user has set for `openai` is sent to her `base_url` too. Without any
key a server at a `base_url` is sent the word `none`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Self

from providers.catalog import names as catalog
from providers.types import Json, Request


@dataclass(frozen=True)
class Asked:
    """Who was asked where with which options, and the keys that no message may hold."""

    provider: str
    model: str
    options: Collection[str] = ()
    secrets: Collection[str] = ()
    endpoint: str | None = None

    @property
    def who(self) -> str:
        return f"{self.provider} ({self.model})"


@dataclass(frozen=True)
class Target:
    """One model at one place. `endpoint` is None for the provider's own; keys are never shown."""

    entry: catalog.HostedProvider
    model: str
    endpoint: str | None
    key: str | None = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(
        cls,
        provider: str,
        model: str,
        base_url: str | None = None,
        api_key: str | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> Self:
        """Raises `UnknownProviderError`, and `ValueError` for a base URL that is none."""
        entry = catalog.lookup(provider)
        endpoint = catalog.endpoint(provider, base_url, environ)
        key = api_key or entry.key(environ) or ("none" if endpoint else None)
        keys = (key, *(environ.get(name) for name in entry.key_variables))
        # LiteLLM's own prefix goes: `gemini/gemini-x` is `gemini-x` at gemini. But a server may really have
        # a model `openai/x`, and OpenRouter has one called `openrouter/auto`.
        bare = model.removeprefix(f"{provider}/")
        if endpoint or (provider == "openrouter" and "/" not in bare):
            bare = model
        return cls(entry, bare, endpoint, key, tuple(secret for secret in keys if secret))

    @property
    def provider(self) -> str:
        """The provider's name."""
        return self.entry.name

    def key_holder(self, environ: Mapping[str, str] = os.environ) -> str:
        """The environment variable that holds the key, for people."""
        names = (name for name in self.entry.key_variables if environ.get(name) == self.key)
        return next(names, "the key's variable")

    @property
    def identity(self) -> Mapping[str, Json]:
        """Its part of a cache key: who answers, and where."""
        return {"provider": self.provider, "endpoint": self.endpoint, "model": self.model}

    def asked(self, request: Request) -> Asked:
        """What an error may say of a request."""
        return Asked(self.provider, self.model, tuple(request.params), self.secrets, self.endpoint)


def sendable(value: str) -> bool:
    """Whether this can stand in a header: a line break or a typographer's quote cannot."""
    return value.isascii() and value.isprintable()
