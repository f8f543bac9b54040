"""A chat completion of llama.cpp as our answer."""

from __future__ import annotations

from typing import Any

import pytest

from providers import ContextExceeded, MalformedResponse, Usage
from providers.catalog.target import Asked
from providers.llama.engine import read_answer


def answer(content: Any = "Yes.", finish: str = "stop", said: int = 3, **message: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 20, "completion_tokens": said, "total_tokens": 20 + said}
    choice = {
        "finish_reason": finish,
        "index": 0,
        "message": {"role": "assistant", "content": content, **message},
    }
    return {"choices": [choice], "model": "tiny.gguf", "usage": usage}


def read(raw: dict[str, Any], most: int = 12):
    return read_answer(raw, Asked("llama.cpp", "tiny.gguf"), {"max_tokens": most}, 256)


def test_it_costs_nothing():
    response = read(answer())
    assert (response.text, response.finish, response.cost) == ("Yes.", "stop", 0.0)
    assert response.usage == Usage(20, 3)


@pytest.mark.parametrize("thoughts", ["<think>\nA, or B?\n</think>\n\n", "A, or B?</think>"])
def test_what_it_thought_is_no_part_of_its_answer(thoughts):
    assert read(answer(f"{thoughts}Yes.")).text == "Yes."
    assert read(answer(thoughts)).text == ""


@pytest.mark.parametrize("content", ["", None, " \n"])
def test_saying_nothing_is_an_answer(content):
    response = read(answer(content, said=1))
    assert (response.text, response.finish, response.usage) == ("", "stop", Usage(20, 1))


def test_an_answer_that_nobody_counted_is_none():
    with pytest.raises(MalformedResponse):
        read(answer("", said=0))


@pytest.mark.parametrize("raw", [{}, {"choices": []}, {"choices": [{}]}, {"choices": [{"message": "x"}]}])
def test_what_holds_no_answer_is_none(raw):
    with pytest.raises(MalformedResponse):
        read(raw)


def test_the_output_limit_cuts():
    assert read(answer("Yes and", "length", 12)).finish == "length"


def test_a_full_slot_is_not_the_output_limit():
    with pytest.raises(
        ContextExceeded, match="The prompt has 20 tokens, and its answer did not fit in a slot of 256"
    ):
        read(answer("Yes and", "length", 12), most=500)
