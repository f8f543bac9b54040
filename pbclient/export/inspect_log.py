"""A run as a log of Inspect AI: an `.eval` file, which `inspect view` and `inspect_ai.log` read.

A zip of JSON (version 2 of the log's schema): `_journal/start.json`, a file a sample, `summaries.json`,
`header.json`. Frames are attachments of their sample. An episode without a score has an error and no score:
with one it would count as a wrong answer.
"""

from __future__ import annotations

import base64
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, cast

from pbclient.errors import DataError, FrameError
from pbclient.export.recorded import RecordedRun
from pbclient.images.frames import FrameStore
from pbclient.scores.summary import Summary
from runs import Episode, replace_file

VERSION = 2
SCORER = "proactivebench"
SHOWN = 400  # letters of a text in a summary
_KINDS = ((b"\x89PNG", "png"), (b"\xff\xd8", "jpeg"), (b"GIF8", "gif"), (b"RIFF", "webp"), (b"BM", "bmp"))
# The same run gives the same bytes: no entry of the zip has a time of its own.
_NO_TIME = (1980, 1, 1, 0, 0, 0)

type Json = dict[str, Any]


def file_name(run: RecordedRun) -> str:
    """As Inspect names its logs: when, what, which."""
    when = run.created.replace(":", "-")
    return f"{when}_{SCORER}_{run.id}.eval"


def write(run: RecordedRun, path: Path, frames: Path | None) -> int:
    """Write the log, with the frames that are found in the folder `frames`; how many are not.

    Holds one episode in memory at a time, and a short line for each.
    """
    log = _Log(run, frames)
    with nullcontext() if log.store is None else log.store:
        replace_file(path, log.chunks())
    return log.left_out


class _Log:
    """The log while it is written."""

    def __init__(self, run: RecordedRun, frames: Path | None) -> None:
        self.run = run
        self.store = FrameStore(frames) if frames is not None else None
        self.left_out = 0

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the zip, as soon as they are known."""
        pipe = _Pipe()
        with zipfile.ZipFile(cast(IO[bytes], pipe), "w", zipfile.ZIP_DEFLATED) as archive:

            def put(name: str, content: object) -> bytes:
                entry = zipfile.ZipInfo(name, _NO_TIME)
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, json.dumps(content, allow_nan=False))
                return pipe.take()

            spec = _spec(self.run)
            yield put("_journal/start.json", {"version": VERSION, "eval": spec, "plan": _PLAN})
            summaries: list[Json] = []
            for episode in self.run.episodes():
                sample = self._sample(episode)
                summaries.append(_summary_of(sample))
                yield put(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", sample)
            yield put("summaries.json", summaries)
            yield put("header.json", _header(self.run, spec, summaries))
        yield pipe.take()

    def _sample(self, episode: Episode) -> Json:
        """An episode: what was said, what it came to, what it took."""
        attachments: dict[str, str] = {}
        messages: list[Json] = []
        turns = episode["turns"]
        for turn in turns:
            picture = self._attach(turn.get("image"), attachments)
            messages.append(
                {"role": "user", "source": "input", "content": [*picture, _text(_question(turn))]}
            )
            if turn.get("answer") is not None:
                messages.append(
                    {
                        "role": "assistant",
                        "source": "generate",
                        "model": str(turn.get("model") or self.run.model),
                        "content": str(turn["answer"]),
                        "metadata": {
                            name: turn.get(name) for name in ("result", "action", "category", "cost", "key")
                        },
                    }
                )
        sample: Json = {
            # A slash would part a sample into chunks.
            "id": f"{episode['dataset']}-{episode['sample'].replace('/', '-').replace('_epoch_', '-')}",
            "epoch": episode["repeat"] + 1,
            "input": messages[:1] or f"{episode['dataset']} {episode['sample']}",
            "choices": (turns[0].get("options") or None) if turns else None,
            "target": "\n".join(map(str, turns[-1].get("right_answers") or ())) if turns else "",
            "messages": messages,
            "output": _output(self.run, messages),
            "scores": {},
            "metadata": {
                **{name: episode[name] for name in ("dataset", "sample", "outcome")},
                "suggestions": episode.get("suggestions"),
                "frames": [turn.get("image") for turn in turns],
            },
            "store": {},
            "events": [],
            "model_usage": _usage(self.run, turns),
            "attachments": attachments,
            "turn_count": len(turns),
            "total_time": sum(turn.get("seconds") or 0.0 for turn in turns),
        }
        if (value := episode.get("correct")) is not None and episode["outcome"] == "resolved":
            sample["scores"] = {SCORER: _score(episode, value)}
        else:
            without = "not judged" if episode["outcome"] == "resolved" else episode["outcome"]
            message = str(episode.get("error") or f"No score: {without}.")
            sample["error"] = {"message": message, "traceback": "", "traceback_ansi": ""}
        return sample

    def _attach(self, name: object, attachments: dict[str, str]) -> list[Json]:
        """The frame of this name as content, kept once a sample; in words where it is not there."""
        if not isinstance(name, str):
            return []
        if self.store is None:
            return [_text(f"[frame {name}]")]
        try:
            data = self.store.read(name)
        except (FrameError, DataError):
            self.left_out += 1
            return [_text(f"[frame {name} is not in the data folder]")]
        kind = next((kind for start, kind in _KINDS if data.startswith(start)), "jpeg")
        digest = sha256(data).hexdigest()[:32]
        attachments[digest] = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        return [{"type": "image", "image": f"attachment://{digest}", "detail": "auto"}]


class _Pipe:
    """Takes what `zipfile` writes and hands it on; it cannot seek, so nothing is written twice."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def write(self, data: bytes, /) -> int:
        self._chunks.append(bytes(data))
        return len(data)

    def flush(self) -> None: ...

    def take(self) -> bytes:
        """What came since it was last asked."""
        taken, self._chunks = b"".join(self._chunks), []
        return taken


_PLAN = {"name": "plan", "steps": [], "config": {}}


def _spec(run: RecordedRun) -> Json:
    """What was asked. No address: a model server's may tell whose it is."""
    config = run.config
    params = {name: value for name, value in run.params.items() if name != "stop"}
    return {
        "eval_id": run.id,
        "run_id": run.id,
        "task_id": run.id,
        "created": run.created,
        "task": SCORER,
        "task_version": 0,
        "task_args": {
            "mode": run.mode,
            "condition": run.condition,
            "datasets": list(config.get("datasets") or ()),
        },
        "dataset": {"name": "ProactiveBench", "shuffled": True},
        "model": f"{run.provider}/{run.model}",
        "model_generate_config": {name: params[name] for name in _GENERATE if name in params},
        "config": {"epochs": config.get("repeat") or 1, "limit": config.get("limit")},
        "packages": run.versions,
        "metadata": {"judge": run.judge, "params": params},
        "scorers": [{"name": SCORER}],
    }


_GENERATE = ("max_tokens", "temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty")


def _header(run: RecordedRun, spec: Json, summaries: list[Json]) -> Json:
    """What the log is found and listed by."""
    summary = run.summary()
    scored = sum(bool(each["scores"]) for each in summaries)
    whole = len(summaries) == sum(entry["n"] for entry in summary["datasets"].values())
    return {
        "version": VERSION,
        # As Inspect calls what was stopped before its last sample.
        "status": "success" if whole else "cancelled",
        "eval": {**spec, "dataset": {**spec["dataset"], "samples": len({each["id"] for each in summaries})}},
        "plan": _PLAN,
        "results": {
            "total_samples": len(summaries),
            "completed_samples": scored,
            "scores": [
                {
                    "name": SCORER,
                    "scorer": SCORER,
                    "scored_samples": scored,
                    "unscored_samples": len(summaries) - scored,
                    "metrics": dict(_metrics(summary)),
                }
            ],
        },
        "stats": {"started_at": run.created, "completed_at": run.created, "model_usage": {}},
    }


def _metrics(summary: Summary) -> Iterator[tuple[str, Json]]:
    """The averages over data sets first, as the benchmark's figures are; then each data set's."""
    figures = [name for name in ("acc", "ps", "agg") if name in summary["average"]]
    for of, entry in [("", summary["average"]), *summary["datasets"].items()]:
        for name in figures:
            if entry[name] is not None:
                metric = f"{name}_{of}" if of else name
                low_high = entry.get(f"{name}_ci")
                yield metric, {"name": metric, "value": entry[name], "metadata": {"ci_95": low_high}}


def _summary_of(sample: Json) -> Json:
    kept = ("id", "epoch", "target", "metadata", "model_usage", "total_time", "turn_count")
    text = sample["input"] if isinstance(sample["input"], str) else sample["input"][0]["content"][-1]["text"]
    error = {"error": sample["error"]["message"]} if "error" in sample else {}
    # All summaries are in memory at once, here and where they are read.
    scores = {of: {**score, "answer": _short(score["answer"])} for of, score in sample["scores"].items()}
    return {
        **{name: sample[name] for name in kept},
        **error,
        "input": _short(text),
        "scores": scores,
        "completed": True,
        "message_count": len(sample["messages"]),
    }


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _score(episode: Episode, correct: bool) -> Json:
    verdict = episode.get("verdict")
    figures = {"suggestions": episode.get("suggestions")}
    if isinstance(verdict, Mapping):
        figures |= {name: value for name, value in verdict.items() if isinstance(value, int)}
    answer = episode["turns"][-1].get("answer") if episode["turns"] else None
    return {"value": "C" if correct else "I", "answer": answer, "metadata": figures}


def _output(run: RecordedRun, messages: list[Json]) -> Json:
    answers = [message for message in messages if message["role"] == "assistant"]
    choices = [{"message": answers[-1], "stop_reason": "stop"}] if answers else []
    return {"model": run.model, "choices": choices}


def _usage(run: RecordedRun, turns: list[Json]) -> Json:
    """The tokens of an episode, under the model's name; empty where none were counted."""
    counted = [turn["usage"] for turn in turns if isinstance(turn.get("usage"), Mapping)]
    if not counted:
        return {}
    total = {name: sum(usage.get(name) or 0 for usage in counted) for name in counted[0]}
    tokens = {"input_tokens": total.get("input_tokens", 0), "output_tokens": total.get("output_tokens", 0)}
    more = {
        "total_tokens": sum(tokens.values()),
        "reasoning_tokens": total.get("reasoning_tokens"),
        "input_tokens_cache_read": total.get("cached_input_tokens"),
        "input_tokens_cache_write": total.get("cache_write_tokens"),
    }
    return {f"{run.provider}/{run.model}": {**tokens, **more}}


def _question(turn: Json) -> str:
    """The question, and the options as letters: how they were sent is the benchmark's own."""
    options = [
        f"{chr(ord('A') + number)}. {option}" for number, option in enumerate(turn.get("options") or ())
    ]
    return "\n".join([str(turn.get("prompt") or ""), *options])


def _text(text: str) -> Json:
    return {"type": "text", "text": text}
