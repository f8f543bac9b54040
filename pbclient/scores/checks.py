"""What an episode line must hold before it is scored; a line that does not is named, never guessed at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pbclient.benchmark.package import DATA_SETS
from pbclient.errors import InputError

DATASETS = tuple(each.acronym for each in DATA_SETS)
OUTCOMES = ("resolved", "refused", "truncated", "failed", "judge_failed", "budget")

type Episode = Mapping[str, Any]
type Checks = Mapping[str, Callable[[Any], bool]]


def check(episode: Episode, scores: Checks) -> None:
    """Raises `InputError` naming the first field without a value that can be.

    `scores` are checked where the episode is resolved: others have no score.
    """
    _check(episode, _ALWAYS)
    if episode["outcome"] == "resolved":
        _check(episode, scores)


def _check(episode: Episode, checks: Checks) -> None:
    for key, fits in checks.items():
        if not fits(episode.get(key)):
            raise damaged(episode, key)


def damaged(episode: Episode, key: str) -> InputError:
    """The error for a field that cannot be what was recorded."""
    return InputError(f"{name(episode)} has no valid {key!r}: its line in the run folder is damaged.")


def name(episode: Episode) -> str:
    """An episode as messages name it."""
    return f"Episode {episode.get('dataset')} {episode.get('sample')} (repeat {episode.get('repeat')})"


def is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def are_objects(value: object) -> bool:
    return isinstance(value, list) and all([isinstance(each, dict) for each in value])


_ALWAYS: Checks = {
    "dataset": lambda value: value in DATASETS,
    "outcome": lambda value: value in OUTCOMES,
    "repeat": is_count,
    "turns": are_objects,
}
