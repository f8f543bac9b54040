"""Search every state that an episode can reach, without playing it: what turns can cost, and can show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pbclient.benchmark.package import Environment, environment_class, guarded

_PLAIN = frozenset({int, float, str, bool, type(None)})

type State = tuple[object, ...]


def state_of(environment: Environment) -> State:
    """What tells two states of one episode apart, apart from the turn."""
    fields = vars(environment).items()
    return tuple([value for name, value in fields if type(value) in _PLAIN and name != "num_turns"])


def fork(environment: Environment) -> Environment:
    """Another environment in the same state. What the package's changes in place are lists only."""
    other = object.__new__(type(environment))
    vars(other).update(
        {name: value[:] if type(value) is list else value for name, value in vars(environment).items()}
    )
    return other


def turns_left(environment: Environment) -> int:
    return environment.max_steps - environment.num_turns


@dataclass
class Seen:
    """The states that a search by levels has come to; a level holds those after so many turns.

    A state in which the episode was before leads to nothing new. Where no state has two successors,
    what is shown may depend on the turn, so that none counts as seen before; no environment of the
    package has both. `circles` is whether some way came back to where it was.
    """

    states: set[State]
    branches: bool = False
    circles: bool = False

    def new[N](self, following: Mapping[State, N]) -> list[N]:
        """What the next level holds, of all that follows this one."""
        self.branches = self.branches or len(following) > 1
        known = self.states.intersection(following) if self.branches else set()
        self.circles = self.circles or bool(known)
        self.states.update(following)
        return [after for state, after in following.items() if state not in known]


def reachable_frames(acronym: str, row: Mapping[str, Any]) -> frozenset[str]:
    """The paths, relative to the data folder, of all frames of a checked row, `--reference` included.

    Raises `EnvironmentFailed` when some way through the sample ends in an error of the package.
    """
    frames = [guarded(partial(_frames, acronym, row, reference)) for reference in (True, False)]
    return frozenset().union(*frames)


def _frames(acronym: str, row: Mapping[str, Any], reference: bool) -> set[str]:
    start = environment_class(acronym)(row, "", reference=reference)
    level, seen = [start], Seen({state_of(start)})
    paths: set[str] = set()
    while level:
        following: dict[State, Environment] = {}
        for environment in level:
            state = environment.get_state()
            paths.add(state["image_path"])
            following.update((state_of(after), after) for after in _successors(environment, state["options"]))
        level = seen.new(following)
    return paths


def _successors(environment: Environment, options: list[str]) -> Iterator[Environment]:
    """What a suggestion leads to, without the states in which the episode is over."""
    if environment.reference or turns_left(environment) <= 1:
        return
    for suggestion in environment.correct_options:
        if suggestion in options:
            after = fork(environment)
            after.evaluate_generated_answer(suggestion)
            if not after.stop:
                yield after
