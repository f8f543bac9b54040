"""Who can be asked at all: what could only fail at the first call is refused before it."""

from __future__ import annotations

import pytest

from pbclient.errors import InputError
from pbclient.models.choice import Choice
from pbclient.models.model import resolve
from providers.direct.anthropic import NO_EFFORT


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        (Choice(provider="gemini", wire="direct"), "gemini is not reached by --wire direct"),
        (Choice(provider="anthropic", wire="direct", params={"reasoning_effort": "low"}), NO_EFFORT),
        (Choice(provider="hosted_vllm", wire="direct", model="m"), "name it with --base-url"),
        (Choice(provider="hosted_vllm", model="m"), "name it with --base-url"),
        (Choice(provider="hosted_vllm", model="m", prefix="judge-"), "name it with --judge-base-url"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_a_call(monkeypatch, choice, sentence):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    with pytest.raises(InputError) as caught:
        resolve(choice, print)
    assert sentence in str(caught.value)


def test_an_effort_goes_over_litellm_and_a_server_may_be_named_by_the_environment(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    choice = Choice(provider="anthropic", params={"reasoning_effort": "low"}, price="1,2")
    assert resolve(choice, print).params["reasoning_effort"] == "low"
    unset = Choice(provider="anthropic", wire="direct", params={"reasoning_effort": None}, price="1,2")
    assert resolve(unset, print).choice.wire == "direct"
    monkeypatch.setenv("HOSTED_VLLM_API_BASE", "http://127.0.0.1:9/v1")
    vllm = resolve(Choice(provider="hosted_vllm", model="m", wire="direct", price="1,2"), print)
    assert vllm.identity["endpoint"] == "http://127.0.0.1:9/v1"
