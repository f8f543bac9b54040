"""Options as LiteLLM's arguments. Whether they arrive is tested over HTTP in the tests of `hosted`."""

import pytest

from providers.errors import ParameterRejected
from providers.litellm_options import arguments
from providers.options import RESERVED

OWN = frozenset({"metadata", "temperature", "timeout"})


def test_a_server_of_ones_own_gets_them_as_they_are() -> None:
    params = {"max_tokens": 5, "temperature": 0.0, "metadata": {"a": 1}, "none": None}
    assert arguments("hosted_vllm", params, OWN) == {
        "extra_body": {"max_tokens": 5, "temperature": 0.0, "metadata": {"a": 1}}
    }


def test_others_get_the_known_ones_translated() -> None:
    assert arguments("groq", {"max_tokens": 5}, OWN) == {"max_tokens": 5}
    assert arguments("groq", {"max_tokens": 5, "top_k": 1, "timeout": 2}, OWN) == {
        "max_tokens": 5,
        "extra_body": {"top_k": 1, "timeout": 2},
    }


def test_openrouter_is_asked_for_the_cost() -> None:
    assert arguments("openrouter", {"max_tokens": 5}, OWN)["extra_body"] == {"usage": {"include": True}}


def test_google_keeps_its_own_fields_apart() -> None:
    params = {
        "max_tokens": 5,
        "top_k": 1,
        "safetySettings": [],
        "generationConfig": {"mediaResolution": "LOW"},
    }
    assert arguments("gemini", params, OWN) == {
        "max_tokens": 5,
        "extra_body": {"safetySettings": [], "generationConfig": {"mediaResolution": "LOW", "top_k": 1}},
    }


def test_what_cannot_be_sent_is_refused_aloud() -> None:
    assert arguments("anthropic", {"temperature": 1, "top_k": 2}, OWN) == {"temperature": 1, "top_k": 2}
    for name in ("metadata", "timeout", "response_format"):
        with pytest.raises(ParameterRejected) as caught:
            arguments("anthropic", {name: {}}, OWN)
        assert caught.value.parameter == name
        assert not caught.value.billed


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_what_is_asked_is_no_option(name: str) -> None:
    with pytest.raises(ParameterRejected):
        arguments("hosted_vllm", {name: 1}, OWN)


def test_nothing_of_the_request_is_changed_or_shared() -> None:
    nested = {"generationConfig": {"a": [1]}}
    given = arguments("gemini", {**nested, "top_k": 1}, OWN)
    given["extra_body"]["generationConfig"]["a"].append(2)
    assert nested == {"generationConfig": {"a": [1]}}
