"""A row is read and spelled as Python's own `json` reads and spells it; what is none is a `DataError`."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbclient.data import rows
from pbclient.errors import DataError

# Every character, halves of surrogate pairs too, and numbers round the edges of 64 bits.
TEXTS = st.text(st.characters(exclude_categories=()), max_size=8)
NUMBERS = st.integers() | st.floats() | st.integers(-3, 3).map(lambda near: 2**63 + near)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
)


def told(line: bytes) -> str:
    """What `json` reads, with its types; empty when it is no object or cannot be read."""
    try:
        value = json.loads(line.decode())
    except (ValueError, RecursionError):
        return ""
    return repr(value) if isinstance(value, dict) else ""


def read(line: bytes) -> str:
    try:
        return repr(rows.read(line))
    except DataError:
        return ""


def spelling(row: dict[str, Any]) -> bytes | None:
    try:
        return json.dumps(row, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return None


@given(st.dictionaries(TEXTS, VALUES, max_size=5), st.booleans())
def test_any_row_is_read_and_spelled_as_json_does(row: dict[str, Any], ascii_only: bool) -> None:
    line = json.dumps(row, ensure_ascii=ascii_only).encode(errors="surrogatepass") + b"\n"
    assert read(line) == told(line)
    if spelling(row) is not None:
        assert rows.spelled(row) == spelling(row)
    else:
        with pytest.raises(DataError, match="surrogate"):
            rows.spelled(row)


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b'{"a": 1, "a": [2]}',
        b'{"a": 18446744073709551615, "b": 18446744073709551616, "c": -9223372036854775809}',
        b'{"a": [1, 36893488147419103232]}',
        b'{"a": {"b": 36893488147419103232}}',
        b'{"a": -0, "b": -0.0, "c": 0e5, "d": 1E400, "e": 1e-07, "f": 10000000000000000.0}',
        b'{"a": NaN, "b": [-Infinity]}',
        b'{"a": {"b": {"c": 1.0}}}',
        b'{"a": ' + b"[" * 2000 + b"]" * 2000 + b"}",
        b'{"a": "\\ud800", "b": "\\ud83d\\ude00", "c": "\\u0000"}',
        b'{"a": "\x7f\xc2\x85\xe2\x80\xa8"}',
        b'{"a": "\x1f"}',
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',
        b'\t\r\n {"a": 1} \r\n',
        b'\x0c{"a": 1}',
        b'{"a": 1}\x00',
        b'\xef\xbb\xbf{"a": 1}',
        b'{"a": 01}',
        b'{"a": 1,}',
        b'{"a": +1}',
        b'{"a": .5}',
        b"{'a': 1}",
        b'{"a": true, "b": null, "c": false}',
        b"[1]",
        b"1",
        b"",
    ],
)
def test_odd_lines_are_read_as_json_reads_them(line: bytes) -> None:
    assert read(line) == told(line)
