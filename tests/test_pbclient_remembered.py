"""What environments remember changes nothing that they say."""

from __future__ import annotations

import copy
import random
from typing import Any, ClassVar

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proactivebench.environment import get_environment

from pbclient import remembered
from pbclient.benchmark import DATA_SETS, environment_class
from pbclient.remembered import remembering
from pbclient.samples import builtin_folder

NAMES = [each.acronym for each in DATA_SETS]
ROWS = {
    each.acronym: [
        orjson.loads(line) for line in (builtin_folder() / each.file_name).read_bytes().splitlines()
    ]
    for each in DATA_SETS
}


def disguised(words: str, number: int) -> str:
    """An option as models write it."""
    letter = chr(65 + number)
    return random.choice(
        [
            words,
            f"{letter}. {words}",
            letter,
            f"{letter}.",
            words.upper(),
            f" {words}\n",
            f"I say {letter}.  {words}",
        ]
    )


def seen(environment: Any) -> dict[str, Any]:
    """All that an environment holds."""
    return copy.deepcopy(vars(environment))


@settings(max_examples=150)
@given(st.data(), st.sampled_from(NAMES), st.booleans(), st.booleans(), st.integers(0, 2**32))
def test_every_episode_goes_as_without(
    data: st.DataObject, name: str, reference: bool, randomly: bool, seed: int
) -> None:
    random.seed(seed)
    row = data.draw(st.sampled_from(ROWS[name]))
    plain = get_environment(next(each.stem for each in DATA_SETS if each.acronym == name))
    both = [
        make(copy.deepcopy(row), "", reference=reference, random=randomly)
        for make in (plain, environment_class(name))
    ]
    while not both[0].stop:
        shown = [each.get_state(hint=True) for each in both]
        assert {**shown[0], "transform": None} == {**shown[1], "transform": None}
        number = data.draw(st.integers(0, len(shown[0]["options"]) - 1))
        option = disguised(shown[0]["options"][number], number)
        answer = data.draw(st.sampled_from([option, option, option]) | st.text(max_size=300))
        before = random.getstate()
        errors: list[str] = []
        for each in both:
            random.setstate(before)
            try:
                each.evaluate_generated_answer(answer)
            except Exception as error:  # of the package's asserts
                errors.append(repr(error))
        assert len(set(errors)) <= 1
        assert len(errors) in (0, 2)
        assert seen(both[0]) == seen(both[1])
        if errors:
            return
    assert both[0].get_statistics() == both[1].get_statistics()
    assert repr(both[0]) == repr(both[1])


@pytest.mark.parametrize("name", NAMES)
@given(st.text(), st.text(max_size=3))
def test_words_are_read_as_without(name: str, words: str, more: str) -> None:
    environment = environment_class(name)(ROWS[name][0], "")
    read: Any = environment
    plain = type(environment).__mro__[1]
    for each in (words, words * 40, f"{more}A. {words}", more, words):
        assert read._standardize_full_answer(each) == plain._standardize_full_answer(read, each)
        assert read._standardize_letter_answer(each) == plain._standardize_letter_answer(read, each)


class Asked:
    """Stands for a class of the package, and notes what it is asked."""

    calls: ClassVar[list[object]] = []

    def __init__(self) -> None:
        self.action_map = {"left": 1, "right": 2}
        self.suffix = "!"

    def _standardize_full_answer(self, answer: str) -> str:
        Asked.calls.append(answer)
        return answer.lower()

    def _standardize_letter_answer(self, answer: str) -> str:
        Asked.calls.append(answer)
        return answer[:1]

    def _check_substrings(self) -> bool:
        Asked.calls.append(tuple(self.action_map))
        return "bad" not in self.action_map


class LooksFurther(Asked):
    """As another version of the package might be."""

    def _standardize_full_answer(self, answer: str) -> str:
        return answer.lower() + self.suffix

    def _standardize_letter_answer(self, answer: str) -> str:
        return answer[:1] + self.suffix

    def _check_substrings(self) -> bool:
        return self.suffix == "!"


@pytest.fixture(autouse=True)
def _nothing_asked() -> None:
    Asked.calls.clear()


def test_the_same_is_asked_once() -> None:
    made = remembering(Asked)
    for _ in range(3):
        each = made()
        assert each._standardize_full_answer("Left") == "left"
        assert each._standardize_letter_answer("Left") == "L"
        assert each._check_substrings() is True
    assert Asked.calls == ["Left", "Left", ("left", "right")]


def test_other_actions_are_asked_about_anew() -> None:
    made = remembering(Asked)()
    assert made._check_substrings()
    made.action_map = {"left": 1, "bad": 2}
    assert not made._check_substrings()
    made.action_map = {"left": 1, "right": 2}
    assert made._check_substrings()


def test_a_long_answer_is_not_kept() -> None:
    made = remembering(Asked)()
    for _ in range(2):
        assert made._standardize_full_answer("A" * 201) == "a" * 201
        assert made._standardize_full_answer("A" * 200) == "a" * 200
    assert Asked.calls == ["A" * 201, "A" * 200, "A" * 201]


def test_many_words_are_not_all_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_WORDS", 2)
    made = remembering(Asked)()
    for words in ("A", "B", "A", "C", "C", "A"):
        assert made._standardize_full_answer(words) == words.lower()
    assert Asked.calls == ["A", "B", "C", "A"]


def test_a_method_that_looks_further_is_asked_every_time() -> None:
    made = remembering(LooksFurther)()
    assert made._standardize_full_answer("Left") == "left!"
    assert made._standardize_letter_answer("Left") == "L!"
    assert made._check_substrings()
    made.suffix = "?"
    assert made._standardize_full_answer("Left") == "left?"
    assert made._standardize_letter_answer("Left") == "L?"
    assert not made._check_substrings()


@pytest.mark.parametrize("odd", [None, 3, ["a"]])
def test_what_is_no_answer_raises_as_without(odd: object) -> None:
    environment: Any = environment_class("ROD")(ROWS["ROD"][0], "")
    with pytest.raises(TypeError):
        environment._standardize_full_answer(odd)


@pytest.mark.parametrize("name", NAMES)
def test_the_class_has_the_packages_name(name: str) -> None:
    made: Any = environment_class(name)
    plain = made.__mro__[1]
    assert issubclass(made, plain)
    assert (made.__name__, made.__module__) == (plain.__name__, plain.__module__)
    assert environment_class(name) is made
