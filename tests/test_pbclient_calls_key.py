"""What is asked is spelled part by part as it would be as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache import canonical, digest, digest_of
from pbclient.calls.key import KeyWriter, request_json, response_from, response_json
from providers import EncodedImage, Json, Message, Request, Response, Usage


@dataclass(frozen=True)
class Shown:
    """An image of which only the identity matters here."""

    identity: Mapping[str, Json]

    async def encode(self) -> EncodedImage:
        raise AssertionError("nobody decodes an image for a key")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=4)
PARTS = st.text(st.characters()) | OBJECTS.map(Shown)
MESSAGES = st.builds(
    Message, st.sampled_from(["system", "user", "assistant"]), st.lists(PARTS, max_size=3).map(tuple)
)
REQUESTS = st.builds(
    Request, st.lists(MESSAGES, max_size=3).map(tuple), OBJECTS, st.integers(0, 10**6), st.integers(0, 9)
)


@given(OBJECTS, st.lists(REQUESTS, max_size=4))
def test_spelling_is_that_of_the_description(identity: dict[str, Json], requests: list[Request]) -> None:
    spelling = KeyWriter(identity)
    for request in [*requests, *requests[:1]]:
        spelled = spelling(request)
        assert spelled == canonical(request_json(identity, request))
        assert digest_of(spelled) == digest(request_json(identity, request))


def test_options_that_change_on_the_way_change_the_spelling() -> None:
    spelling, request = KeyWriter({}), Request((Message("user", ("?",)),), {"max_tokens": 5})
    first = spelling(request)
    other = spelling(request._replace(params={"max_tokens": 6}))
    assert first != other
    assert spelling(request) == first


RESPONSE = Response("A", "stop", Usage(4, 2, 1, 1, 0), 0.5, "served", seconds=1.25)


def test_answers_are_unpacked_as_they_were_packed() -> None:
    packed = response_json(RESPONSE, "a run", 7)
    assert response_from(packed) == RESPONSE
    assert response_from(packed, "a key") == RESPONSE._replace(key="a key", hit=True)
    bare = RESPONSE._replace(usage=None, cost=None, model=None)
    assert response_from(response_json(bare, "a run", 7)) == bare


def test_an_answer_of_before_took_nobody_knows_how_long() -> None:
    packed = response_json(RESPONSE, "a run", 7)
    del packed["seconds"]
    assert response_from(packed) == RESPONSE._replace(seconds=0.0)


@pytest.mark.parametrize(
    "change",
    [
        {"text": None},
        {"text": ["A"]},
        {"finish": "bored"},
        {"usage": {"tokens": 1}},
        {"usage": 5},
        {"key": "0"},
        {"hit": True},
        {"more": 1},
        {"seconds": "long"},
    ],
)
def test_what_was_not_packed_is_no_answer(change: dict[str, Json]) -> None:
    with pytest.raises(ValueError, match="not a stored answer"):
        response_from({**response_json(RESPONSE, "a run", 7), **change})


@pytest.mark.parametrize("answer", [None, 1, "A", [], {}, {"text": "A"}])
def test_other_json_is_no_answer(answer: Json) -> None:
    with pytest.raises(ValueError, match="not a stored answer"):
        response_from(answer)
