"""Write sampling options as arguments for LiteLLM, so that each one reaches the provider.

LiteLLM translates the options that it knows and swallows what looks like its own settings.
So: the known ones as arguments; all others in the place of the body where the provider looks
for them; and what can neither be translated nor placed is refused, never dropped in silence.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import deepcopy
from typing import Any

from providers.errors import BadRequest, ParameterRejected
from providers.hosted.library import claude_can
from providers.types import Json, given

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
    others: dict[str, Any] = deepcopy(given(params))
    if route == "hosted_vllm":
        # Any OpenAI-compatible server: LiteLLM's opinion of a model of that name does not count.
        return {"extra_body": others}
    _refuse_changed(others, model if route == "anthropic" else None)
    known = {name: others.pop(name) for name in sorted(TRANSLATED & others.keys())}
    if route in PLAIN:
        for name in (*known, *others):
            if (name in own and name not in TRANSLATED) or name in SWALLOWED:
                raise ParameterRejected(f"LiteLLM keeps {name!r} to itself: it cannot be sent.", name)
        return {**known, **others}
    if route in GOOGLE:
        extra = {name: others.pop(name) for name in sorted(GOOGLE_FIELDS & others.keys())}
        if others:
            extra["generationConfig"] = {**extra.get("generationConfig", {}), **others}
    else:
        extra = {"usage": {"include": True}, **others} if route == "openrouter" else others
    return {**known, "extra_body": extra} if extra else known


def _refuse_changed(options: Mapping[str, Any], claude: str | None) -> None:
    """Raise `BadRequest` for values that LiteLLM would cut, round or drop; `claude` is Anthropic's model."""
    stop = options.get("stop", "")
    stops = [stop] if isinstance(stop, str) else stop
    listed = isinstance(stops, list) and all(isinstance(word, str) for word in stops)
    if not (listed and 0 < len(stops) <= MOST_STOPS):
        raise BadRequest(
            f"LiteLLM sends a `stop` of one to {MOST_STOPS} strings only: it would drop the rest."
        )
    for name in ("max_tokens", "max_completion_tokens"):
        if type(options.get(name, 0)) is not int:
            raise BadRequest(f"{name} must be a whole number: LiteLLM would round {options[name]!r}.")
    if claude is None:
        return
    thinking = options.get("thinking")
    kind = thinking.get("type") if isinstance(thinking, Mapping) else None
    if kind == "adaptive" and not claude_can(claude, "supports_adaptive_thinking"):
        raise BadRequest(
            f"LiteLLM sends no adaptive `thinking` to {claude}: give a budget_tokens, or use --wire direct."
        )
    if kind == "disabled" and claude_can(claude, "thinking_always_on"):
        raise BadRequest(f"LiteLLM cannot turn the `thinking` of {claude} off: leave it out.")
