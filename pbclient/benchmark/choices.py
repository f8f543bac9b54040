"""Tell what an answer chose among options, by the benchmark's own rules for one answer.

For answers whose environment is gone or never was: recorded turns, and completions in training.
The caller says which options are valid, since only a whole episode tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, Protocol, cast

from pbclient.benchmark.package import environment_class

type Word = Literal["correct", "wrong", "mismatch"]


class _Rules(Protocol):
    """The part of an environment that looks at one answer or one option, and at no episode."""

    correct_options: list[str]

    def _evaluate(
        self, generated_answer: str, correct_answers: list[str], options: list[str], shift_index: int
    ) -> tuple[Word, str]: ...


def evaluate(answer: str, correct: Sequence[str], options: Sequence[str], shift: int = 0) -> tuple[Word, str]:
    """The environment's word for an answer, and the option that it found in it ("" for a mismatch).

    `shift` is how many options stand before these on the screen: it moves their letters. All of
    `correct` must be among `options`.
    """
    return _rules()._evaluate(answer, list(correct), list(options), shift)


@lru_cache(maxsize=1024)
def suggests(option: str) -> bool:
    """Whether an option is a proactive suggestion, and no abstention. It must not be a category."""
    return option in _rules(option).correct_options


@lru_cache(maxsize=16)
def _rules(*options: str) -> _Rules:
    # These rules are the same for all data sets; the environment of ROD needs the fewest fields.
    row = {
        "id": 0,
        "image_template": "",
        "first_image": 0,
        "num_images": 1,
        "reference_image": 0,
        "prompt": "",
        "options": list(options),
        "categories": [""],
        "answer": "",
    }
    return cast(_Rules, environment_class("ROD")(entry=row, data_dir=""))
