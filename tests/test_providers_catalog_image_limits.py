"""What a request may carry: the published figures, and whom they hold for."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.catalog.image_limits import CLAUDE, CLAUDE_SHORT, MIB, NO_LIMITS, PROVIDERS, encoded, limits_of

SERVER = "http://127.0.0.1:8000/v1"


@pytest.mark.parametrize(
    ("provider", "model", "endpoint", "expected"),
    [
        ("anthropic", "claude-haiku-5-5", None, CLAUDE),
        ("anthropic", "claude-haiku-4-5", None, CLAUDE_SHORT),
        ("anthropic", "claude-of-tomorrow", None, CLAUDE),
        # Claude is Claude, whoever serves it.
        ("anthropic", "claude-haiku-5-5", SERVER, CLAUDE),
        ("bedrock", "us.anthropic.claude-opus-4-7-v1:0", None, CLAUDE),
        ("openrouter", "anthropic/claude-opus-4.7", None, CLAUDE),
        ("openai", "gpt-6-luna", None, PROVIDERS["openai"]),
        ("gemini", "gemini-3.8-flash", None, PROVIDERS["gemini"]),
        # A server of one's own takes what it takes.
        ("openai", "gpt-6-luna", SERVER, NO_LIMITS),
        ("anthropic", "own-1", SERVER, NO_LIMITS),
        ("hosted_vllm", "qwen", SERVER, NO_LIMITS),
        ("ollama", "llava", None, NO_LIMITS),
        ("llamacpp", "any.gguf", None, NO_LIMITS),
        ("together_ai", "zai-org/GLM-5.3-Flash", None, NO_LIMITS),
    ],
)
def test_whose_limits_hold(provider, model, endpoint, expected):
    assert limits_of(provider, model, endpoint) == expected


def test_claude_takes_shorter_edges_when_there_are_many_images():
    assert [CLAUDE.longest_edge(images) for images in (1, 20, 21, 600)] == [8000, 8000, 2000, 2000]
    assert (CLAUDE.images, CLAUDE_SHORT.images) == (600, 100)
    assert (CLAUDE.image_bytes, CLAUDE.request_bytes) == (10 * MIB, 32 * MIB)


@pytest.mark.parametrize("limits", [NO_LIMITS, *PROVIDERS.values()])
def test_nobody_else_publishes_an_edge(limits):
    assert {limits.longest_edge(images) for images in (1, 21, 9999)} == {None}


@given(st.binary(max_size=200))
def test_bytes_are_counted_as_they_travel(data):
    assert encoded(len(data)) == len(base64.b64encode(data))
