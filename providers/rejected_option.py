"""Which of our options a provider does not take, read from the words of its refusal.

Only options that were sent are found: the words of a refusal are prose, and many an option
(`user`, `stop`) is an ordinary word. A value out of range is no rejected option.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

_REJECTS = re.compile(
    r"unsupported|n[o']t support|is not available|unknown (?:name|parameter|field|argument)|unrecognized"
    r"|unexpected|extra inputs are not permitted|extra_forbidden|is deprecated|not allowed"
    r"|cannot both be|cannot be used|additional propert|extra fields"
)
_INSTEAD = re.compile(r"[Uu]se ['\"`](\w+)['\"`] instead")

# Names under which LiteLLM or a vendor knows one option.
_ALIASES = (
    ("max_tokens", "max_completion_tokens", "max_output_tokens"),
    ("seed", "random_seed"),
    ("reasoning_effort", "reasoning", "thinking", "thinking_config", "thinking_level", "output_config"),
    ("stop", "stop_sequences"),
    ("n", "candidate_count"),
    ("response_format", "response_schema", "response_mime_type"),
)


def rejected_option(message: str, parameter: str, sent: Collection[str]) -> tuple[str, str | None] | None:
    """The option that was rejected, as we sent it, and the name the provider asks for, if any."""
    if not _REJECTS.search(message.lower()):
        return None
    instead = _INSTEAD.search(message)
    asked_for = instead.group(1) if instead else None
    named = next((option for option in sent if parameter.split(".")[0].split("[")[0] in _names(option)), None)
    if named is None:
        found = [
            (place, option) for option in sent if (place := _place(option, message, asked_for)) is not None
        ]
        named = min(found)[1] if found else None
    return None if named is None else (named, asked_for)


def _names(option: str) -> Iterator[str]:
    """The option's own name and its others, in snake and in camel case."""
    for name in next((names for names in _ALIASES if option in names), (option,)):
        yield name
        head, *rest = name.split("_")
        yield head + "".join(word.capitalize() for word in rest)


def _place(option: str, message: str, not_this: str | None) -> int | None:
    """Where the message names the option: a plain word counts only where it is marked as a name."""
    places = []
    for name in _names(option):
        marked = rf"(?<=['\"`\[(]){name}(?=['\"`\])=:,])|(?:^|(?<=\s)){name}(?=[:=])"
        marked += rf"|(?<=parameter ){name}\b|(?<=supplied: ){name}\b"
        plain = "_" in name or name != name.lower() or name == "temperature"
        pattern = rf"\b{name}\b" if plain else marked
        places += [found.start() for found in re.finditer(pattern, message) if name != not_this]
    return min(places, default=None)
