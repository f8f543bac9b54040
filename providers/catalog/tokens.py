"""The most input tokens that a provider can bill for a text or an image, without its tokenizer.

Text: today's tokenizers are byte-level BPE or SentencePiece with byte fallback. A token that stands
for text covers at least one byte of it, so a text never has more tokens than UTF-8 bytes. The
tokens that stand for no text of ours (roles, turn ends, a system prompt that the provider puts
in front) come from the provider's template; for them a stated allowance is added.

Images, from their pixels as sent: one function a rule, each with the page that publishes it. A model
whose rule is not known gets the largest of the known ones. Images are sent without asking for low
detail, so no rule for it is here. Every rule scales in exact fractions and rounds up, so that no
provider's own rounding of a resized image can come out above it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from fractions import Fraction
from functools import cache, lru_cache, partial
from math import ceil

# Role, begin and end markers: ChatML and Llama 3 take 4 to 7 tokens a message, Harmony up to 10.
TOKENS_A_MESSAGE = 16
# What stands around the messages: the default system prompts of the open models' templates are
# 20 to 70 tokens, and the largest that LiteLLM's map names (`token_count_framing`) is 100.
TOKENS_A_REQUEST = 128
# Grok 4 puts a system prompt of about 680 tokens in front of every request (usage of a bare
# greeting: 686), which docs.x.ai announces as "additional formatting tokens".
TOKENS_A_GROK_REQUEST = 1024

type Rule = Callable[[int, int], int]

# Multipliers of the patch rule, in hundredths of a token a patch.
FULL, MINI, NANO, O4_MINI, MINI_4_1 = 120, 162, 246, 172, 162


def text_bound(text: str) -> int:
    """The most tokens that this text can be: the bytes of it, or of its NFKC form if that is longer.

    Some tokenizers normalize first, and a single ligature may become eighteen characters.
    """
    if text.isascii():
        return len(text)
    return max(_size(text), _size(unicodedata.normalize("NFKC", text)))


def template_bound(provider: str, model: str, messages: int) -> int:
    """The allowance for what the provider's chat template puts around this many messages."""
    grok = provider == "xai" or re.search(r"(?:^|/)grok", model.lower()) is not None
    return (TOKENS_A_GROK_REQUEST if grok else TOKENS_A_REQUEST) + TOKENS_A_MESSAGE * messages


def _size(text: str) -> int:
    # A lone surrogate is no UTF-8; whoever replaces it writes the same three bytes.
    return len(text.encode("utf-8", "surrogatepass"))


@lru_cache(maxsize=4096)
def image_bound(provider: str, model: str, width: int, height: int) -> int:
    """The most input tokens that `model` bills for an image of this size.

    The rule goes by the model's vendor, whoever serves it: `gpt-4o` costs the same tokens at
    its maker, at Azure and behind OpenRouter.
    """
    if width < 1 or height < 1:
        raise ValueError(f"an image has at least one pixel, not {width}x{height}")
    return max(1, rule_of(provider, model)(width, height))


@cache
def rule_of(provider: str, model: str) -> Rule:
    """The rule that holds for a model; `largest` when its name tells nothing."""
    # `us.anthropic.claude-x`, `openai/gpt-x` and `ft:gpt-x:org::id` without what is not the name.
    name = model.lower().rsplit("/", 1)[-1].removeprefix("ft:").removeprefix("databricks-")
    name = re.sub(r"^(?:[a-z-]+\.)+(?=claude)", "", name)
    if name.startswith("claude") or provider == "anthropic":
        # High resolution came with Claude 4.7: a name that does not say it is older has it.
        four = re.match(r"claude-(?:opus|sonnet|haiku)-4(?:[-.](\d{1,2})(?!\d))?", name)
        older = name.startswith("claude-3") or (four and int(four[1] or 0) < 7)
        return STANDARD_CLAUDE if older else HIGH_RESOLUTION_CLAUDE
    if name.startswith(("gemini", "gemma", "learnlm")) or provider == "gemini":
        # `gemini-flash-latest` and the like do not say which generation answers: the larger rule.
        numbered = re.match(r"gemini-([0-4])(?!\d)", name)
        if numbered is None:
            return _gemini_tiles_or_budget
        return gemini_budget if int(numbered[1]) >= 3 else gemini_tiles
    return _openai(name) or largest


def rule_name(provider: str, model: str) -> str:
    """The rule that holds for a model, as people are told it."""
    rule = rule_of(provider, model)
    return NAMES[rule.func if isinstance(rule, partial) else rule]


def largest(width: int, height: int) -> int:
    """The largest of the known rules: what a model without one of its own is held at."""
    return max(rule(width, height) for rule in RULES)


def openai_tiles(width: int, height: int, *, base: int, tile: int) -> int:
    """Tiles of 512 pixels after the image is fitted into 2048 and its short side into 768.

    Source: developers.openai.com/api/docs/guides/images-vision (its section on calculating costs).
    The page says "scaled so that the shortest side is 768", and smaller images are not enlarged:
    a 128x64 image bills one tile (measured, community.openai.com/t/1262691).
    """
    scale = min(Fraction(1), Fraction(2048, max(width, height)))
    scale = min(scale, Fraction(768, min(width, height)))
    return base + tile * ceil(width * scale / 512) * ceil(height * scale / 512)


def openai_patches(width: int, height: int, *, percent: int, most: int | None) -> int:
    """Patches of 32 pixels, at most `most` of them, times the model's multiplier.

    Source: developers.openai.com/api/docs/guides/images-vision (its section on calculating costs).
    A larger image is shrunk until it has no more patches than `most`: that is the bound, without
    the last few that the shrinking may lose. From GPT-5.6 on the default detail is the original
    size, which no patch budget shrinks ("Using GPT-5.6", "Set image detail intentionally").
    """
    patches = ceil(Fraction(width, 32)) * ceil(Fraction(height, 32))
    return ceil(Fraction(percent * (patches if most is None else min(patches, most)), 100))


def anthropic(width: int, height: int, *, edge: int, most: int | None) -> int:
    """Pixels / 750 or patches of 28 pixels, whichever is more, after the long edge is fitted.

    Source: platform.claude.com/docs/en/build-with-claude/vision, "Evaluate image size". Earlier
    editions give pixels / 750, later ones the patches; bills of both kinds have been seen.
    `most` is the documented budget of the high resolution models. The one of the older models
    (about 1600) is not relied on: images beyond it have been billed by their pixels.
    """
    scale = min(Fraction(1), Fraction(edge, max(width, height)))
    wide, high = width * scale, height * scale
    tokens = max(ceil(wide * high / 750), ceil(wide / 28) * ceil(high / 28))
    return tokens if most is None else min(tokens, most)


def gemini_tiles(width: int, height: int) -> int:
    """258 tokens for a small image, else 258 for each tile, up to Gemini 2.5.

    Source: ai.google.dev/gemini-api/docs/image-understanding: the crop unit
    is the short side / 1.5. Vertex AI's page also keeps it from growing above 768 pixels.
    """
    if width <= 384 and height <= 384:
        return 258
    unit = min(768, max(1, min(width, height) * 2 // 3))
    return 258 * ceil(Fraction(width, unit)) * ceil(Fraction(height, unit))


def gemini_budget(width: int, height: int) -> int:
    """1120 tokens for any image, from Gemini 3 on.

    Source: ai.google.dev/gemini-api/docs/media-resolution, "Token counts": the default for images
    is the budget of high resolution; only an option we never send asks for more.
    """
    return 1120


def _gemini_tiles_or_budget(width: int, height: int) -> int:
    return max(gemini_tiles(width, height), gemini_budget(width, height))


STANDARD_CLAUDE = partial(anthropic, edge=1568, most=None)
HIGH_RESOLUTION_CLAUDE = partial(anthropic, edge=2576, most=4784)

# Tokens of the base and of a tile, and hundredths and patches, as the pages above list them.
OPENAI: tuple[tuple[str, Rule], ...] = (
    (r"gpt-4o-mini", partial(openai_tiles, base=2833, tile=5667)),
    (r"gpt-4\.1-mini", partial(openai_patches, percent=MINI_4_1, most=1536)),
    (r"gpt-4\.1-nano", partial(openai_patches, percent=NANO, most=1536)),
    (r"(?:chat)?gpt-4(?:o|\.1|\.5|-turbo|-vision)", partial(openai_tiles, base=85, tile=170)),
    (r"o4-mini|codex-mini", partial(openai_patches, percent=O4_MINI, most=1536)),
    (r"o[13](?![\w.])", partial(openai_tiles, base=75, tile=150)),
    (r"computer-use", partial(openai_tiles, base=65, tile=129)),
)
GPT_5 = partial(openai_tiles, base=70, tile=140)


def _openai(name: str) -> Rule | None:
    """The guide lists some of GPT-5 and 6; a sibling that it does not list gets the larger rule."""
    for pattern, rule in OPENAI:
        if re.match(pattern, name):
            return rule
    numbered = re.match(r"gpt-([56])(?:[.-](\d)(?!\d))?(?![\d.])", name)
    if numbered is None:
        return None
    version = (int(numbered[1]), int(numbered[2] or 0))
    # Luna and Terra are small models without a published multiplier: the largest one stands in.
    percent = NANO if re.search(r"nano|luna|terra", name) else MINI if "mini" in name else FULL
    if version >= (5, 4):
        return partial(openai_patches, percent=percent, most=None if version >= (5, 6) else 10_000)
    if percent != FULL:
        return partial(openai_patches, percent=percent, most=1536)
    return GPT_5 if version == (5, 0) and "codex" not in name else _tiles_or_patches


def _tiles_or_patches(width: int, height: int) -> int:
    """GPT-5.1 to 5.3: described with tiles, and billed with patches (community.openai.com/t/1372291)."""
    return max(GPT_5(width, height), openai_patches(width, height, percent=FULL, most=2500))


RULES: tuple[Rule, ...] = (
    *(rule for _, rule in OPENAI),
    GPT_5,
    _tiles_or_patches,
    partial(openai_patches, percent=NANO, most=None),
    STANDARD_CLAUDE,
    HIGH_RESOLUTION_CLAUDE,
    gemini_tiles,
    gemini_budget,
)

NAMES: dict[Callable[..., int], str] = {
    openai_tiles: "OpenAI's tiles",
    openai_patches: "OpenAI's patches",
    _tiles_or_patches: "OpenAI's tiles or patches",
    anthropic: "Anthropic's pixels or patches",
    gemini_tiles: "Gemini's tiles",
    gemini_budget: "Gemini's budget for an image",
    _gemini_tiles_or_budget: "Gemini's tiles or budget",
    largest: "the largest known rule, since none is known for this model",
}
