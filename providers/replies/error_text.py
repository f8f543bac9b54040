"""Make one short line of a provider's words, without any key in it, however the key is spelled."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from functools import lru_cache

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
    text = without(text[: 2 * LOOKED_AT], secrets, until=LOOKED_AT)
    for pattern in _KEYS:
        text = pattern.sub(HIDDEN, text)
    return text


def without(text: str, secrets: Iterable[str], *, until: int | None = None) -> str:
    """`text` up to the character `until`, with every form of the given keys taken out of it.

    Compared are letters and digits alone, without case: that finds a key in capitals and spelled apart,
    with escapes decoded also one that is written for a URL, for HTML or in JSON, and base64 and hex beside.
    """
    forms: list[str] = []
    for secret in secrets:
        forms += _forms(secret)
        if len(secret) >= _SHORTEST and not _forms(secret):  # nearly all of it is punctuation
            text = text.replace(secret, HIDDEN)
    if not forms:
        return text[:until]
    spans = sorted({span for tokens in (_CHARACTER, _ESCAPED) for span in _found(text, tokens, forms)})
    pieces, place = [], 0
    for start, end in spans:
        if until is not None and start >= until:
            break
        if end > place:
            pieces += [text[place : max(start, place)], HIDDEN] if start >= place else []
            place = end
    return "".join([*pieces, text[place:until]])


_CHARACTER = re.compile(r"[^\W_]")
_NO_LETTERS = re.compile(r"[\W_]+")
_ESCAPED = re.compile(
    r"%(?P<url>[0-9a-f]{2})|\\u(?P<json>[0-9a-f]{4})|\\x(?P<python>[0-9a-f]{2})|&\#x(?P<html>[0-9a-f]{1,6});"
    r"|&\#(?P<number>[0-9]{1,7});|[^\W_]",
    re.IGNORECASE,
)


@lru_cache(maxsize=64)
def _forms(secret: str) -> tuple[str, ...]:
    """The letters and digits of a key in each of its encodings, in lower case."""
    whole = secret.encode()
    forms = [secret, whole.hex()]
    for before in range(3):  # bytes that stand before it in one group of three
        characters = b64encode(bytes(before) + whole).decode()
        forms.append(characters[(0, 2, 3)[before] : (before + len(whole)) * 8 // 6])
    plain = ["".join(_CHARACTER.findall(form)).lower() for form in forms]
    return tuple(plain) if len(plain[0]) >= _SHORTEST else ()


def _found(text: str, tokens: re.Pattern[str], forms: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Where a form begins and ends in the text, read token by token."""
    if tokens is _ESCAPED and not ("%" in text or "\\" in text or "&#" in text):
        return
    if tokens is _CHARACTER:
        plain = _NO_LETTERS.sub("", text).lower()
        if not any(form in plain for form in forms):
            return
    read = [(match.start(), match.end(), _letter(match)) for match in tokens.finditer(text)]
    read = [token for token in read if token[2]]
    folded = "".join(letter for _, _, letter in read)
    for form in forms:
        place = folded.find(form)
        while place >= 0:
            yield read[place][0], read[place + len(form) - 1][1]
            place = folded.find(form, place + len(form))


def _letter(match: re.Match[str]) -> str:
    """The one letter or digit that a token stands for, in lower case; nothing for anything else."""
    kind = match.lastgroup
    if kind is None:
        letter = match[0]
    else:
        number = int(match[kind], 10 if kind == "number" else 16)
        letter = chr(number) if number <= 0x10FFFF else ""
    lower = letter.lower()
    return lower if len(lower) == 1 and lower.isalnum() else letter[:1] if letter.isalnum() else ""
