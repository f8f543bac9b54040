"""Every frame that an episode of one sample can show, whatever is answered.

Whether the frames are there is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from pbclient.benchmark import Environment, environment_class, guarded
from pbclient.states import Seen, State, fork, state_of, turns_left


def reachable_frames(acronym: str, row: Mapping[str, Any]) -> frozenset[str]:
    """The paths, relative to the data folder, of all frames of a checked row, `--reference` included.

    Raises `EnvironmentFailed` when some way through the sample ends in an error of the package.
    """
    conditions = (True, False)
    return frozenset().union(*(guarded(partial(_frames, acronym, row, each)) for each in conditions))


def _frames(acronym: str, row: Mapping[str, Any], reference: bool) -> set[str]:
    start = environment_class(acronym)(row, "", reference=reference)
    level, seen = [start], Seen({state_of(start)})
    paths: set[str] = set()
    while level:
        following: dict[State, Environment] = {}
        for each in level:
            state = each.get_state()
            paths.add(state["image_path"])
            following.update((state_of(after), after) for after in _successors(each, state["options"]))
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
