"""The real map that the installed LiteLLM brings, found by the names that users give."""

from __future__ import annotations

import subprocess
import sys

import pytest

from providers.catalog.prices import find, find_public, supports_vision


@pytest.mark.parametrize(
    ("provider", "model", "seller"),
    [
        ("openai", "gpt-4o", "openai"),
        ("openai", "openai/gpt-4o", "openai"),
        ("openai", "GPT-4o", "openai"),
        ("openai", "gpt-4o-2024-08-06", "openai"),
        ("openai", "gpt-4.1-2031-01-01", "openai"),
        ("openai", "ft:gpt-4o-2024-08-06:org::id", "openai"),
        ("anthropic", "claude-haiku-4-5", "anthropic"),
        ("gemini", "gemini-2.5-flash", "gemini"),
        ("gemini", "gemini/gemini-2.5-flash", "gemini"),
        ("gemini", "gemini-2.5-flash-001", "gemini"),
        ("vertex_ai", "gemini-2.5-flash", "vertex_ai-language-models"),
        ("vertex_ai", "claude-opus-4-7", "vertex_ai-anthropic_models"),
        ("bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0", "bedrock_converse"),
        ("mistral", "pixtral-large-latest", "mistral"),
        ("openrouter", "openai/gpt-4o", "openai"),
        ("openrouter", "openrouter/anthropic/claude-haiku-4.5", "anthropic"),
        ("openrouter", "google/gemini-2.5-flash", "gemini"),
    ],
)
def test_a_model_is_found_by_the_names_that_users_give(provider: str, model: str, seller: str) -> None:
    row = find(provider, model)
    assert row is not None
    assert row["litellm_provider"] == seller
    assert row["input_cost_per_token"] > 0


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-nobody-sells"),
        ("anthropic", "gpt-4o"),  # somebody else's
        ("gemini", "vertex_ai/gemini-2.5-flash"),
        ("openrouter", "openai/gpt-4o:online"),
        ("openrouter", "meta-llama/llama-3.2-11b-vision-instruct"),
        ("openrouter", "gpt-4o"),
        ("one of https://docs.litellm.ai/docs/providers", "sample_spec"),
        ("", ""),
    ],
)
def test_a_model_that_the_provider_does_not_sell_is_not_found(provider: str, model: str) -> None:
    assert find(provider, model) is None


@pytest.mark.parametrize(
    "model", ["gpt-4o", "openai/gpt-4o", "claude-haiku-4-5", "anthropic/claude-haiku-4.5"]
)
def test_a_public_model_is_found_behind_any_server(model: str) -> None:
    assert find_public(model) is not None


@pytest.mark.parametrize("model", ["my-own-model", "nobody/model", "sample_spec", "fallback_generalizations"])
def test_a_private_model_is_not_found(model: str) -> None:
    assert find_public(model) is None


@pytest.mark.parametrize(
    ("provider", "model", "sees"),
    [
        ("openai", "gpt-4o", True),
        ("openai", "o3-mini", False),
        ("openrouter", "anthropic/claude-haiku-4.5", True),
        ("openai", "gpt-nobody-sells", None),
        ("groq", "groq/llama-guard-3-8b", None),
    ],
)
def test_the_map_says_whether_a_model_takes_images(provider: str, model: str, sees: bool | None) -> None:
    assert supports_vision(provider, model) is sees


def test_reading_the_map_does_not_import_litellm() -> None:
    code = (
        "import sys; from providers.catalog import prices as price_map; "
        "assert price_map.find('openai', 'gpt-4o'); "
        "assert not {'litellm', 'openai', 'PIL'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
