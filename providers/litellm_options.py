"""Sampling options as arguments for LiteLLM, so that each one reaches the provider.

LiteLLM translates the options that it knows and swallows what looks like its own settings.
So: the known ones as arguments; all others in the place of the body where the provider looks
for them; and what can neither be translated nor placed is refused, never dropped in silence.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import deepcopy
from typing import Any

from providers import options
from providers.errors import ParameterRejected
from providers.types import Json

# Options of OpenAI's chat completions that LiteLLM translates for each provider or refuses.
TRANSLATED = frozenset(
    {
        "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "n",
        "presence_penalty", "reasoning_effort", "response_format", "seed", "stop", "temperature",
        "thinking", "top_logprobs", "top_p",
    }
)  # fmt: skip

# Fields of Google's request beside `generationConfig`, which holds all others.
GOOGLE_FIELDS = frozenset(
    {
        "cachedContent", "generationConfig", "labels", "safetySettings", "safety_settings",
        "serviceTier", "toolConfig",
    }
)  # fmt: skip

GOOGLE = frozenset({"gemini", "vertex_ai"})
# LiteLLM translates it for Google, but leaves `{"type": "json_object"}` out for Anthropic.
SWALLOWED = frozenset({"response_format"})
# Their bodies are LiteLLM's arguments as they are; everybody else takes `extra_body`.
PLAIN = frozenset({"anthropic", "bedrock", "cohere", "cohere_chat", "ollama", "ollama_chat", "replicate"})


def arguments(route: str, params: Mapping[str, Json], own: Collection[str]) -> dict[str, Any]:
    """The options for a provider; `own` are the names of LiteLLM's own settings."""
    given: dict[str, Any] = deepcopy(options.given(params))
    if route == "hosted_vllm":
        # Any OpenAI-compatible server: LiteLLM's opinion of a model of that name does not count.
        return {"extra_body": given}
    known = {name: given.pop(name) for name in sorted(TRANSLATED & given.keys())}
    if route in GOOGLE:
        return {**known, **_google(given)}
    if route in PLAIN:
        return dict(_plain({**known, **given}, own))
    extra = {"usage": {"include": True}, **given} if route == "openrouter" else given
    return {**known, "extra_body": extra} if extra else known


def _google(given: dict[str, Any]) -> dict[str, Any]:
    body = {name: given.pop(name) for name in sorted(GOOGLE_FIELDS & given.keys())}
    if given:
        body["generationConfig"] = {**body.get("generationConfig", {}), **given}
    return {"extra_body": body} if body else {}


def _plain(given: Mapping[str, Any], own: Collection[str]) -> Mapping[str, Any]:
    for name in given:
        if (name in own and name not in TRANSLATED) or name in SWALLOWED:
            raise ParameterRejected(f"LiteLLM keeps {name!r} to itself: it cannot be sent.", name)
    return given
