"""The open-ended protocol of the installed package: hint, answers, a judge's messages and its verdict."""

from __future__ import annotations

import ast
import importlib.util
import random
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pbclient.benchmark.package import Environment, guarded
from pbclient.benchmark.search import fork
from pbclient.errors import InputError
from providers import Message

# How many turns an open-ended episode has: `--turns`.
ONE, MANY = "one", "many"

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


def turn_suggestions(dataset: str, environment: Environment) -> tuple[str, ...]:
    """The suggestions that the package's list for a first state holds, as many as its parser takes them for.

    They are the same in all turns: later lists of the package repeat some of them or have none, and its
    parser, which knows them by their number, would take a category for a suggestion.
    """
    from proactivebench.open_ended_gen import PREDICTION_THR

    count = PREDICTION_THR[dataset]
    # Asking may change what is asked.
    items = _items(guarded(fork(environment).get_open_ended_gen_answers))
    categories = _items(",".join(environment.categories))
    found = [item for item in dict.fromkeys(items) if item not in categories][:count]
    return (*found, *found[-1:] * (count - len(found)))


def listed(suggestions: Sequence[str], environment: Environment) -> str:
    """What a judge is shown in a turn: the suggestions, then the right category where it would be taken now.

    So a category counts in ROD and MVP-N too, as in the paper's table; the list of one turn has none there.
    """
    _, categories = guarded(fork(environment)._get_correct_options_and_categories)
    return ", ".join([*suggestions, *(category.replace(".", "") for category in categories)]) + "."


def _items(answers: str) -> list[str]:
    return [item.strip().replace(".", "") for item in answers.split(",")]


def means(environment: Environment, suggestion: str) -> set[int]:
    """The actions of this environment that a suggestion names, by the package's own table of words."""
    text = f"{suggestion.removesuffix('.').lower()}."
    table = environment.action_map.items()
    return {action for words, action in table if action in environment.action_space and words in text}


def affirmed(dataset: str, verdict: Mapping[str, Any]) -> list[str]:
    """The suggestions that a recorded verdict on one turn finds in an answer, in their order."""
    from proactivebench.open_ended_gen import PREDICTION_THR

    items = _items(verdict["valid"][1])
    text = str(verdict["turns"][-1]["answer"]).rpartition("</think>")[2]
    figures = [character for character in text if character in "01"][-len(items) :]
    marked = zip(items[: PREDICTION_THR[dataset]], figures, strict=False)
    return [item for item, figure in marked if figure == "1"]


def over_turns(
    each: Sequence[Mapping[str, Any]], *, resolved: bool
) -> tuple[dict[str, int | None], dict[str, int]]:
    """The figures of an episode from the verdicts of its turns, and as the package's first reading has them.

    A category in any turn, a suggestion in any turn, either; all null where it is not `resolved`. By first
    readings it ends where they would have led elsewhere.
    """
    official: list[Mapping[str, int]] = []
    for verdict in each:
        official.append(verdict["official"])
        if any(verdict["official"][name] != verdict[name] for name in VERDICT_FIGURES):
            break
    own = {name: max(int(verdict[name]) for verdict in each) for name in VERDICT_FIGURES} if resolved else {}
    first = {name: max(verdict[name] for verdict in official) for name in VERDICT_FIGURES}
    return {name: own.get(name) for name in VERDICT_FIGURES}, first


def judge_messages(prompt: str, valid: str, answer: str) -> tuple[Message, ...]:
    """The package's messages to a judge."""
    from proactivebench.open_ended_gen import get_oeg_judge_messages

    messages = guarded(lambda: get_oeg_judge_messages(prompt, valid, answer))
    return tuple(Message(message["role"], (message["content"],)) for message in messages)


@cache
def hint() -> str:
    """The sentence that the package's example adds to the prompt, from the installed file."""
    spec = importlib.util.find_spec("proactivebench")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        path = Path(folder) / _EXAMPLE
        if not path.is_file():
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                # The one text that the source adds to `state["prompt"]`.
                case ast.AugAssign(
                    target=ast.Subscript(slice=ast.Constant(value="prompt")),
                    value=ast.Constant(value=str(text)),
                ):
                    return text
    raise InputError(f"The installed proactivebench has no hint in {_EXAMPLE}: install proactivebench 0.1.1.")


_EXCHANGED = str.maketrans("01", "10")


# The package's three figures of a verdict, each 0 or 1, as it names and orders them.
VERDICT_FIGURES = ("proactive_suggestion", "category_prediction", "aggregate")


def read_verdict(valid: str, text: str, dataset: str) -> tuple[dict[str, int], bool]:
    """The figures in `text`, a judge's whole answer with its thinking, and whether there is a verdict.

    Without one they are the zeros that the package counts: no score of ours. `dataset` is an acronym
    and `valid` the second of `valid_answers`. It differs from what the judge was shown only for CIT
    where the first frame lies inside the film: a verdict as long as the list that the judge saw then
    does not parse, and that is the benchmark's rule.
    """
    from proactivebench.open_ended_gen import parse_judge_prediction

    verdict = text.rpartition("</think>")[2].strip("\n")

    def parse(output: str) -> dict[str, int]:
        figures: dict[str, int] = parse_judge_prediction(
            valid_answers=valid, raw_judge_output=output, dataset=dataset
        )
        return figures

    figures = parse(verdict)
    # A verdict has at least one figure: all zeros, exchanged, are all ones; what has no verdict stays 0.
    parsed = bool(figures["aggregate"] or parse(verdict.translate(_EXCHANGED))["aggregate"])
    return {key: figures[key] for key in VERDICT_FIGURES}, parsed
