"""What a line of a run must say before it is scored. One that does not is named, never guessed at.

That its fields are of the right types is known by then (`runs.schema`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

from pbclient.benchmark.open_ended import VERDICT_FIGURES
from pbclient.benchmark.package import DATA_SETS
from pbclient.errors import InputError
from runs import Episode

DATASETS = tuple(dataset.acronym for dataset in DATA_SETS)
OUTCOMES = ("resolved", "refused", "truncated", "failed", "judge_failed", "budget")

type Checks = Mapping[str, Callable[[Any], bool]]


def check(episode: Episode, scores: Checks) -> None:
    """Raises `InputError` naming the first field that cannot be what was recorded.

    `scores` are checked where the episode is resolved: others have no score. A verdict is whole: its
    figures are 0 or 1 where the episode is resolved, and null elsewhere.
    """
    resolved = episode.get("outcome") == "resolved"
    for key, fits in ({**_ALWAYS, **scores} if resolved else _ALWAYS).items():
        if not fits(episode.get(key)):
            raise damaged(episode, key)
    verdict = episode.get("verdict")
    if verdict is not None and not _is_verdict(verdict, resolved):
        raise damaged(episode, "verdict")


def check_verdict_line(line: Episode) -> None:
    """The same for a line of another judge, which holds an identity, an outcome and a verdict."""
    check({"turns": [], **line}, {})


def check_turn_verdict(line: Episode, verdict: object) -> None:
    """The same for the verdict on one turn of several; `line` is its episode's."""
    whole = {"judge": "", **verdict, "turns": []} if isinstance(verdict, Mapping) else None
    figures = [(whole or {}).get(key) for key in VERDICT_FIGURES]
    fits = whole is not None and _is_verdict(whole, figures != [None, None, None])
    if whole is None or not fits or whole.get("calls") is None:
        raise damaged(line, "verdict")


def damaged(episode: Episode, key: str) -> InputError:
    """The error for a field that cannot be what was recorded."""
    return InputError(f"{name(episode)} has no valid {key!r}: its line in the run folder is damaged.")


def name(episode: Episode) -> str:
    """An episode as messages name it."""
    return f"Episode {episode.get('dataset')} {episode.get('sample')} (repeat {episode.get('repeat')})"


def are_two_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(text, str) for text in value)


def _is_verdict(value: object, resolved: bool) -> bool:
    if not isinstance(value, Mapping):
        return False
    figures = [value.get(key) for key in VERDICT_FIGURES]
    return (
        are_two_texts(value.get("valid"))
        and {"judge", "turns"} <= value.keys()
        and isinstance(official := value.get("official"), Mapping)
        and _are_binary([official.get(key) for key in VERDICT_FIGURES])
        and (_are_binary(figures) if resolved else figures == [None, None, None])
    )


def _are_binary(figures: list[Any]) -> bool:
    return all(type(figure) is int and figure in (0, 1) for figure in figures)


_ALWAYS: Checks = {
    "dataset": lambda value: value in DATASETS,
    "outcome": lambda value: value in OUTCOMES,
    "turns": lambda value: value is not None,
}
