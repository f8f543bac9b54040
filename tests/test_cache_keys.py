"""The spelling of a JSON value: the same for the same value, another for any other."""

import enum
import json
import math
from types import MappingProxyType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cache import CacheError, canonical, digest
from cache.keys import MAX_DEPTH

# Lone surrogates too: Python's JSON parser lets them in.
TEXT = st.text(st.characters(codec=None), max_size=8)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def shuffled(value):
    """`value` with the keys of every object the other way round."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(value)}
    if isinstance(value, list):
        return [shuffled(item) for item in value]
    return value


def leaf_paths(value, path=()):
    if isinstance(value, dict | list) and value:
        steps = value if isinstance(value, dict) else range(len(value))
        return [found for step in steps for found in leaf_paths(value[step], (*path, step))]
    return [path]


def replaced(value, path, new):
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def at(value, path):
    for step in path:
        value = value[step]
    return value


@given(VALUES)
def test_key_order_never_matters(value):
    assert canonical(shuffled(value)) == canonical(value)


@given(VALUES, LEAVES, st.data())
def test_any_other_leaf_changes_the_digest(value, new, data):
    path = data.draw(st.sampled_from(leaf_paths(value)))
    old = at(value, path)
    is_same = type(old) is type(new) and repr(old) == repr(new)
    assert (digest(replaced(value, path, new)) == digest(value)) is is_same


@given(VALUES)
def test_reads_back_exactly(value):
    back = json.loads(canonical(value).decode("utf-8", "surrogatepass"))
    assert canonical(back) == canonical(value)


PLAIN = st.none() | st.booleans() | st.integers() | TEXT
OBJECTS = st.dictionaries(
    TEXT, PLAIN | st.floats(allow_nan=False, allow_infinity=False) | st.just([1e-7]), max_size=4
)


@given(TEXT | st.dictionaries(TEXT, PLAIN | OBJECTS | st.dictionaries(TEXT, OBJECTS, max_size=2), max_size=4))
@example({"a": {"b": 1e-7}})
@example({"a": {"b": {"c": 1e-7}}})
@example({"a": {"b": [1e-7]}})
def test_what_is_plain_is_spelled_as_python_spells_it(value):
    spelled = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert canonical(value) == spelled.encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("first", range(0, 0x300, 0x100))
def test_every_character_is_spelled_as_python_spells_it(first):
    for character in map(chr, range(first, first + 0x100)):
        assert canonical(character) == json.dumps(character, ensure_ascii=False).encode()


def test_spelling():
    assert canonical({"b": [1, 1.0, True, None], "a": "é"}) == '{"a":"é","b":[1,1.0,true,null]}'.encode()
    assert digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (1, 1.0),
        (1, True),
        (0, False),
        (1.0, True),
        (0.0, -0.0),
        ("1", 1),
        (None, "null"),
        ([], {}),
        ("é", "e\u0301"),
    ],
)
def test_lookalikes_differ(left, right):
    assert digest(left) != digest(right)
    assert digest({"x": [left]}) != digest({"x": [right]})


def test_surrogates_have_spellings_of_their_own():
    spellings = {canonical(text) for text in ("\ud83d", "\ude00", "\ud83d\ude00", "😀", "?", "\\ud83d")}
    assert len(spellings) == 6


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        [-math.inf],
        (1, 2),
        {"a": (1,)},
        {1: "a"},
        {None: 1},
        {True: 1},
        {"a": 1, 2: 2},
        b"bytes",
        {1, 2},
        object(),
        Colour.RED,
        Level.ONE,
        {Colour.RED: 1},
        MappingProxyType({}),
        10**5000,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_json_is_refused(value):
    with pytest.raises(CacheError, match="not JSON"):
        canonical(value)


def test_cycles_and_depths_are_refused():
    cycle: list[object] = []
    cycle.append(cycle)
    with pytest.raises(CacheError, match="not JSON"):
        canonical(cycle)
    deep: object = 0
    for _ in range(MAX_DEPTH - 1):
        deep = [deep]
    canonical(deep)
    with pytest.raises(CacheError, match="nested deeper"):
        canonical([deep])
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(CacheError):
        canonical(deep)
