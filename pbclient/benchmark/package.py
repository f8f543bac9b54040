"""What is taken from the installed `proactivebench` package, unmodified.

Imported only when asked for, so that the command line starts without it.
`proactivebench.data_utils` imports torch: its table of kept ids is read from its source text and
its two small rules (which rows are skipped, how options are laid out) are written down here, held
against the installed source by tests.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol, TypedDict, cast

from pbclient.errors import DataError, EnvironmentFailed, InputError

MCQA, OEG = "mcqa", "oeg"


@dataclass(frozen=True, slots=True)
class DataSet:
    """One of the seven: its short name on the command line and the stem of its files."""

    acronym: str
    stem: str

    @property
    def file_name(self) -> str:
        """The published file that holds its samples, one a line."""
        return f"{self.stem}_preprocessed.jsonl"


DATA_SETS = (
    DataSet("ROD", "Realistic-Occlusion-Dataset"),
    DataSet("VSOD", "OcclusionDataSet-MM20"),
    DataSet("MVP-N", "MVP-N"),
    DataSet("IN-C", "ImageNet-C"),
    DataSet("QD", "QuickDraw"),
    DataSet("CIT", "ChangeIt"),
    DataSet("COCO", "coco2014"),
)

STEMS: Mapping[str, str] = {data.acronym: data.stem for data in DATA_SETS}

# The package drops a row when any of these fields is there and equal.
SKIPPED: Mapping[str, object] = {"strong_occlusions": False}


def data_set(name: str) -> DataSet:
    """The data set with this acronym or file stem, whatever the case of its letters."""
    for data in DATA_SETS:
        if name.strip().lower() in (data.acronym.lower(), data.stem.lower()):
            return data
    raise DataError(f"There is no data set {name!r}: choose from {', '.join(STEMS)}.")


class State(TypedDict):
    """What the environment shows next; `transform` is applied to the picture before it is sent."""

    image_path: str
    prompt: str
    options: list[str]
    transform: Callable[[Any], Any]


class AnsweredState(State):
    """A step of an in-context example: what was shown, and the answer that the package gives to it."""

    generated_answer: str


class Statistics(TypedDict):
    """How an episode went, in the environment's own words."""

    num_turns: int
    generated_answers: list[str]
    action_evaluations: list[str]
    category_evaluations: list[str]
    correct_prediction: bool
    image_id_history: list[int]
    action_history: list[int]
    max_steps: bool


class Environment(Protocol):
    """What we use of the package's environment objects: one is one episode of one sample."""

    options: list[str]
    correct_options: list[str]
    categories: list[str]
    action_map: Mapping[str, int]
    action_space: Collection[int]
    num_turns: int
    max_steps: int
    reference: bool
    stop: bool
    action_evaluation_history: list[str]
    category_evaluation_history: list[str]

    def get_state(self, hint: bool = False) -> State: ...

    def evaluate_generated_answer(self, generated_answer: str) -> None: ...

    def get_statistics(self) -> Statistics: ...

    def get_open_ended_gen_answers(self) -> str: ...

    def get_icl_example(
        self, hint: bool = False, cot: bool = False, resize: bool = False
    ) -> list[AnsweredState]: ...

    # Private in the package, and the only place that says which categories it would take now.
    def _get_correct_options_and_categories(self) -> tuple[list[str], list[str]]: ...


class EnvironmentClass(Protocol):
    """How the package's environments are made. With `data_dir=""` the paths they give are relative."""

    def __call__(
        self,
        entry: Mapping[str, Any],
        data_dir: str,
        *,
        resize_samples: bool = False,
        reference: bool = False,
        random: bool = False,
    ) -> Environment: ...


@cache
def environment_class(acronym: str) -> EnvironmentClass:
    """The package's environment class for one data set."""
    from proactivebench.environment import get_environment

    return cast(EnvironmentClass, get_environment(data_set(acronym).stem))


def kept_ids(acronym: str) -> frozenset[int]:
    """The ids that the benchmark keeps of one data set."""
    return _filter_table()[data_set(acronym).stem]


def skip_row(row: Mapping[str, Any]) -> bool:
    """Whether the benchmark drops this row whatever its id."""
    return any(field in row and row[field] == value for field, value in SKIPPED.items())


def multiple_choice(question: str, options: Sequence[str], *, short_answer: bool = True) -> str:
    """The protocol's fixed wording of one multiple-choice question; `short_answer` as the package has it."""
    lettered = "".join([f"{chr(65 + number)}. {option}\n" for number, option in enumerate(options)])
    text = f"{question} Choose from the following options. Options:\n{lettered}"
    return f"{text}Please only return one of the options without any other words." if short_answer else text


def data_code() -> str:
    """The source text of the package's data module, which is found without being executed."""
    spec = importlib.util.find_spec("proactivebench.data_utils")
    if spec is None or spec.origin is None:
        raise InputError("The installed proactivebench has no data_utils.py: install proactivebench again.")
    return Path(spec.origin).read_text(encoding="utf-8")


@cache
def _filter_table() -> Mapping[str, frozenset[int]]:
    for statement in ast.parse(data_code()).body:
        if isinstance(statement, ast.Assign) and "FILTER" in map(ast.unparse, statement.targets):
            table: dict[str, list[int]] = ast.literal_eval(statement.value)
            return {stem: frozenset(ids) for stem, ids in table.items()}
    raise InputError("The installed proactivebench has no FILTER table: install proactivebench 0.1.1.")


def guarded[T](step: Callable[[], T]) -> T:
    """Run one step of the package's code on an untrusted row or answer; raises `EnvironmentFailed`."""
    try:
        return step()
    except Exception as error:
        # Whatever the package's asserts and look-ups raise is about this one sample.
        reason = " ".join(str(error).split())[:300]
        raise EnvironmentFailed(
            f"The benchmark's environment failed: {type(error).__name__}: {reason}"
        ) from error


type Word = Literal["correct", "wrong", "mismatch"]


class _Rules(Protocol):
    """The part of an environment that looks at one answer or one option, and at no episode."""

    correct_options: list[str]

    def _evaluate(
        self, generated_answer: str, correct_answers: list[str], options: list[str], shift_index: int
    ) -> tuple[Word, str]: ...


def evaluate(answer: str, correct: Sequence[str], options: Sequence[str], shift: int = 0) -> tuple[Word, str]:
    """The environment's word for an answer, and the option that it found in it ("" for a mismatch).

    For answers whose environment is gone or never was: recorded turns, and completions in training.
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
