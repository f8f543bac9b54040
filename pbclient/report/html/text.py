"""Texts of others on a page: nothing that is obeyed instead of shown, no place on somebody's machine."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

# Control characters, those that change the direction of what follows, and half surrogate pairs.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_ABSOLUTE = re.compile(
    r"(?<![\w:/.~-])(?:~|[A-Za-z]:)?[/\\](?:[^/\\\s'\",;:()<>]+[/\\])+([^/\\\s'\",;:()<>]*)"
)
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\",;()]+", re.IGNORECASE)


def visible(text: str) -> str:
    """The text with what cannot be seen as its code point, such as [U+202E]."""
    return _UNSEEN.sub(lambda match: f"[U+{ord(match[0]):04X}]", text)


def without_places(text: str) -> str:
    """A sentence of ours without the folders of absolute paths and with hosts alone for addresses."""
    return _ABSOLUTE.sub(r".../\1", _ADDRESS.sub(lambda match: host(match[0]), text))


def host(address: str) -> str:
    """Whom an address names, without user, password, path and key."""
    try:
        return urlsplit(address).hostname or "a server"
    except ValueError:
        return "a server"


def sentence(value: Any) -> str:
    """A value of a run folder that may hold a place, as a page shows it."""
    return visible(without_places(str(value)))
