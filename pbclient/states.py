"""The states of an episode's environment: telling them apart, and trying answers without playing them.

For searches along every suggestion that the package's environment takes: `walks` for what turns can
cost, `reachable` for what they can show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pbclient.benchmark import Environment

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
