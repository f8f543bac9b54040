"""A provider's words as one short line without a key."""

from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.replies.error_text import HIDDEN, LIMIT, LOOKED_AT, one_line, redacted, without

KEY = "Zq8/kX+v0=pL42"


@pytest.mark.parametrize(
    "text",
    [
        f"bad key {KEY}.",
        "bad key Zq8%2FkX%2Bv0%3DpL42 in the URL",
        "Authorization: Bearer abc.def-123456",
        "Incorrect API key provided: sk-proj-********************abcd. You can find it at ...",
        "Incorrect API key provided: weird_one. You can find it",
        "https://x/v1beta/models/m:generateContent?key=AIzaSyA-1234567890abcdefgh&alt=sse",
        "AIzaSyA-1234567890abcdefgh is not valid",
        "gsk_abcdef1234567890 rejected",
        "xai-abcdef1234567890 rejected",
        "'api_key': 'abcdef123456'",
        "token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
    ],
)
def test_keys_are_taken_out(text: str) -> None:
    shown = one_line(text, (KEY,))
    for secret in (KEY, "%2FkX", "abc.def", "abcd", "weird", "AIza", "abcdef", "eyJ"):
        assert secret not in shown
    assert "[key]" in shown


SPELLINGS = {
    "as it is": KEY,
    "in capitals": KEY.upper(),
    "spelled apart": " - ".join(KEY),
    "for a URL": "".join(f"%{ord(char):02x}" for char in KEY),
    "for a URL in part": quote(KEY, safe=""),
    "in JSON": "".join(f"\\u{ord(char):04X}" for char in KEY),
    "in HTML": "".join(f"&#{ord(char)};" for char in KEY),
    "in HTML, in hex": "".join(f"&#x{ord(char):x};" for char in KEY),
    "in Python": "".join(f"\\x{ord(char):02x}" for char in KEY),
    "in base64": b64encode(KEY.encode()).decode(),
    "in base64 behind a byte": b64encode(b"u" + KEY.encode() + b"tail").decode(),
    "in base64 behind a name": b64encode(b"user:" + KEY.encode()).decode().rstrip("="),
    "for a URL in base64": urlsafe_b64encode(KEY.encode()).decode(),
    "in hex": KEY.encode().hex(":"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("before", ["", "100%", "&#", "\\u12", "%4", "x=", "a" * 9900 + " "])
def test_a_key_is_found_however_it_is_spelled(spelling: str, before: str) -> None:
    shown = redacted(f"bad key {before}{SPELLINGS[spelling]}, said the server", (KEY,))
    assert HIDDEN in shown
    folded = "".join(char for char in shown if char.isalnum()).lower()
    for part in ("zq8", "pl42", b64encode(KEY.encode()).decode()[3:9].lower(), KEY.encode().hex()[6:12]):
        assert part not in folded


@given(st.text(max_size=60), st.sampled_from(sorted(SPELLINGS)), st.text(max_size=60))
def test_only_the_key_goes(before: str, spelling: str, after: str) -> None:
    assert without(before, (KEY,)) == before
    hidden = without(f"{before}\n{SPELLINGS[spelling]}\n{after}", (KEY,))
    assert hidden.startswith(before)
    assert hidden.endswith(after)
    assert HIDDEN in hidden


def test_placeholders_eat_no_words() -> None:
    assert one_line("none of the models", ("none", "x")) == "none of the models"


def test_ordinary_words_stay() -> None:
    text = "Unsupported parameter: 'max_tokens'. The key question is key-value risk-averse tasks."
    assert one_line(text) == text


def test_one_line_without_markup() -> None:
    assert one_line("<html><style>a{}</style><h1>502</h1>\r\n<p>Bad\tGateway</p></html>") == "502 Bad Gateway"


@given(st.text(max_size=2000), st.text(alphabet="abcXYZ0129_-", min_size=8, max_size=20))
def test_always_one_short_line_without_the_key(text: str, key: str) -> None:
    shown = one_line(text + key + text, (key,))
    assert len(shown) <= LIMIT
    assert shown.isprintable()
    assert key not in redacted(text + key + text, (key,)) or key in text


@pytest.mark.parametrize(
    "piece",
    ["<script>", "<", "<script", "</script <script ", "<style>a</script>", "eyJ-", "eyJaaaaaaaaaa",
     "bearer ", " ", "api_key", "sk-", "incorrect api key provided: ", "key=", "Aa"],
)  # fmt: skip
def test_no_text_takes_long(piece: str) -> None:
    # These took minutes when each place could be looked at again and again: the suite's own deadline tells.
    text = "</bearer api_key: " + piece * (5_000_000 // len(piece))
    assert len(one_line(text, (KEY,))) <= LIMIT


def test_a_key_behind_what_is_looked_at_is_not_shown() -> None:
    # The spaces go, so that what is left of the text is short enough to be shown.
    for place in range(LOOKED_AT - len(KEY) - 1, LOOKED_AT + 1):
        assert "Zq8" not in one_line(" " * place + KEY, (KEY,))
