"""How an episode is written down: its line in the run folder and the records of its calls.

The shapes of DESIGN, section 7. What the words mean is decided by who plays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from providers import Finish, Json, Usage


class Reply(NamedTuple):
    """An answer; `key` is None when no model was asked."""

    text: str
    finish: Finish = "stop"
    usage: Usage | None = None
    key: str | None = None
    images: int = 0
    model: str | None = None


type Record = dict[str, Json]


def call(reply: Reply, booked: Record, seconds: float) -> Record:
    """What is recorded of any call: the answer, and what the books say of it."""
    said: Record = {
        "answer": reply.text,
        **booked,
        "usage": reply.usage._asdict() if reply.usage else None,
        "seconds": 0.0 if booked["cached"] else round(seconds, 3),
        "key": reply.key,
    }
    if reply.model:
        said["model"] = reply.model
    return said


def turn(state: Mapping[str, Any], recorded: Record) -> Record:
    """A turn, from its recorded call, before the environment has evaluated the answer."""
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
    """The line of a finished episode; `more` are the fields that only some episodes have."""
    line: Record = {
        "dataset": dataset,
        "sample": sample,
        "repeat": repeat,
        "outcome": outcome,
        "correct": correct,
        "suggestions": suggestions,
    }
    if error:
        line["error"] = error
    return {**line, **more, "turns": list(turns)}


def calls(line: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every call that an episode line records: the model's turns, then the judge's."""
    yield from line.get("turns") or ()
    yield from (line.get("verdict") or {}).get("turns") or ()
