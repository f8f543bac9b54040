"""What environments remember changes nothing that they say."""

from __future__ import annotations

import copy
import importlib.util
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proactivebench import environment
from proactivebench.environment import get_environment

from pbclient.benchmark import remembered
from pbclient.benchmark.package import DATA_SETS, environment_class
from pbclient.benchmark.remembered import remembering, with_memory
from pbclient.data.samples import builtin_folder

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


def seen(made: Any) -> dict[str, Any]:
    """All that an environment holds."""
    return copy.deepcopy(vars(made))


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
    read: Any = environment_class(name)(ROWS[name][0], "")
    plain = type(read).__mro__[1]
    for each in (words, words * 40, f"{more}A. {words}", f"A. {words}", f"\nA. {words}", more, words):
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


@pytest.fixture(autouse=True)
def _nothing_asked() -> None:
    Asked.calls.clear()


def test_the_same_is_asked_once() -> None:
    made = with_memory(Asked)
    for _ in range(3):
        each = made()
        assert each._standardize_full_answer("Left") == "left"
        assert each._standardize_letter_answer("Left") == "L"
        assert each._check_substrings() is True
    assert Asked.calls == ["Left", "Left", ("left", "right")]


def test_other_actions_are_asked_about_anew() -> None:
    made = with_memory(Asked)()
    assert made._check_substrings()
    made.action_map["bad"] = 3  # in place: what was good is not what is there now
    assert not made._check_substrings()
    assert not made._check_substrings()
    made.action_map = {"left": 1}
    assert made._check_substrings()
    made.action_map = {"left": 1, "right": 2}
    assert made._check_substrings()
    names = ("left", "right")
    assert Asked.calls == [names, (*names, "bad"), (*names, "bad"), ("left",), names]


def test_thousands_of_environments_hold_one_map() -> None:
    maps = [environment_class("QD")(ROWS["QD"][0], "").action_map for _ in range(4)]
    assert len({id(each) for each in maps[1:]}) == 1
    assert maps[0] == maps[1]


def test_a_long_answer_is_not_kept() -> None:
    made = with_memory(Asked)()
    for _ in range(2):
        assert made._standardize_full_answer("A" * 101) == "a" * 101
        assert made._standardize_full_answer("A" * 100) == "a" * 100
    assert Asked.calls == ["A" * 101, "A" * 100, "A" * 101]


def test_many_words_are_not_all_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_WORDS", 2)
    made = with_memory(Asked)()
    for words in ("A", "B", "A", "C", "C", "A"):
        assert made._standardize_full_answer(words) == words.lower()
    assert Asked.calls == ["A", "B", "C", "A"]


class Loud(str):
    """A text that reads otherwise."""

    def lower(self) -> str:
        return "loud"

    def split(self, *_: Any) -> list[str]:  # type: ignore[override]
        return ["loud"]


@pytest.mark.parametrize("odd", [None, 3, ["a"], b"a", Loud("a")])
def test_what_is_no_plain_text_goes_as_without(odd: Any) -> None:
    made: Any = environment_class("ROD")(ROWS["ROD"][0], "")
    plain = type(made).__mro__[1]
    for method in ("_standardize_full_answer", "_standardize_letter_answer"):
        getattr(made, method)("a")
        assert told(getattr(made, method), odd) == told(getattr(plain, method), made, odd)


def told(method: Callable[..., str], *given: Any) -> str:
    try:
        return method(*given)
    except Exception as error:
        return repr(error)


@pytest.mark.parametrize("name", NAMES)
def test_the_class_has_the_packages_name(name: str) -> None:
    made: Any = environment_class(name)
    plain = made.__mro__[1]
    assert issubclass(made, plain)
    assert (made.__name__, made.__module__) == (plain.__name__, plain.__module__)
    assert environment_class(name) is made


def test_of_a_package_that_is_not_known_nothing_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(environment.__file__).read_bytes()
    for name, text, is_known in (("same", source, True), ("other", source + b"\n", False)):
        path = tmp_path / f"{name}.py"
        path.write_bytes(text)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        plain = module.MVPNEnvironment
        assert (remembering(plain) is not plain) is is_known
        path.unlink()
        assert remembering(plain) is plain
        monkeypatch.delitem(sys.modules, name)
        assert remembering(plain) is plain
