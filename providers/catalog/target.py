"""Who is asked, where and with which key: the same for both wires, and so for the cache.

The key comes from the caller, else from the provider's environment variable, as with the
OpenAI SDK: a key that the user has set for `openai` is sent to her `base_url` too. Without any
key a server at a `base_url` is sent the word `none`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Self

from providers.catalog import names as catalog
from providers.types import Json, Request


@dataclass(frozen=True)
class Asked:
    """Who was asked with which options, and the keys that no message may hold."""

    provider: str
    model: str
    options: Collection[str] = ()
    secrets: Collection[str] = ()

    @property
    def who(self) -> str:
        return f"{self.provider} ({self.model})"


@dataclass(frozen=True)
class Target:
    """One model at one place. `endpoint` is None for the provider's own; `secrets` are never shown."""

    provider: str
    model: str
    endpoint: str | None
    key: str | None = field(repr=False)
    key_variables: tuple[str, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(
        cls,
        provider: str,
        model: str,
        base_url: str | None,
        api_key: str | None,
        environ: Mapping[str, str],
    ) -> Self:
        """Raises `UnknownProviderError`, and `ValueError` for a base URL that is none."""
        entry = catalog.lookup(provider)
        endpoint = catalog.endpoint(provider, base_url, environ)
        key = api_key or entry.key(environ) or ("none" if endpoint else None)
        found = (key, *(environ.get(name) for name in entry.key_variables))
        secrets = tuple(secret for secret in found if secret)
        return cls(provider, _bare(provider, model, endpoint), endpoint, key, entry.key_variables, secrets)

    @property
    def identity(self) -> Mapping[str, Json]:
        """What a cache key says of it: who answers, and where."""
        return {"provider": self.provider, "endpoint": self.endpoint, "model": self.model}

    def asked(self, request: Request) -> Asked:
        """What an error may say of a request."""
        return Asked(self.provider, self.model, tuple(request.params), self.secrets)


def _bare(provider: str, model: str, endpoint: str | None) -> str:
    """The model without LiteLLM's own prefix: `gemini/gemini-x` is `gemini-x` at gemini."""
    bare = model.removeprefix(f"{provider}/")
    # A server may really have a model `openai/x`, and OpenRouter has one called `openrouter/auto`.
    keep = endpoint or (provider == "openrouter" and "/" not in bare)
    return model if keep else bare
