"""A run in the two schemas of Every Eval Ever, version 0.3.0: figures in one file, episodes in another.

https://github.com/evaleval/every_eval_ever
The schema has no place for an episode without a score: those are counted in the figures' details.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pbclient
from pbclient.benchmark.package import STEMS
from pbclient.benchmark.paper import REPOSITORY
from pbclient.export.recorded import RecordedRun
from pbclient.scores.summary import Summary
from runs import Episode, replace_file

SCHEMA = "0.3.0"
_UNITS = {
    "acc": ("accuracy", "Accuracy", "percent", 100.0),
    "ps": ("proactive_suggestions", "Proactive suggestions", "suggestions", "Infinity"),
    "agg": ("aggregate", "Category or suggestion", "percent", 100.0),
}

type Json = dict[str, Any]


def write(run: RecordedRun, folder: Path) -> tuple[Path, Path]:
    """Write both files under names that are the run's own; where they are."""
    # In the shape of a random one, which the schema asks for, and yet the same each time.
    name = str(uuid.UUID(bytes=sha256(f"pbclient {run.id}".encode()).digest()[:16], version=4))
    figures, episodes = folder / f"{name}.json", folder / f"{name}_samples.jsonl"
    digest, rows = sha256(), 0

    def lines() -> Iterator[bytes]:
        nonlocal rows
        for row in _instances(run):
            line = json.dumps(row).encode() + b"\n"
            digest.update(line)
            rows += 1
            yield line

    replace_file(episodes, lines())
    whole = _aggregate(run)
    if rows:
        where = f"data/proactivebench/{_part(run.provider)}/{_part(run.model)}/{episodes.name}"
        whole["detailed_evaluation_results"] = {
            "format": "jsonl",
            "file_path": where,
            "hash_algorithm": "sha256",
            "checksum": digest.hexdigest(),
            "total_rows": rows,
        }
    replace_file(figures, [json.dumps(whole, indent=2).encode() + b"\n"])
    return figures, episodes


def _part(name: str) -> str:
    return name.rpartition("/")[2].replace(" ", "-")


def _model_id(run: RecordedRun) -> str:
    return run.model if "/" in run.model else f"{run.provider}/{run.model}"


def _evaluation_id(run: RecordedRun) -> str:
    return f"proactivebench/{_model_id(run).replace('/', '_')}/{run.id}"


def _aggregate(run: RecordedRun) -> Json:
    summary = run.summary()
    began = str(int(datetime.fromisoformat(run.created).timestamp()))
    return {
        "schema_version": SCHEMA,
        "evaluation_id": _evaluation_id(run),
        "evaluation_timestamp": began,
        # When it was made would differ each time.
        "retrieved_timestamp": began,
        "source_metadata": {
            "source_name": "pbclient",
            "source_type": "evaluation_run",
            "source_organization_name": "unknown",
            "evaluator_relationship": "other",
        },
        "eval_library": {
            "name": "pbclient",
            "version": pbclient.__version__,
            "additional_details": run.versions,
        },
        "model_info": {
            "name": run.model,
            "id": _model_id(run),
            "inference_platform": run.provider,
            "additional_details": {"deployment_type": "unknown", "model_availability": "unknown"},
        },
        "evaluation_results": list(_results(run, summary)),
    }


def _results(run: RecordedRun, summary: Summary) -> Iterator[Json]:
    for name, entry in [*summary["datasets"].items(), ("average", summary["average"])]:
        for figure, (metric, title, unit, most) in _UNITS.items():
            if entry.get(figure) is None:
                continue
            if run.open_ended:
                unit, most = "percent", 100.0
            score: Json = {"score": entry[figure], "details": _details(summary, name)}
            if entry[f"{figure}_ci"]:
                low, high = entry[f"{figure}_ci"]
                interval = {"lower": low, "upper": high, "confidence_level": 0.95}
                score["uncertainty"] = {"confidence_interval": interval}
            yield {
                "evaluation_result_id": f"{name}/{figure}",
                "evaluation_name": f"ProactiveBench {name}",
                "source_data": {
                    "dataset_name": STEMS.get(name, "ProactiveBench"),
                    "source_type": "hf_dataset",
                    "hf_repo": REPOSITORY,
                    "hf_split": "test",
                },
                "metric_config": {
                    "metric_id": metric,
                    "metric_name": title,
                    "metric_unit": unit,
                    "lower_is_better": False,
                    "score_type": "continuous",
                    "min_score": 0.0,
                    "max_score": most,
                    "additional_details": {"mode": run.mode, "condition": run.condition or "none"},
                },
                "score_details": score,
                "generation_config": _generation(run),
            }


def _details(summary: Summary, name: str) -> Json:
    entries = [summary["datasets"][name]] if name in summary["datasets"] else summary["datasets"].values()
    planned, resolved = (sum(entry[key] for entry in entries) for key in ("n", "resolved"))
    return {"episodes": str(planned), "resolved": str(resolved), "without_score": str(planned - resolved)}


def _generation(run: RecordedRun) -> Json:
    known = ("temperature", "top_p", "top_k", "max_tokens")
    sent = {name: value for name, value in run.params.items() if name in known}
    others = {name: json.dumps(value) for name, value in run.params.items() if name not in known}
    return {"generation_args": sent, "additional_details": others}


def _instances(run: RecordedRun) -> Iterator[Json]:
    """The episodes with a score."""
    for episode in run.episodes():
        if episode["outcome"] == "resolved" and episode.get("correct") is not None and episode["turns"]:
            yield _instance(run, episode)


def _instance(run: RecordedRun, episode: Episode) -> Json:
    turns = episode["turns"]
    first, last = turns[0], turns[-1]
    asked = str(first.get("prompt") or "")
    right = [str(each) for each in last.get("right_answers") or ()]
    messages = [message for number, turn in enumerate(turns) for message in _messages(number, turn)]
    usage = [turn["usage"] for turn in turns if isinstance(turn.get("usage"), dict)]
    tokens = {name: sum(each.get(name) or 0 for each in usage) for name in ("input_tokens", "output_tokens")}
    return {
        "schema_version": SCHEMA,
        "evaluation_id": _evaluation_id(run),
        "model_id": _model_id(run),
        "evaluation_name": f"ProactiveBench {episode['dataset']}",
        "evaluation_result_id": f"{episode['dataset']}/acc",
        "sample_id": f"{episode['dataset']}/{episode['sample']}/{episode['repeat']}",
        "sample_hash": sha256("\n".join([asked, *right]).encode()).hexdigest(),
        "interaction_type": "multi_turn",
        "input": {"raw": asked, "reference": right, "choices": first.get("options") or None},
        "output": None,
        "messages": messages,
        "answer_attribution": [
            {
                "turn_idx": len(messages) - 1,
                "source": f"messages[{len(messages) - 1}].content",
                "extracted_value": str(last.get("answer") or ""),
                "extraction_method": "llm_judge" if run.open_ended else "exact_match",
                "is_terminal": True,
            }
        ],
        "evaluation": {
            "score": float(episode["correct"]),
            "is_correct": bool(episode["correct"]),
            "num_turns": len(turns),
        },
        "token_usage": {**tokens, "total_tokens": sum(tokens.values())} if usage else None,
        "performance": {"latency_ms": 1000 * sum(turn.get("seconds") or 0.0 for turn in turns)},
        "metadata": {
            "frames": json.dumps([turn.get("image") for turn in turns]),
            "suggestions": json.dumps(episode.get("suggestions")),
            "repeat": str(episode["repeat"]),
        },
    }


def _messages(number: int, turn: Json) -> Iterator[Json]:
    options = turn.get("options") or ()
    asked = "\n".join([f"[frame {turn.get('image')}]", str(turn.get("prompt") or ""), *map(str, options)])
    yield {"turn_idx": 2 * number, "role": "user", "content": asked}
    yield {"turn_idx": 2 * number + 1, "role": "assistant", "content": str(turn.get("answer") or "")}
