"""Make one short line of a provider's words, without any key in it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote

HIDDEN = "[key]"
LIMIT = 300
# Bodies come from anybody: what lies behind this many characters is not looked at.
LOOKED_AT = 10_000

# Below this length a "key" is a placeholder (`none`, `x`) that would eat ordinary words.
_SHORTEST = 6

_KEYS = (
    re.compile(r"(?i)\b(?:bearer|basic)\s+[\w\-.~+/]{6,}=*"),
    re.compile(r"(?i)(?<=[?&])(?:key|api[_-]?key|access[_-]?token)=[^&\s\"']+"),
    # Vendors' own prefixes, also when the middle is starred out: sk-proj-****abcd.
    re.compile(r"\b(?:sk|pk|rk|gsk|xai|r8|hf|fw|pplx|nvapi|tgp|csk)[-_][\w*.\-]{6,}"),
    re.compile(r"\bAIza[\w\-*]{10,}"),
    re.compile(r"\beyJ[\w\-]{10,800}+\.[\w\-.]+"),
    re.compile(r"(?i)(?<=api[_-]key)(?:[\"']?\s*[:=]\s*[\"']?)[^\s\"',}]{6,}"),
    re.compile(r"(?i)(?<=incorrect api key provided: )[^\s\"']+?(?=\.?(?:\s|\"|'|$))"),
)
# Each branch ends at the first thing that can end it, or at the end of the text: no place is
# looked at again and again, however hostile the text.
_MARKUP = re.compile(r"(?is)<(script|style)\b.*?(?:</\1>|\Z)|<[^<>]*>")


def one_line(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` without markup, line breaks and keys, cut to about 300 characters."""
    # Keys go first: a cut or a removed tag could leave half of one.
    clean = redacted(text, secrets)
    if "</" in clean:
        clean = _MARKUP.sub(" ", clean)
    clean = " ".join("".join(char if char.isprintable() else " " for char in clean).split())
    return clean if len(clean) <= LIMIT else clean[: LIMIT - 1].rstrip() + "…"


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """The first 10,000 characters of `text`, with every form of the given keys, and whatever looks
    like a key, taken out."""
    for secret in secrets:
        if len(secret) >= _SHORTEST:
            for form in {secret, quote(secret, safe=""), secret.encode("unicode_escape").decode()}:
                text = text.replace(form, HIDDEN)
    text = text[:LOOKED_AT]
    for pattern in _KEYS:
        text = pattern.sub(HIDDEN, text)
    return text
