"""What a page shows of texts that are others': codes for what cannot be seen, no places of a machine."""

from __future__ import annotations

import pytest

from pbclient.report.html.text import sentence, visible, without_places

HOME = "/" + "home/ann"
USERS = "/" + "Users/ann"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, with\ttab\nand line", "plain, with\ttab\nand line"),
        ("\x1b[31mred", "[U+001B][31mred"),
        ("a\u202eb\u2066c", "a[U+202E]b[U+2066]c"),
        ("half \ud83d", "half [U+D83D]"),
        ("whole \U0001f600, \u00e9, \u4e2d", "whole \U0001f600, \u00e9, \u4e2d"),
    ],
)
def test_what_cannot_be_seen_is_its_code(text, shown):
    assert visible(text) == shown
    assert shown.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"missing from {HOME}/data/x.zip, as a file", "missing from .../x.zip, as a file"),
        (f"'{USERS}/My' cannot be read", "'.../My' cannot be read"),
        (f"model {HOME}/models/llava", "model .../llava"),
        ("~/models/llava", ".../llava"),
        ("C:\\Users\\ann\\model.gguf", ".../model.gguf"),
        ("ROD/12/0.png and Qwen/Qwen2-VL", "ROD/12/0.png and Qwen/Qwen2-VL"),
        ("1/2 and/or 3 / 4", "1/2 and/or 3 / 4"),
        ("at https://ann:secret@host.example:8000/v1?key=sk-1 now", "at host.example now"),
        ("http://[", "a server"),
    ],
)
def test_places_lose_their_folders_and_addresses_all_but_the_host(text, shown):
    assert without_places(text) == shown


def test_a_sentence_is_both():
    assert sentence(f"\u202e{HOME}/x/y") == "[U+202E].../y"
