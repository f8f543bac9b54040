"""The package's environments, with what they work out again and again remembered.

More than half of an environment's time goes into small questions: how an answer, an option or a
category reads once its case and spaces are gone, for the same words at every turn, and whether the
names of its actions hold each other, for the same names at every episode. The package's own methods
answer them, once. That they look at nothing else was read in the source text that `KNOWN` stands for:
of any other, nothing is remembered.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# The SHA-256 of `proactivebench/environment.py` in version 0.1.1.
KNOWN = frozenset(("8bc6b8e53afeb2a476d7f1db7a7632f9c26025999559b7f7681cabe2f99ddf68",))

_WORDS = 2048  # remembered by each method: those of a data set's options and categories, and answers
_LONG = 100  # characters; an answer that reasons is read once and would only take up room


def remembering(plain: Any) -> Any:
    """The same environment class, for the same scores in less time; itself where its code is not known."""
    return with_memory(plain) if _digest(plain) in KNOWN else plain


def with_memory(plain: Any) -> Any:
    """`remembering` for a class whose code is known."""
    methods = {
        "_standardize_full_answer": _reading(plain._standardize_full_answer),
        "_standardize_letter_answer": _reading(plain._standardize_letter_answer),
        "_check_substrings": _checking(plain._check_substrings),
    }
    return type(plain.__name__, (plain,), {**methods, "__module__": plain.__module__})


def _digest(plain: Any) -> str | None:
    """That of the source text a class was made from."""
    path = getattr(sys.modules.get(plain.__module__), "__file__", None)
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else None
    except OSError:
        return None


def _reading(read: Callable[[Any, str], str]) -> Callable[[Any, str], str]:
    """A method that reads words, and remembers how they read."""
    known: dict[str, str] = {}

    def reading(self: Any, words: str) -> str:
        if type(words) is not str:
            return read(self, words)
        found = known.get(words)
        return anew(self, words) if found is None else found

    def anew(self: Any, words: str) -> str:
        found = read(self, words)
        if len(words) <= _LONG:
            if len(known) >= _WORDS:
                known.clear()
            known[words] = found
        return found

    return reading


def _checking(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """A method that checks an environment's actions, and remembers those that were good last."""
    good: Mapping[str, Any] | None = None

    def checking(self: Any) -> bool:
        nonlocal good
        if self.action_map == good:
            self.action_map = good  # nobody changes it, and thousands at once need not hold one each
            return True
        is_good = check(self)
        if is_good:
            good = dict(self.action_map)
        return is_good

    return checking
