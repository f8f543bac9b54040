"""The package's environments, with what they work out again and again remembered.

More than half of an environment's time goes into two small questions: how an answer, an option or a
category reads once its case and spaces are gone, for the same words at every turn, and whether the
names of its actions hold each other, for the same names at every episode. The package's code still
answers them, once for each words. A method is asked with a stand-in that holds only what its answer
is remembered by: where another version of the package looks at more, nothing is remembered.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

_WORDS = 4096  # remembered for each class: those of a data set's options and categories, and answers
_LONG = 200  # characters; an answer that reasons is read once and would only take up room

# What a stand-in says to a method that looks at more than it holds, or what words say that are none.
_LOOKS_FURTHER = (AttributeError, TypeError)


def remembering(plain: Any) -> Any:
    """The same environment class, for the same scores in less time."""

    reading: Callable[[Any, str], str] = plain._standardize_full_answer
    checking: Callable[[Any], bool] = plain._check_substrings

    @lru_cache(maxsize=_WORDS)
    def standard(words: str) -> str:
        return reading(SimpleNamespace(), words)

    @lru_cache(maxsize=16)
    def apart(actions: tuple[tuple[str, int], ...]) -> bool:
        return checking(SimpleNamespace(action_map=dict(actions)))

    def standardize(self: Any, answer: str) -> str:
        try:
            return standard(answer) if len(answer) <= _LONG else reading(self, answer)
        except _LOOKS_FURTHER:
            return reading(self, answer)

    def check(self: Any) -> bool:
        try:
            return apart(tuple(self.action_map.items()))
        except _LOOKS_FURTHER:
            return checking(self)

    methods = {"_standardize_full_answer": standardize, "_check_substrings": check}
    return type(plain.__name__, (plain,), {**methods, "__module__": plain.__module__})
