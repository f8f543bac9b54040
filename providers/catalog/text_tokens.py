"""How many input tokens a provider can bill for text, at most, without its tokenizer.

Today's tokenizers are byte-level BPE or SentencePiece with byte fallback. A token that stands
for text covers at least one byte of it, so a text never has more tokens than UTF-8 bytes. The
tokens that stand for no text of ours (roles, turn ends, a system prompt that the provider puts
in front) come from the provider's template; for them a stated allowance is added.
"""

from __future__ import annotations

import re
import unicodedata

# Role, begin and end markers: ChatML and Llama 3 take 4 to 7 tokens a message, Harmony up to 10.
TOKENS_A_MESSAGE = 16
# What stands around the messages: the default system prompts of the open models' templates are
# 20 to 70 tokens, and the largest that LiteLLM's map names (`token_count_framing`) is 100.
TOKENS_A_REQUEST = 128
# Grok 4 puts a system prompt of about 680 tokens in front of every request (usage of a bare
# greeting: 686), which docs.x.ai announces as "additional formatting tokens".
TOKENS_A_GROK_REQUEST = 1024


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
