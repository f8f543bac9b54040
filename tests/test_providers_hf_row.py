"""One row: when it is over, and with which answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from providers import BadRequest, ContextExceeded, Unusable, Usage
from providers.hf.batch import OutOfMemory, Row
from providers.hf.sampler import Options

WORDS = ["<end>", "one", " two", "</think>", "\n", " three"]
VOCABULARY: Any = SimpleNamespace(ends=(0,), decode=lambda ids: "".join(WORDS[n] for n in ids if n))


def row(context: int | None = None, prompt: int = 7, **options: Any) -> Row:
    made = Row("", (), False, Options(**{"max_tokens": 5, "temperature": 0.0, **options}))
    made.begin([9] * prompt, context)
    return made


def fed(made: Row, *tokens: int) -> Row:
    for token in tokens:
        assert not made.over
        made.take(token, VOCABULARY)
    return made


@pytest.mark.parametrize(
    ("tokens", "text", "finish"),
    [
        ((1, 2, 0), "one two", "stop"),
        ((1, 2, 5, 2, 5), "one two three two three", "length"),
        ((1, 2, 5, 2, 0), "one two three two", "stop"),  # the end may be the last token there is room for
        ((1, 3, 4, 2, 0), "two", "stop"),
        ((1, 2, 5, 2, 3), "", "length"),
    ],
)
def test_an_answer_ends_at_its_end_or_its_limit(tokens, text, finish):
    response = fed(row(), *tokens).future.result(0)
    assert (response.text, response.finish) == (text, finish)
    assert response.usage == Usage(7, len(tokens))


def test_a_stop_text_ends_it_though_it_spans_tokens():
    response = fed(row(stop=("e t", "three")), 1, 2).future.result(0)
    assert (response.text, response.finish) == ("on", "stop")


def test_the_context_leaves_so_much_room():
    assert fed(row(context=9), 1, 2).future.result(0).finish == "length"
    with pytest.raises(ContextExceeded, match="has 7 tokens with its images, but the model reads 7"):
        row(context=7)


@pytest.mark.parametrize("tokens", [(0,), (4, 0), (1, 3, 4, 0)])
def test_an_answer_without_words_is_one_that_says_nothing(tokens):
    response = fed(row(), *tokens).future.result(0)
    assert (response.text.strip(), response.finish) == ("", "stop")
    assert response.usage == Usage(7, len(tokens))


def test_beginning_again_forgets_what_was_said():
    made = fed(row(), 1, 2)
    began: list[bool] = []
    made.began = lambda: began.append(True)
    made.begin([9], None)
    assert fed(made, 5, 0).future.result(0).text == " three"
    assert began == [True]


@pytest.mark.parametrize(
    ("error", "expected", "said"),
    [
        (Unusable("The model was closed."), Unusable, "The model was closed."),
        (OutOfMemory("It is full."), BadRequest, "The model could not answer this request: It is full."),
        (KeyError(), BadRequest, "The model could not answer this request: KeyError"),
    ],
)
def test_every_failure_is_an_error_of_the_provider(error, expected, said):
    made = row()
    made.fail(error)
    assert type(made.future.exception(0)) is expected
    assert str(made.future.exception(0)) == said
    assert made.over


def test_an_asker_that_has_gone_hears_nothing():
    made = row()
    made.future.cancel()
    fed_late = Row.take
    fed_late(made, 0, VOCABULARY)
    made.fail(KeyError())
    assert made.future.cancelled()
