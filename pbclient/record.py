"""The recorded forms of an episode, its turns and its calls (DESIGN, section 7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from providers import Json, Response

type Record = dict[str, Json]


def call(response: Response, booked: Record) -> Record:
    """The record of any call: the answer, and what the books say of it."""
    record: Record = {
        "answer": response.text,
        **booked,
        "usage": response.usage._asdict() if response.usage else None,
        "seconds": response.seconds,
        "key": response.key,
    }
    if response.model:
        record["model"] = response.model
    return record


def turn(state: Mapping[str, Any], recorded: Record) -> Record:
    """The record of a turn, from that of its call, before the environment has evaluated the answer."""
    return {
        "image": state["image_path"],
        "prompt": state["prompt"],
        "options": list(state["options"]),
        "answer": recorded["answer"],
        "action": None,
        "category": None,
        **recorded,
    }


def episode(
    dataset: str,
    sample: str,
    repeat: int,
    outcome: str,
    turns: Sequence[Record],
    *,
    correct: bool | None = False,
    suggestions: int | None = 0,
    error: str | None = None,
    **more: Json,
) -> Record:
    """The record of a finished episode; `more` are the fields that only some episodes have."""
    record: Record = {
        "dataset": dataset,
        "sample": sample,
        "repeat": repeat,
        "outcome": outcome,
        "correct": correct,
        "suggestions": suggestions,
    }
    if error:
        record["error"] = error
    return {**record, **more, "turns": list(turns)}


def turn_verdicts(verdict: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The verdicts on the turns of an episode of several, each with its own calls, from that on the whole."""
    calls = iter(verdict["turns"])
    for each in verdict["each"]:
        yield {**each, "turns": list(islice(calls, each["calls"]))}


def calls(episode: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every call in the record of an episode: the model's turns, then the judge's."""
    yield from episode.get("turns") or ()
    yield from (episode.get("verdict") or {}).get("turns") or ()
