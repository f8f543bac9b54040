"""Who can be asked at all: what could only fail at the first call is refused before it."""

from __future__ import annotations

import pytest

from pbclient.errors import InputError
from pbclient.models.choice import Choice
from pbclient.models.model import default_max_tokens, resolve
from providers.direct.anthropic import NO_EFFORT


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        (Choice(provider="gemini", wire="direct"), "gemini is not reached by --wire direct"),
        (Choice(provider="anthropic", wire="direct", params={"reasoning_effort": "low"}), NO_EFFORT),
        (Choice(provider="hosted_vllm", wire="direct", model="m"), "name it with --base-url"),
        (Choice(provider="hosted_vllm", model="m"), "name it with --base-url"),
        (Choice(provider="hosted_vllm", model="m", prefix="judge-"), "name it with --judge-base-url"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_a_call(monkeypatch, choice, sentence):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    with pytest.raises(InputError) as caught:
        resolve(choice, print)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("key", ["sk-0123456789\n", "\u201csk-0123456789\u201d", "sk-01\r\nX: y"])
@pytest.mark.parametrize("wire", ["litellm", "direct"])
def test_a_key_that_cannot_be_sent_is_named_by_its_variable_and_not_shown(monkeypatch, key, wire):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(InputError) as caught:
        resolve(Choice(provider="openai", model="gpt-4o", wire=wire), print)
    assert "The key in OPENAI_API_KEY holds a character that no key has" in str(caught.value)
    assert "0123" not in str(caught.value)


def test_an_effort_goes_over_litellm_and_a_server_may_be_named_by_the_environment(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    choice = Choice(provider="anthropic", params={"reasoning_effort": "low"}, price="1,2")
    assert resolve(choice, print).params["reasoning_effort"] == "low"
    unset = Choice(provider="anthropic", wire="direct", params={"reasoning_effort": None}, price="1,2")
    assert resolve(unset, print).choice.wire == "direct"
    monkeypatch.setenv("HOSTED_VLLM_API_BASE", "http://127.0.0.1:9/v1")
    vllm = resolve(Choice(provider="hosted_vllm", model="m", wire="direct", price="1,2"), print)
    assert vllm.identity["endpoint"] == "http://127.0.0.1:9/v1"


@pytest.mark.parametrize(
    ("provider", "model", "most"),
    [
        ("openai", "gpt-4o", 1024),
        ("openai", "gpt-4o-mini-2024-07-18", 1024),
        ("mistral", "pixtral-large-latest", 1024),
        ("xai", "grok-4.20-non-reasoning", 1024),
        ("openai", "gpt-5-mini", 8192),
        ("openai", "o1", 8192),
        ("gemini", "gemini-2.5-flash", 8192),
        ("anthropic", "claude-sonnet-4-5", 8192),
        ("openrouter", "anthropic/claude-sonnet-4.5", 8192),
        ("together_ai", "meta-llama/never-heard-of-it", 2048),
        ("openai", "glance", 2048),
    ],
)
def test_who_does_not_reason_gets_room_for_an_answer_and_who_does_for_thought(provider, model, most):
    assert default_max_tokens(provider, model) == most


def test_the_default_output_limit_is_within_what_the_model_can_give(monkeypatch):
    rows = {
        "openai/small": {"litellm_provider": "openai", "max_output_tokens": 512},
        "openai/thinker": {
            "litellm_provider": "openai",
            "supports_reasoning": True,
            "max_tokens": 4096,
        },
        "openai/says-no": {"litellm_provider": "openai", "supports_reasoning": False},
    }
    monkeypatch.setattr("providers.catalog.prices.rows", lambda: rows)
    found = {name: default_max_tokens("openai", name) for name in ("small", "thinker", "says-no")}
    assert found == {"small": 512, "thinker": 4096, "says-no": 1024}
