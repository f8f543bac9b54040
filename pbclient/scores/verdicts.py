"""Verdicts as they stand in episode lines: whole or damaged, and read again from the judge's answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from pbclient.benchmark.open_ended import read_verdict
from pbclient.errors import InputError
from pbclient.scores.checks import Episode, are_objects, check, damaged, name

FIGURES = ("proactive_suggestion", "category_prediction", "aggregate")

type Verdict = Mapping[str, Any]


def check_judged(line: Episode) -> None:
    """Raises `InputError` for a line of another judge that cannot be what was recorded."""
    check({"turns": [], **line}, {})


def verdict_of(line: Episode) -> Verdict | None:
    """The judge's verdict on an episode; None where no judge was asked.

    Its figures are 0 or 1 where the episode is resolved, and null elsewhere. Raises `InputError`
    for a verdict that is not whole.
    """
    verdict = line.get("verdict")
    if verdict is None:
        return None
    whole = (
        isinstance(verdict, Mapping)
        and isinstance(verdict.get("judge"), str)
        and _are_two_texts(verdict.get("valid"))
        and are_objects(verdict.get("turns"))
        and _are_figures(verdict.get("official"))
        and (_are_figures(verdict) if line["outcome"] == "resolved" else _are_null(verdict))
    )
    if not whole:
        raise damaged(line, "verdict")
    found: Verdict = verdict
    return found


def asked_of(episode: Episode) -> tuple[str, str, tuple[str, str], str]:
    """What a judge is asked of an episode with an answer: data set, prompt, valid answers, answer.

    Raises `InputError` for one that does not hold them.
    """
    valid, turns = episode.get("valid"), episode["turns"]
    if not _are_two_texts(valid):
        raise damaged(episode, "valid")
    texts = [turns[0].get(key) if turns else None for key in ("prompt", "answer")]
    if not all(isinstance(each, str) for each in texts):
        raise damaged(episode, "turns")
    prompt, answer = map(str, texts)
    first, second = valid
    return episode["dataset"], prompt, (first, second), answer


def rescore_verdict(line: Episode) -> None:
    """Raises `InputError` when the recorded answers of the judge do not give the recorded verdict."""
    verdict = verdict_of(line)
    if verdict is None:
        return
    turns = verdict["turns"]
    answers = [turn["answer"] if isinstance(turn.get("answer"), str) else "" for turn in turns]
    shown, parsed_with = verdict["valid"]
    read = [read_verdict(shown, parsed_with, answer, line["dataset"]) for answer in answers]
    held = (
        each for each, turn in zip(read, turns, strict=True) if each.parsed and turn.get("finish") == "stop"
    )
    found = next(held, None)
    figures = found.figures() if found else dict.fromkeys(FIGURES)
    must_be(line, "its judge's answers", figures, verdict)
    # The package asks once, and counts what it cannot read as zeros.
    official = read[0].figures() if read else dict.fromkeys(FIGURES, 0)
    must_be(line, "its judge's first answer, as the package reads it,", official, verdict["official"])


def must_be(line: Episode, source: str, found: Mapping[str, Any], recorded: Mapping[str, Any]) -> None:
    """Raises `InputError` naming the first field whose recorded value is not the one found again."""
    for key, value in found.items():
        if recorded.get(key) != value:
            said = f"{name(line)} is recorded with {key} {recorded.get(key)}"
            raise InputError(f"{said}, but {source} gave {value}.")


def _are_two_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(each, str) for each in value)


def _are_figures(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and all(type(value.get(key)) is int for key in FIGURES)
        and all(value[key] in (0, 1) for key in FIGURES)
    )


def _are_null(verdict: Verdict) -> bool:
    return all(verdict.get(key) is None for key in FIGURES)
