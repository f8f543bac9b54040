"""Every frame that an episode of one sample can show, whatever is answered.

The package's environment is walked along every suggestion that it takes, as `pbclient/walks.py` does
for prices. Whether the frames are there is not known here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from pbclient.benchmark import Environment, State, environment_class, guarded

type _Key = tuple[object, ...]

_PLAIN = frozenset({int, float, str, bool, type(None)})


def reachable_frames(acronym: str, row: Mapping[str, Any]) -> frozenset[str]:
    """The paths, relative to the data folder, of all frames of a checked row, `--reference` included.

    Raises `EnvironmentFailed` when some way through the sample ends in an error of the package.
    """
    conditions = (True, False)
    return frozenset().union(*(guarded(partial(_frames, acronym, row, each)) for each in conditions))


def _frames(acronym: str, row: Mapping[str, Any], reference: bool) -> set[str]:
    """A level holds the states after so many turns.

    A state in which the episode was before, earlier, leads to nothing new. Where no state has two
    successors, what is shown may depend on the turn, so that none counts as seen before.
    """
    start = environment_class(acronym)(row, "", reference=reference)
    level, seen, branches = [start], {_key(start)}, False
    paths: set[str] = set()
    while level:
        following: dict[_Key, Environment] = {}
        for each in level:
            state = each.get_state()
            paths.add(state["image_path"])
            following.update((_key(after), after) for after in _successors(each, state))
        branches = branches or len(following) > 1
        level = [after for key, after in following.items() if not (branches and key in seen)]
        seen.update(following)
    return paths


def _successors(environment: Environment, state: State) -> Iterator[Environment]:
    """The states that a suggestion leads to, without those in which the episode is over."""
    if environment.reference or environment.max_steps - environment.num_turns <= 1:
        return
    for suggestion in environment.correct_options:
        if suggestion in state["options"]:
            # The copies share what the package only appends to, its histories.
            after = copy.copy(environment)
            after.evaluate_generated_answer(suggestion)
            if not after.stop:
                yield after


def _key(environment: Environment) -> _Key:
    """What tells two states of one episode apart, apart from the turn."""
    fields = vars(environment).items()
    return tuple([value for name, value in fields if type(value) in _PLAIN and name != "num_turns"])
