"""Sampling options as arguments for LiteLLM, so that each one reaches the provider.

LiteLLM translates the options that it knows and swallows what looks like its own settings.
So: the known ones as arguments; all others in the place of the body where the provider looks
for them; and what can neither be translated nor placed is refused, never dropped in silence. So are
values that it would cut, round or drop.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import deepcopy
from typing import Any

from providers import types as options
from providers.errors import BadRequest, ParameterRejected
from providers.hosted.library import claude_can
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
# LiteLLM translates `response_format` for Google, but leaves `{"type": "json_object"}` out for Anthropic.
SWALLOWED = frozenset(
    {"anthropic_beta", "client_metadata", "is_vertex_request", "json_mode", "response_format"}
)
MOST_STOPS = 4
# Their bodies are LiteLLM's arguments as they are; everybody else takes `extra_body`.
PLAIN = frozenset({"anthropic", "bedrock", "cohere", "cohere_chat", "ollama", "ollama_chat", "replicate"})


def arguments(route: str, model: str, params: Mapping[str, Json], own: Collection[str]) -> dict[str, Any]:
    """The options for a provider's model; `own` are the names of LiteLLM's own settings.

    Raises `ParameterRejected` for an option that it cannot send, `BadRequest` for such a value.
    """
    given: dict[str, Any] = deepcopy(options.given(params))
    if route == "hosted_vllm":
        # Any OpenAI-compatible server: LiteLLM's opinion of a model of that name does not count.
        return {"extra_body": given}
    _whole(given)
    if route == "anthropic":
        _thinking(given.get("thinking"), model)
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


def _whole(given: Mapping[str, Any]) -> None:
    """Raises `BadRequest` for values that would arrive as others."""
    stops = given.get("stop", "")
    listed = [stops] if isinstance(stops, str) else stops
    if not (
        isinstance(listed, list)
        and 0 < len(listed) <= MOST_STOPS
        and all(isinstance(stop, str) for stop in listed)
    ):
        raise BadRequest(
            f"LiteLLM sends a `stop` of one to {MOST_STOPS} strings only: it would drop the rest."
        )
    for name in ("max_tokens", "max_completion_tokens"):
        if type(given.get(name, 0)) is not int:
            raise BadRequest(f"{name} must be a whole number: LiteLLM would round {given[name]!r}.")


def _thinking(thinking: Any, model: str) -> None:
    """Raises `BadRequest` for a way of thinking that LiteLLM drops, by what its map says of the model."""
    kind = thinking.get("type") if isinstance(thinking, Mapping) else None
    if kind == "adaptive" and not claude_can(model, "supports_adaptive_thinking"):
        raise BadRequest(
            f"LiteLLM sends no adaptive `thinking` to {model}: give a budget_tokens, or use --wire direct."
        )
    if kind == "disabled" and claude_can(model, "thinking_always_on"):
        raise BadRequest(f"LiteLLM cannot turn the `thinking` of {model} off: leave it out.")
