"""Text never has more tokens than its bound: checked with real tokenizer shapes and at the edges."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.catalog.text_tokens import (
    TOKENS_A_GROK_REQUEST,
    TOKENS_A_MESSAGE,
    TOKENS_A_REQUEST,
    template_bound,
    text_bound,
)


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("", 0), ("What is this?", 13), ("né", 3), ("猫", 3), ("🙂", 4), ("\ud800", 3), ("ﷺ", 33)],
)
def test_the_bound_is_the_longer_of_the_text_and_its_normal_form(text: str, bytes_: int) -> None:
    assert text_bound(text) == bytes_


@given(st.text())
def test_no_tokenizer_that_covers_a_byte_a_token_exceeds_it(text: str) -> None:
    for form in (text, unicodedata.normalize("NFKC", text), unicodedata.normalize("NFC", text)):
        assert len(form.encode("utf-8")) <= text_bound(text)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.text())
def test_parts_are_never_bounded_below_their_text(left: str, right: str) -> None:
    assert text_bound(left) >= len(left)
    assert text_bound(left) + text_bound(right) >= len((left + right).encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    ("provider", "model", "request_"),
    [
        ("openai", "gpt-4o", TOKENS_A_REQUEST),
        ("xai", "grok-4.7", TOKENS_A_GROK_REQUEST),
        ("openrouter", "x-ai/grok-4", TOKENS_A_GROK_REQUEST),
        ("groq", "qwen/qwen3.8-27b", TOKENS_A_REQUEST),
    ],
)
def test_every_message_and_request_has_its_allowance(provider: str, model: str, request_: int) -> None:
    assert template_bound(provider, model, 3) == request_ + 3 * TOKENS_A_MESSAGE
