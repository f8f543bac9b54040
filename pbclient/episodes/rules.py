"""Play under the conditions of the paper, by the package's own means.

Hint, reference, resizing, in-context examples and random options are the environment's features;
here it is made and stepped with them, seeded where the package draws at random.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from pbclient.benchmark.open_ended import MANY, ONE
from pbclient.benchmark.package import OEG, Environment, State, environment_class, guarded
from pbclient.benchmark.protocol import PAPER, STRICT
from pbclient.errors import InputError

if TYPE_CHECKING:
    from pbclient.data.folder import DataFolder, Sample
    from providers.types import Json

# Only their environments make in-context examples.
WITH_EXAMPLES = ("ROD", "MVP-N")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its answer, as they stand in a conversation."""

    state: State
    answer: str


@dataclass(frozen=True, slots=True)
class Rules:
    """How the environment is run; each field is the flag of its name.

    `shots` is how many in-context examples precede the question, `cot` whether they reason aloud,
    `history` whether the conversation so far is kept, `random_options` whether suggestions come
    from other data sets, `turns` whether an open-ended episode has one or many. `protocol` says which
    answers the environment is given. `seed` seeds whatever is drawn.
    """

    hint: bool = False
    reference: bool = False
    history: bool = False
    resize: bool = False
    shots: int = 0
    cot: bool = False
    random_options: bool = False
    protocol: str = STRICT
    turns: str = ONE
    seed: int = 0

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """Those of a run, from `config` of its run.json; what an older one is silent on was not there."""
        names = (each.name for each in fields(cls))
        said = {name: config[name] for name in names if config.get(name) is not None}
        return cls(**said, random_options=config.get("options") == "random")

    @property
    def recorded(self) -> dict[str, Json]:
        """As a run folder says them, each by its flag; turns and seed stand beside them."""
        names = ("hint", "reference", "history", "resize", "shots", "cot", "protocol")
        options = "random" if self.random_options else "valid"
        return {**{name: getattr(self, name) for name in names}, "options": options}

    @property
    def words(self) -> tuple[str, ...]:
        """What differs from the benchmark's plain question, in the words of a folder's name."""
        flags = [name for name in ("hint", "reference", "history", "resize", "cot") if getattr(self, name)]
        shots = [f"shots-{self.shots}"] if self.shots else []
        options = ["random-options"] if self.random_options else []
        protocol = [f"{PAPER}-protocol"] if self.protocol == PAPER else []
        turns = [f"{MANY}-turns"] if self.turns == MANY else []
        return (*flags, *turns, *shots, *options, *protocol)

    def environment(self, sample: Sample, row: Mapping[str, Any]) -> Environment:
        """The environment of one episode. Raises `EnvironmentFailed` on a row that it does not take."""
        make = environment_class(sample.dataset)
        # An empty data folder keeps the paths that it gives relative: the frame store resolves them.
        # That of COCO prints for each sample that it does not resize.
        with redirect_stdout(io.StringIO()) if self.resize else nullcontext():
            return guarded(
                lambda: make(
                    entry=row,
                    data_dir="",
                    resize_samples=self.resize,
                    reference=self.reference,
                    random=self.random_options,
                )
            )

    def state(self, environment: Environment) -> State:
        """What is shown next."""
        return guarded(lambda: environment.get_state(hint=self.hint))

    def evaluate(self, environment: Environment, sample: Sample, repeat: int, answer: str) -> None:
        """Give the environment an answer; where it then draws at random, the draw is this turn's own."""
        where = f"{self.seed}/{sample.dataset}/{sample.id}/{repeat}/{environment.num_turns}"
        with _seeded(where) if self.random_options else nullcontext():
            guarded(lambda: environment.evaluate_generated_answer(answer))


def refuse_combinations(rules: Rules, mode: str, samples: Mapping[str, Sequence[Sample]]) -> None:
    """Raises `InputError` for conditions that the benchmark has not, or that contradict each other.

    `samples` are those of each data set that is played.
    """
    if mode == OEG:
        _refuse_in_oeg(rules)
    if rules.cot and not rules.shots:
        raise InputError("--cot is a form of the examples: give their number with --shots N.")
    if rules.reference and rules.shots:
        raise InputError("The benchmark has no examples for the reference image: leave --shots or it out.")
    if rules.reference and rules.random_options:
        raise InputError("--reference shows no suggestions: leave it or --options random out.")
    if rules.random_options and rules.shots:
        raise InputError(
            "Examples would show that foreign suggestions help: leave --shots or --options random out."
        )
    for name, own in samples.items() if rules.shots else ():
        if name not in WITH_EXAMPLES:
            named = " or ".join(f"--dataset {dataset}" for dataset in WITH_EXAMPLES)
            raise InputError(
                f"The benchmark makes examples for {' and '.join(WITH_EXAMPLES)} only, not for {name}: "
                f"name {named} with --shots."
            )
        if len(own) <= rules.shots:
            raise InputError(
                f"--shots {rules.shots} needs as many samples of {name} besides the one that is asked about, "
                f"and there are {len(own) - 1}: lower it."
            )


def _refuse_in_oeg(rules: Rules) -> None:
    flags = {"history": rules.history, "shots": rules.shots, "cot": rules.cot}
    for flag, is_set in {**flags, "options random": rules.random_options}.items():
        if is_set:
            raise InputError(f"--{flag} belongs to multiple choice: --mode oeg asks without options.")
    if rules.reference:
        # The package's parser would take the category for a suggestion.
        raise InputError(
            "The benchmark's judge cannot read answers about the reference: leave --reference out."
        )


@dataclass(frozen=True)
class Examples:
    """Draws the in-context examples of each episode from the other samples of its data set."""

    rules: Rules
    data: DataFolder

    def of(self, asked: Sample) -> list[tuple[Sample, list[Exchange]]]:
        """`rules.shots` samples with their exchanges as the package shows them; the same for every repeat."""
        rules, where = self.rules, f"{self.rules.seed}/{asked.dataset}/{asked.id}"
        others = [sample for sample in self.data.samples[asked.dataset] if sample.id != asked.id]
        drawn = []
        for sample in random.Random(f"{where}/examples").sample(others, rules.shots):
            make = rules.environment(sample, self.data.row(sample)).get_icl_example
            with _seeded(f"{where}/example/{sample.id}"):
                steps = guarded(partial(make, hint=rules.hint, cot=rules.cot, resize=rules.resize))
            drawn.append((sample, [Exchange(step, step["generated_answer"]) for step in steps]))
        return drawn


@contextmanager
def _seeded(text: str) -> Iterator[None]:
    """The package draws from Python's global generator: seed it for one step, and put it back."""
    state = random.getstate()
    random.seed(text)
    try:
        yield
    finally:
        random.setstate(state)
