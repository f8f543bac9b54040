"""The episodes of a run as the page carries them: JSON, gzip, base64, the same bytes for the same run."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from pbclient.benchmark.package import MCQA, evaluate
from pbclient.compare.recorded import in_order
from pbclient.report.html.frames import View
from pbclient.report.html.reported import Reported
from pbclient.report.html.sections import amount
from pbclient.report.html.text import without_places
from pbclient.scores.trajectory import Trajectory, trajectory_of
from runs import Episode, Identity, identity

type Views = Mapping[Identity, Sequence[View]]

# Short answers come again and again.
_found = lru_cache(maxsize=4096)(lambda answer, *options: evaluate(answer, [], options)[1])
_TEXTS = ("image", "prompt", "action", "category", "answer", "given")
_KEY = 12  # letters of a cache key: enough to find it in the run folder


def packed(value: Any) -> str:
    """JSON as base64 of gzip: no letter of it means anything to HTML."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return b64encode(gzip.compress(text.encode("ascii"), 9, mtime=0)).decode("ascii")


def island(run: Reported, views: Views) -> dict[str, Any]:
    """What the explorer knows of a run."""
    beside: dict[Identity, list[tuple[str, Episode]]] = {}
    for judge, lines in sorted(run.judges.items()):
        for line in lines:
            beside.setdefault(identity(line), []).append((judge, line))
    episodes = sorted(run.episodes, key=lambda episode: in_order(identity(episode)))
    return {
        "label": run.label,
        "model": run.model,
        "mode": run.mode,
        "episodes": [_episode(run, each, views, beside) for each in episodes],
    }


def _episode(run: Reported, episode: Episode, views: Views, beside: Mapping[Identity, Any]) -> dict[str, Any]:
    which = identity(episode)
    seen = views.get(which, ())
    resolved = episode["outcome"] == "resolved"
    trajectory = None
    if resolved and run.mode == MCQA:
        trajectory = trajectory_of(episode, random_options=run.config.get("options") == "random")
    told = [("", episode), *beside.get(which, ())] if run.mode != MCQA else []
    found = {
        "dataset": episode["dataset"],
        "sample": episode["sample"],
        "repeat": episode["repeat"],
        "outcome": episode["outcome"],
        "correct": episode.get("correct") if resolved else None,
        "suggestions": episode.get("suggestions") if resolved else None,
        "limited": bool(trajectory and trajectory.limited),
        "error": without_places(str(episode["error"])) if episode.get("error") else None,
        "turns": [
            {
                **_turn(turn, seen[number] if number < len(seen) else None),
                "did": _did(trajectory, number),
            }
            for number, turn in enumerate(episode["turns"])
        ],
        "verdicts": [verdict for judge, line in told if (verdict := _verdict(judge, line))],
    }
    return {key: value for key, value in found.items() if value not in (None, [])}


def _did(trajectory: Trajectory | None, number: int) -> str | None:
    if trajectory is None:
        return None
    return trajectory.last if number == trajectory.turns - 1 else "accepted"


def _turn(turn: Mapping[str, Any], view: View | None) -> dict[str, Any]:
    offered, answer = turn.get("options"), turn.get("answer")
    options = list(filter(_is_text, offered)) if isinstance(offered, list) else []
    chosen = _found(answer, *options) if options and _is_text(answer) else ""
    right = () if view is None else view.right
    usage = turn.get("usage")
    tokens = usage if isinstance(usage, Mapping) else {}
    found = {
        **{name: turn[name] for name in _TEXTS if _is_text(turn.get(name))},
        "options": options,
        "chosen": options.index(chosen) if chosen in options else None,
        "right": [number for number, option in enumerate(options) if option in right],
        "cost": amount(turn.get("cost")) or None,
        "saved": amount(turn.get("saved")) or None,
        "cached": turn.get("cached") is True or None,
        "seconds": amount(turn.get("seconds")) or None,
        "input": amount(tokens.get("input_tokens")) or None,
        "output": amount(tokens.get("output_tokens")) or None,
        "key": turn["key"][:_KEY] if _is_text(turn.get("key")) else None,
    }
    return {key: value for key, value in found.items() if value not in (None, [])}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _verdict(judge: str, line: Episode) -> dict[str, Any] | None:
    verdict = line.get("verdict")
    if verdict is None:
        return None
    return {
        "judge": without_places(judge or verdict["judge"]),
        "own": not judge,
        "category": verdict["category_prediction"],
        "suggestion": verdict["proactive_suggestion"],
        "aggregate": verdict["aggregate"],
        "valid": verdict["valid"][0],
        "answers": [turn["answer"] for turn in verdict["turns"] if _is_text(turn.get("answer"))],
    }
