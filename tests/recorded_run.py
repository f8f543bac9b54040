"""Run folders with the episodes that a test names, written by the code that writes them in a run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from runs import Episodes, RunFolder

type Line = dict[str, Any]


def choice(dataset: str, sample: int, correct: bool, suggestions: int = 0, repeat: int = 0) -> Line:
    """A resolved episode of multiple choice."""
    return _line(dataset, sample, repeat, "resolved", correct=correct, suggestions=suggestions)


def answer(dataset: str, sample: int, correct: bool | None, suggestion: int | None, repeat: int = 0) -> Line:
    """A resolved open-ended episode; one that nobody has judged where `correct` is None."""
    verdict = None if correct is None else _verdict(int(correct), int(suggestion or 0))
    return _line(
        dataset, sample, repeat, "resolved", correct=correct, suggestions=suggestion, verdict=verdict
    )


OPTIONS = ["Rewind the video.", "I do not know.", "a cat", "a dog"]
# What an answer is, and the environment's two words for it.
_WORDS = {
    "s": (OPTIONS[0], "correct", "mismatch"),  # a suggestion that it takes
    "x": (OPTIONS[0], "wrong", "mismatch"),  # a suggestion that it does not take
    "a": (OPTIONS[1], "wrong", "mismatch"),  # an abstention
    "r": (OPTIONS[2], "mismatch", "correct"),  # the right category
    "w": (OPTIONS[3], "mismatch", "wrong"),  # another category
    "m": ("Hm.", "mismatch", "mismatch"),  # none of the options
}


def played(dataset: str, sample: int, letters: str, repeat: int = 0) -> Line:
    """A resolved episode of multiple choice with its turns: a letter each, of those in `_WORDS`."""
    turns = []
    for letter in letters:
        answer_, action, category = _WORDS[letter]
        turns.append({"options": OPTIONS, "answer": answer_, "action": action, "category": category})
    right = letters[-1] == "r"
    line = _line(dataset, sample, repeat, "resolved", correct=right, suggestions=len(letters) - 1)
    return {**line, "turns": turns}


def unresolved(dataset: str, sample: int, outcome: str = "refused", repeat: int = 0) -> Line:
    """An episode without a score."""
    return _line(dataset, sample, repeat, outcome, correct=False, suggestions=0)


def _verdict(category: int, suggestion: int) -> Line:
    figures = {
        "category_prediction": category,
        "proactive_suggestion": suggestion,
        "aggregate": int(category or suggestion),
    }
    return {**figures, "judge": "a judge", "valid": ["[]", "[]"], "official": figures, "turns": []}


def _line(dataset: str, sample: int, repeat: int, outcome: str, **fields: Any) -> Line:
    which = {"dataset": dataset, "sample": str(sample), "repeat": repeat, "outcome": outcome}
    return {**which, **fields, "turns": []}


def record(path: Path, lines: Iterable[Line], *, data: Any = "the data", **config: Any) -> Path:
    """A run folder that holds these episodes."""
    asked = {
        "provider": "openai",
        "model": path.name,
        "mode": "mcqa",
        "params": {"temperature": 0.0},
        **config,
    }
    manifest = {"id": path.name, "config": asked, "data": data, "settings": {}}
    with RunFolder.start(path, manifest) as folder, Episodes(folder.episodes) as episodes:
        for line in lines:
            episodes.append(line)
    return path
