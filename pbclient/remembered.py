"""The package's environments, with what they work out again and again remembered.

More than half of an environment's time goes into small questions: how an answer, an option or a
category reads once its case and spaces are gone, for the same words at every turn, and whether the
names of its actions hold each other, for the same names at every episode. The package's code still
answers them, once for each words. A method is asked with a stand-in that holds only what its answer
is remembered by: where another version of the package looks at more, nothing is remembered.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

_WORDS = 4096  # remembered for each class: those of a data set's options and categories, and answers
_LONG = 200  # characters; an answer that reasons is read once and would only take up room

# What a stand-in says to a method that looks at more than it holds, and words say that are none.
_LOOKS_FURTHER = (AttributeError, TypeError)


def remembering(plain: Any) -> Any:
    """The same environment class, for the same scores in less time."""
    methods = {
        "_standardize_full_answer": _reading(plain._standardize_full_answer),
        "_standardize_letter_answer": _reading(plain._standardize_letter_answer),
        "_check_substrings": _checking(plain._check_substrings),
    }
    return type(plain.__name__, (plain,), {**methods, "__module__": plain.__module__})


def _reading(read: Callable[[Any, str], str]) -> Callable[[Any, str], str]:
    """A method that reads words, and remembers how they read."""
    known: dict[str, str] = {}

    def reading(self: Any, words: str) -> str:
        found = known.get(words)
        return anew(self, words) if found is None else found

    def anew(self: Any, words: str) -> str:
        try:
            found = read(SimpleNamespace(), words)
        except _LOOKS_FURTHER:
            return read(self, words)
        if len(words) <= _LONG:
            if len(known) == _WORDS:
                known.clear()
            known[words] = found
        return found

    return reading


def _checking(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """A method that checks an environment's actions, and remembers those that it has found good."""
    good: dict[str, Any] = {}

    def checking(self: Any) -> bool:
        if good and self.action_map == good:
            return True
        try:
            is_good = check(SimpleNamespace(action_map=self.action_map))
        except _LOOKS_FURTHER:
            return check(self)
        if is_good:
            good.clear()
            good.update(self.action_map)
        return is_good

    return checking
