"""Texts at the edges of their bound; each rule for images against examples and bills, and at any size."""

from __future__ import annotations

import unicodedata
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.catalog.tokens import (
    RULES,
    TOKENS_A_GROK_REQUEST,
    TOKENS_A_MESSAGE,
    TOKENS_A_REQUEST,
    gemini_budget,
    gemini_tiles,
    image_bound,
    largest,
    rule_of,
    template_bound,
    text_bound,
)

sides = st.integers(1, 9000)

# (model, width, height, tokens): the guide's own examples and billed images; see the rules' sources.
EXACT = [
    ("gpt-4o", 1024, 1024, 765),
    ("gpt-4o", 2048, 4096, 1105),
    ("gpt-4.1", 1024, 1024, 765),
    ("gpt-4.5-preview", 1024, 1024, 765),
    ("gpt-4o-2024-11-20", 128, 64, 255),
    ("gpt-4o-mini", 128, 64, 8500),
    ("gpt-4o-mini-2024-07-18", 1024, 1024, 2833 + 4 * 5667),
    ("o3", 128, 64, 225),
    ("o1-2024-12-17", 1024, 1024, 675),
    ("computer-use-preview", 1024, 1024, 65 + 4 * 129),
    ("gpt-5", 1024, 1024, 630),
    ("gpt-5-2025-08-07", 1024, 1024, 630),
    ("gpt-5-chat-latest", 2048, 4096, 910),
    ("gpt-4.1-mini", 1024, 1024, 1659),  # 1024 patches x 1.62
    ("gpt-4.1-nano", 1024, 1024, 2520),
    ("o4-mini", 1024, 1024, 1762),
    ("gpt-5-mini", 1024, 1024, 1659),
    ("gpt-5-nano", 1024, 1024, 2520),
    ("gpt-5.5", 256, 256, 77),
    ("gpt-5.5", 1920, 1080, 2448),
    ("gpt-5.5", 3840, 2160, 9792),
    ("gpt-6-astra", 4032, 3024, 14364),
    ("claude-sonnet-4-5", 200, 200, 64),  # 54 by pixels / 750, 64 by patches
    ("claude-sonnet-4-5", 1092, 1092, 1590),
    ("claude-opus-4-7", 1000, 1000, 1334),
    ("claude-haiku-4-5", 1568, 1568, 3279),
    ("claude-opus-5", 6000, 6000, 4784),
    ("gemini-2.5-flash", 384, 384, 258),
    ("gemini-2.5-flash", 960, 540, 6 * 258),
    ("gemini-3-pro-preview", 4032, 3024, 1120),
]

# (model, width, height, billed): what was billed once, with the template's tokens taken off.
BILLED = [
    ("gpt-4.1-mini", 1800, 2400, 2353),  # the guide's example: 1452 patches
    ("gpt-5.5", 4032, 3024, 11868),
    ("claude-opus-5-5", 1920, 1080, 2768 - 77),
    ("claude-opus-5-5", 4032, 3024, 4005 - 77),
    ("claude-haiku-4-5", 1920, 1080, 1625 - 65),
    ("claude-haiku-4-5", 4032, 3024, 1661 - 65),
    ("gemini-3.8-flash", 1920, 1080, 1101),
]


@pytest.mark.parametrize(("model", "width", "height", "tokens"), EXACT)
def test_each_rule_gives_the_published_tokens(model: str, width: int, height: int, tokens: int) -> None:
    assert image_bound("openrouter", model, width, height) == tokens


@pytest.mark.parametrize(("model", "width", "height", "billed"), BILLED)
def test_no_image_was_billed_above_its_bound(model: str, width: int, height: int, billed: int) -> None:
    assert billed <= image_bound("any", model, width, height) <= 2 * billed


@pytest.mark.parametrize(
    ("provider", "name", "same"),
    [
        ("openrouter", "openai/gpt-4o", "gpt-4o"),
        ("openrouter", "openrouter/openai/gpt-4o-mini", "gpt-4o-mini"),
        ("openai", "ft:gpt-4o-2024-08-06:org::id", "gpt-4o"),
        ("openrouter", "anthropic/claude-opus-4.6", "claude-opus-4-6"),
        ("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("anthropic", "claude-opus-4-20250514", "claude-opus-4-6"),
        ("vertex_ai", "claude-opus-4-7@default", "claude-opus-4-7"),
        ("databricks", "databricks-claude-opus-5", "claude-opus-5"),
        ("gemini", "gemini/gemini-2.0-flash", "gemini-2.5-flash"),
        ("openrouter", "google/gemini-3.8-flash", "gemini-3-pro"),
    ],
)
def test_a_vendors_model_keeps_its_rule_whoever_serves_it(provider: str, name: str, same: str) -> None:
    assert all(
        image_bound(provider, name, *size) == image_bound("", same, *size)
        for size in [(1, 1), (640, 480), (1500, 2000), (4032, 3024)]
    )


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-7"),
        ("openai", "gpt-60-large"),
        ("openai", "chat-latest"),
        ("mistral", "pixtral-large-latest"),
        ("xai", "grok-4.7"),
        ("together_ai", "Qwen/Qwen3-VL-32B-Instruct"),
        ("groq", "meta-llama/llama-4-scout"),
        ("openai", "qwen-distilled-from-claude"),
        ("openai", "my-model"),
        ("", ""),
    ],
)
def test_a_model_of_no_known_rule_gets_the_largest(provider: str, model: str) -> None:
    assert rule_of(provider, model) is largest


def test_a_gemini_of_no_known_generation_gets_the_larger_rule() -> None:
    for size in [(300, 300), (960, 540), (4032, 3024)]:
        larger = max(gemini_tiles(*size), gemini_budget(*size))
        assert image_bound("gemini", "gemini-flash-latest", *size) == larger
        assert image_bound("gemini", "learnlm-1.5", *size) == larger


def test_a_claude_of_no_known_age_sees_in_high_resolution() -> None:
    assert image_bound("anthropic", "some-new-name", 6000, 6000) == 4784


@pytest.mark.parametrize("model", ["gpt-5.1", "gpt-5.2", "gpt-5.3-codex", "gpt-5-codex"])
def test_a_sibling_that_the_guide_does_not_list_gets_tiles_or_patches(model: str) -> None:
    assert image_bound("openai", model, 128, 64) == 210  # one tile; 8 patches are fewer
    assert image_bound("openai", model, 1024, 1024) == 1229  # 1024 patches x 1.2; 4 tiles are fewer


def test_a_small_sibling_without_a_published_multiplier_gets_the_largest_one() -> None:
    assert image_bound("openai", "gpt-6-luna", 320, 320) == 246
    assert image_bound("openai", "gpt-5.6-sol", 320, 320) == 120


def test_an_image_without_pixels_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        image_bound("openai", "gpt-4o", 0, 10)


@given(sides, sides)
def test_the_bound_of_an_unknown_model_is_never_below_a_known_rule(width: int, height: int) -> None:
    unknown = image_bound("openai", "who-knows", width, height)
    assert all(1 <= rule(width, height) <= unknown for rule in RULES)
    assert all(image_bound("", model, width, height) <= unknown for model, *_ in EXACT)


@given(sides, sides)
def test_a_picture_on_its_side_costs_the_same(width: int, height: int) -> None:
    assert all(rule(width, height) == rule(height, width) for rule in RULES)


# What the largest image costs: the base and eight tiles (2048 x 768 pixels), all patches, or the budget.
MOST = {
    "gpt-4o": 85 + 8 * 170,
    "gpt-4o-mini": 2833 + 8 * 5667,
    "o3": 75 + 8 * 150,
    "computer-use-preview": 65 + 8 * 129,
    "gpt-5": 70 + 8 * 140,
    "gpt-4.1-mini": ceil(1536 * 1.62),
    "gpt-4.1-nano": ceil(1536 * 2.46),
    "o4-mini": ceil(1536 * 1.72),
    "gpt-5.5": ceil(10_000 * 1.2),
    "claude-opus-4-7": 4784,
    "gemini-3-pro-preview": 1120,
}


@given(st.sampled_from(list(MOST)), sides, sides)
def test_no_image_costs_more_than_the_largest(model: str, width: int, height: int) -> None:
    assert 1 <= image_bound("", model, width, height) <= MOST[model]


@pytest.mark.parametrize("model", MOST)
def test_the_largest_image_costs_no_less(model: str) -> None:
    assert MOST[model] == max(image_bound("", model, *size) for size in ((9000, 9000), (9000, 3300)))


@given(sides, sides)
def test_thin_strips_are_at_most_three_tiles_wide(width: int, height: int) -> None:
    short, long = sorted((width, height))
    across = max(3, ceil(short / 768))
    assert gemini_tiles(width, height) <= 258 * across * ceil(long / max(1, min(768, short * 2 // 3)))


@given(st.sampled_from([m for m, *_ in EXACT if not m.startswith("gemini-2")]), sides, st.integers(1, 5))
def test_a_larger_square_never_costs_less(model: str, side: int, factor: int) -> None:
    assert image_bound("", model, side, side) <= image_bound("", model, side * factor, side * factor)


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
