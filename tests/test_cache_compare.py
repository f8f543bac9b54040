"""Where two requests differ, and the stored one that comes nearest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache import Difference, Entry, differences, digest, nearest

LEAVES = (
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, -0.0, 1.0]) | st.text(max_size=3)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(VALUES, VALUES)
def test_there_are_differences_exactly_where_the_digests_differ(old, new):
    assert bool(differences(old, new)) == (digest(old) != digest(new))


@given(VALUES, VALUES)
def test_paths_are_distinct_and_the_same_both_ways(old, new):
    paths = [difference.path for difference in differences(old, new)]
    assert len(set(paths)) == len(paths)
    assert paths == [difference.path for difference in differences(new, old)]


REQUEST = {
    "model": "m",
    "messages": [{"parts": ["look", {"sha256": "aa"}]}],
    "params": {"temperature": 0, "top p": 1},
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"model": "n"}, [Difference("model", '"m"', '"n"', 0)]),
        (
            {"messages": [{"parts": ["look", {"sha256": "ab"}]}]},
            [Difference("messages[0].parts[1].sha256", '"aa"', '"ab"', 1)],
        ),
        ({"params": {"temperature": 0.0, "top p": 1}}, [Difference("params.temperature", "0", "0.0")]),
        ({"params": {"temperature": 0}}, [Difference('params["top p"]', "1", "(absent)")]),
        (
            {"messages": [{"parts": ["look"]}], "seed": 7},
            [
                Difference("messages[0].parts[1]", '{"sha256": "aa"}', "(absent)"),
                Difference("seed", "(absent)", "7"),
            ],
        ),
        ({"messages": []}, [Difference("messages[0]", '{"parts": ["look", {"sha256": "aa"}]}', "(absent)")]),
        ({"messages": None}, [Difference("messages", '[{"parts": ["look", {"sha256": "aa"}]}]', "null")]),
        ({}, []),
    ],
)
def test_differences(change, expected):
    assert differences(REQUEST, REQUEST | change) == expected


def test_the_whole_value_and_odd_keys_have_paths():
    assert differences(1, True) == [Difference("$", "1", "true")]
    assert differences(0.0, -0.0) == [Difference("$", "0.0", "-0.0")]
    assert differences({"": 1, "a.b": {"c-d": 1}}, {"": 2, "a.b": {"c-d": 2}}) == [
        Difference('[""]', "1", "2"),
        Difference('["a.b"].c-d', "1", "2"),
    ]
    assert differences(["\ud800"], ["x"]) == [Difference("[0]", '"\\ud800"', '"x"', 0)]


def test_long_texts_are_shown_where_they_part():
    text = "".join(f"line {number}\n" for number in range(100))
    (found,) = differences([text + "yes" + text], [text + "no" + text])
    assert found.at == len(text)
    for shown, word in ((found.old, "yesline"), (found.new, "noline")):
        assert word in shown
        assert shown.startswith("…")
        assert shown.endswith("…")
        assert len(shown) < 80
    (longer,) = differences([text], [text + "more"])
    assert longer.at == len(text)
    assert longer.old.endswith('99\\n"')
    assert longer.new.endswith('more"')
    (added,) = differences([], [list(range(1000))])
    assert len(added.new) < 80


def test_nested_deeply():
    old: object = 1
    new: object = 2
    for _ in range(5000):
        old, new = [old], [new]
    (found,) = differences(old, new)
    assert found.path == "[0]" * 5000


def entry(asked, stored):
    return Entry(asked, "answer", stored)


def test_nearest_is_the_one_with_the_fewest_differences():
    asked = {"a": 1, "b": 2, "c": 3}
    entries = [
        ("far", entry({"a": 0, "b": 0, "c": 0}, 9.0)),
        ("near", entry({"a": 1, "b": 2, "c": 0}, 1.0)),
        ("middle", entry({"a": 1, "b": 0, "c": 0}, 9.0)),
    ]
    for order in (entries, entries[::-1]):
        key, found, where = nearest(iter(order), asked)
        assert (key, found.stored) == ("near", 1.0)
        assert where == [Difference("c", "0", "3")]


def test_of_equally_near_ones_the_newest():
    old, new = ("old", entry({"a": 2}, 1.0)), ("new", entry({"a": 3}, 2.0))
    for order in ([old, new], [new, old]):
        assert nearest(order, {"a": 1})[0] == "new"


def test_nearest_of_none_and_of_the_same():
    assert nearest([], {"a": 1}) is None
    assert nearest([("same", entry({"a": 1}, 1.0))], {"a": 1})[2] == []
