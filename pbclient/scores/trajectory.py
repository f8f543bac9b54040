"""Classify a recorded multiple-choice episode: number of turns, last action, step limit.

An episode is a row of suggestions that the environment took, and one last turn that ended it. So
there are few trajectories, and counting them is enough for every figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from pbclient.benchmark.package import evaluate, suggests
from pbclient.errors import InputError
from pbclient.scores.checks import name
from runs import Episode

type Action = Literal["right", "wrong", "accepted", "refused", "abstain", "mismatch"]
type Turn = Mapping[str, Any]

_RESULTS: Mapping[Action, str] = {
    "right": "right",
    "wrong": "wrong",
    "accepted": "suggestion",
    "refused": "suggestion",
    "abstain": "abstention",
    "mismatch": "no option",
}
# Only here is a suggestion refused for what it suggests; elsewhere only where nothing is left to show.
_ONE_RIGHT_SUGGESTION = "IN-C"


class Trajectory(NamedTuple):
    """`turns` is how many there were, `last` what the model did in the last one:

    - `right`: it named the right category, and the environment took it;
    - `wrong`: it named another category, or the right one where the environment does not take it yet;
    - `accepted`: it made a suggestion that the environment took, but the step limit was reached;
    - `refused`: it made a suggestion that was offered but is not valid (now, or at all);
    - `abstain`: it chose an option that is neither a suggestion nor a category;
    - `mismatch`: its answer is none of the options.

    `limited` is whether it was still suggesting when the environment had nothing more to show.
    Where the paper's protocol broke the episode off at a picture, that many suggestions were taken and
    nothing followed: `turns` may be 0, and `last` is `accepted`.
    """

    turns: int
    last: Action
    limited: bool = False

    @property
    def right(self) -> bool:
        return self.last == "right"

    @property
    def suggestions(self) -> int:
        """The benchmark's count: turns that the environment answered with another frame."""
        return self.turns - 1

    @property
    def accepted(self) -> int:
        """Valid suggestions: those, and one that the step limit left without another frame."""
        return self.suggestions + (self.last == "accepted")


def trajectory_of(episode: Episode, *, random_options: bool = False) -> Trajectory:
    """The trajectory of a resolved episode whose fields have been checked.

    With `random_options` (`--options random`) the environment takes any suggestion; in CIT it then
    also ends an episode that runs off the film, which the record cannot tell from the step limit.
    Raises `InputError` naming an episode whose turns cannot have come from an environment.
    """
    turns: Sequence[Turn] = episode["turns"]
    if isinstance(episode.get("stopped"), str):
        if any(_action(episode, number, turn) != "accepted" for number, turn in enumerate(turns, start=1)):
            raise InputError(f"{name(episode)} is recorded as stopped, but its turns ended it.")
        return Trajectory(len(turns), "accepted")
    if not turns:
        raise InputError(f"{name(episode)} is recorded as resolved but has no turns.")
    for number, turn in enumerate(turns[:-1], start=1):
        if _action(episode, number, turn) != "accepted":
            raise InputError(f"{name(episode)} goes on after turn {number}, which ended it.")
    last = _action(episode, len(turns), turns[-1])
    limited = last == "accepted"
    if last == "refused":
        takes_any = random_options or episode["dataset"] != _ONE_RIGHT_SUGGESTION
        limited = takes_any or _chosen(turns[-1]) in map(_chosen, turns[:-1])
    return Trajectory(len(turns), last, limited)


def result_of(turn: Turn) -> str:
    """What an evaluated turn came to; whether a suggestion was taken, its `action` says."""
    return _RESULTS[_action({}, 0, turn)]


def _action(episode: Episode, number: int, turn: Turn) -> Action:
    match turn.get("action"), turn.get("category"):
        case "correct" | "wrong" | "mismatch", "correct":
            return "right"
        case "correct", "wrong" | "mismatch":
            return "accepted"
        case "mismatch", "mismatch":
            return "mismatch"
        case "mismatch", "wrong":
            return "wrong"
        case "wrong", "wrong" | "mismatch" as category:
            # The environment found an option that it does not take.
            chosen = _chosen(turn)
            if not chosen:
                raise InputError(
                    f"{name(episode)} is recorded as choosing an option in turn {number}, "
                    "but its answer there is none of the options."
                )
            if not suggests(chosen):
                return "abstain"
            # It may also have found a category, as in "A. A cat." where A is an option: the text weighs more.
            return "wrong" if category == "wrong" else "refused"
    raise InputError(
        f"{name(episode)} has a turn {number} without the environment's words: "
        "its line in the run folder is damaged."
    )


def _chosen(turn: Turn) -> str:
    answer, options = turn.get("answer"), turn.get("options")
    if not isinstance(answer, str) or not isinstance(options, list):
        return ""
    texts = [option for option in options if isinstance(option, str)]
    return _option_in(answer, *texts)


# Short answers come again and again.
@lru_cache(maxsize=1024)
def _option_in(answer: str, *options: str) -> str:
    # The screen shows the options first, so that no letter is moved.
    return evaluate(answer, [], options)[1]
