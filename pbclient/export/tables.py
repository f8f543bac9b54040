"""Turns as rows, one a turn: JSON lines for programs, CSV for spreadsheets.

An episode without a turn has one row all the same, so that none is lost from a count.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pbclient.export.recorded import RecordedRun
from pbclient.report.terminal import visible
from runs import Episode

_USAGE = ("input_tokens", "output_tokens", "reasoning_tokens", "cached_input_tokens", "cache_write_tokens")
_OF_A_RUN = ("run", "created", "provider", "model", "mode", "condition", "judge")
_OF_AN_EPISODE = ("dataset", "sample", "repeat", "outcome", "correct", "suggestions", "error")
_OF_A_VERDICT = ("category_prediction", "proactive_suggestion", "aggregate")
_OF_A_TURN = (
    "image", "prompt", "options", "answer", "result", "right_answers", "action", "category", "cached",
    "cost", "saved", "seconds", "key",
)  # fmt: skip
# Later versions add columns at the end and rename none.
COLUMNS = (*_OF_A_RUN, *_OF_AN_EPISODE, *_OF_A_VERDICT, "turns", "turn", *_OF_A_TURN, "answered_by", *_USAGE)

# What a spreadsheet takes for a formula, also in the wide letters of Chinese and Japanese keyboards.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001

type Row = dict[str, Any]


def rows(runs: Iterable[RecordedRun]) -> Iterator[Row]:
    """A row for each turn of each episode, in the order in which the episodes ended."""
    for run in runs:
        named = {
            "run": run.id,
            "created": run.created,
            "provider": run.provider,
            "model": run.model,
            "mode": run.mode,
            "condition": run.condition,
            "judge": run.judge,
        }
        for episode in run.episodes():
            yield from ({**named, **row} for row in _turns(episode))


def _turns(episode: Episode) -> Iterator[Row]:
    verdict = episode.get("verdict") or {}
    turns = episode["turns"]
    of_all = {name: episode.get(name) for name in _OF_AN_EPISODE}
    if episode["outcome"] != "resolved":
        of_all |= {"correct": None, "suggestions": None}  # a mean over the column must not take it for wrong
    of_all |= {**{name: verdict.get(name) for name in _OF_A_VERDICT}, "turns": len(turns)}
    for number, turn in enumerate(turns or [{}], 1):
        usage = turn.get("usage")
        counts: Mapping[str, Any] = usage if isinstance(usage, Mapping) else {}
        yield {
            **of_all,
            "turn": number if turns else None,
            **{name: turn.get(name) for name in _OF_A_TURN},
            "answered_by": turn.get("model"),
            **{name: counts.get(name) for name in _USAGE},
        }


def jsonl(runs: Iterable[RecordedRun]) -> Iterator[str]:
    """Lines of JSON in ASCII: every text exactly as it was, control characters as escapes."""
    return (json.dumps(row) for row in rows(runs))


def csv_lines(runs: Iterable[RecordedRun]) -> Iterator[str]:
    """CSV under a line of names: lists as JSON, nothing for null, and no cell that is a formula."""
    yield ",".join(COLUMNS)
    for row in rows(runs):
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow([_cell(row[name]) for name in COLUMNS])
        yield line.getvalue().removesuffix("\n")


def _cell(value: Any) -> Any:
    """A cell. A text that a spreadsheet would run is kept from it by an apostrophe in front."""
    match value:
        case bool():
            return "true" if value else "false"
        case list() | dict():
            value = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if text.startswith(_FORMULA) or value.startswith(_FORMULA) else text
