"""Options as LiteLLM's arguments. Whether they arrive is tested over HTTP in the tests of `hosted`."""

import pytest

from providers import Json
from providers.errors import BadRequest, ParameterRejected
from providers.hosted.options import arguments
from providers.types import RESERVED

OWN = frozenset({"metadata", "temperature", "timeout"})


def test_a_server_of_ones_own_gets_them_as_they_are() -> None:
    params = {"max_tokens": 5, "temperature": 0.0, "metadata": {"a": 1}, "none": None}
    assert arguments("hosted_vllm", "m", params, OWN) == {
        "extra_body": {"max_tokens": 5, "temperature": 0.0, "metadata": {"a": 1}}
    }


def test_others_get_the_known_ones_translated() -> None:
    assert arguments("groq", "m", {"max_tokens": 5}, OWN) == {"max_tokens": 5}
    assert arguments("groq", "m", {"max_tokens": 5, "top_k": 1, "timeout": 2}, OWN) == {
        "max_tokens": 5,
        "extra_body": {"top_k": 1, "timeout": 2},
    }


def test_openrouter_is_asked_for_the_cost() -> None:
    assert arguments("openrouter", "m", {"max_tokens": 5}, OWN)["extra_body"] == {"usage": {"include": True}}


def test_google_keeps_its_own_fields_apart() -> None:
    params = {
        "max_tokens": 5,
        "top_k": 1,
        "safetySettings": [],
        "generationConfig": {"mediaResolution": "LOW"},
    }
    assert arguments("gemini", "m", params, OWN) == {
        "max_tokens": 5,
        "extra_body": {"safetySettings": [], "generationConfig": {"mediaResolution": "LOW", "top_k": 1}},
    }


def test_what_cannot_be_sent_is_refused_aloud() -> None:
    assert arguments("anthropic", "m", {"temperature": 1, "top_k": 2}, OWN) == {"temperature": 1, "top_k": 2}
    for name in ("metadata", "timeout", "response_format", "anthropic_beta"):
        with pytest.raises(ParameterRejected) as caught:
            arguments("anthropic", "m", {name: {}}, OWN)
        assert caught.value.parameter == name
        assert not caught.value.billed


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_what_is_asked_is_no_option(name: str) -> None:
    with pytest.raises(ParameterRejected):
        arguments("hosted_vllm", "m", {name: 1}, OWN)


def test_nothing_of_the_request_is_changed_or_shared() -> None:
    nested = {"generationConfig": {"a": [1]}}
    given = arguments("gemini", "m", {**nested, "top_k": 1}, OWN)
    given["extra_body"]["generationConfig"]["a"].append(2)
    assert nested == {"generationConfig": {"a": [1]}}


@pytest.mark.parametrize(
    "params",
    [
        *({"stop": stop} for stop in ([], 5, {}, [1], ["a", 1], ["a"] * 5)),
        *(
            {name: limit}
            for name in ("max_tokens", "max_completion_tokens")
            for limit in (1.5, 5.0, "5", True)
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("route", ["anthropic", "openrouter", "gemini"])
def test_values_that_litellm_would_change_are_refused(route: str, params: dict[str, Json]) -> None:
    with pytest.raises(BadRequest, match="LiteLLM") as caught:
        arguments(route, "m", params, OWN)
    # A rejected option would be dropped instead.
    assert type(caught.value) is BadRequest
    assert not caught.value.billed
    assert arguments("hosted_vllm", "m", params, OWN) == {"extra_body": params}


def test_values_that_arrive_are_passed_on() -> None:
    for stop in ("x", "", ["a"], ["a", "b", "c", "d"]):
        assert arguments("anthropic", "m", {"stop": stop, "max_tokens": 5}, OWN) == {
            "stop": stop,
            "max_tokens": 5,
        }


@pytest.mark.parametrize(
    ("model", "kind", "sent"),
    [
        ("claude-haiku-4-5", "adaptive", False),
        ("claude-haiku-4-5", "disabled", True),
        ("claude-haiku-5-5", "adaptive", True),
        ("claude-haiku-5-5", "disabled", True),
        ("claude-fable-5", "adaptive", True),
        ("claude-fable-5", "disabled", False),
    ],
)
def test_a_way_of_thinking_that_litellm_would_drop_is_refused(model: str, kind: str, sent: bool) -> None:
    params: dict[str, Json] = {"thinking": {"type": kind}}
    if sent:
        assert arguments("anthropic", model, params, OWN) == params
    else:
        with pytest.raises(BadRequest, match=f"`thinking` .*{model}"):
            arguments("anthropic", model, params, OWN)
