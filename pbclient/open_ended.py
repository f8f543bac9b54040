"""The open-ended protocol, taken from the installed package: its hint, its answers, its judge's messages.

How a judge's answer is read is the business of `verdicts`, who asks it that of `judge`.
"""

from __future__ import annotations

import ast
import importlib.util
import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pbclient.benchmark import Environment, guarded
from pbclient.errors import InputError
from providers import Message

# The package's example judges so many samples of a data set.
SUBSET = 100
_SHUFFLE_SEED = 0
_EXAMPLE = Path("tests", "oeg.py")


def subset[T](samples: Sequence[T], limit: int | None) -> list[T]:
    """The samples that the package's example takes, in its order: shuffled with seed 0, the first so many."""
    shuffled = list(samples)
    # Its own generator gives what `random.seed(0); random.shuffle(...)` gives.
    random.Random(_SHUFFLE_SEED).shuffle(shuffled)
    return shuffled[: SUBSET if limit is None else limit]


def valid_answers(environment: Environment) -> tuple[str, str]:
    """What the environment would accept, asked twice as the package's example does.

    The judge is shown the first and read with the second: the environment of CIT adds to its list
    each time.
    """
    return (
        guarded(environment.get_open_ended_gen_answers),
        guarded(environment.get_open_ended_gen_answers),
    )


def judge_messages(prompt: str, valid: str, answer: str) -> tuple[Message, ...]:
    """The package's messages to a judge."""
    from proactivebench.open_ended_gen import get_oeg_judge_messages

    messages = guarded(lambda: get_oeg_judge_messages(prompt, valid, answer))
    return tuple(Message(each["role"], (each["content"],)) for each in messages)


@cache
def hint() -> str:
    """The sentence that the package's example adds to the prompt, from the installed file."""
    spec = importlib.util.find_spec("proactivebench")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        path = Path(folder) / _EXAMPLE
        if path.is_file():
            return _added_to_prompt(path.read_text(encoding="utf-8"))
    raise InputError(f"The installed proactivebench has no {_EXAMPLE}: install proactivebench 0.1.1.")


def _added_to_prompt(source: str) -> str:
    """The one text that the source adds to `state["prompt"]`."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.AugAssign(
                target=ast.Subscript(slice=ast.Constant(value="prompt")), value=ast.Constant(value=str(text))
            ):
                return text
    raise InputError(f"The installed proactivebench has no hint in {_EXAMPLE}: install proactivebench 0.1.1.")
