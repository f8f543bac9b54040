"""An Inspect AI evaluation, run by `inspect_peer.py` in the environment that it makes.

    python inspect_task.py URL WARM_UP FOLDER CONCURRENCY     (0: its own default)

One sample is one picture of a folder, one question, one `generate` with its cache on, and one scorer.
It evaluates a hundred samples of WARM_UP, then those of FOLDER, then those again out of the cache, and
prints the seconds on the processors and on the clock that a sample of FOLDER took both times. Logs as
little as Inspect AI can, which is to its advantage.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from inspect_ai import Task, eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessageUser, ContentImage, ContentText, get_model
from inspect_ai.scorer import match
from inspect_ai.solver import generate

QUESTION = (
    "What is in this picture? Answer with one of the options, or say what you would have to see. " * 7
)[:600]


def samples(folder: Path) -> list[Sample]:
    """One for each picture."""
    paths = sorted(folder.glob("*.jpg"))
    parts = [[ContentImage(image=str(path)), ContentText(text=QUESTION)] for path in paths]
    return [Sample(input=[ChatMessageUser(content=each)], target="A") for each in parts]


def spent(url: str, asked: list[Sample], concurrency: int, logs: str) -> tuple[float, float]:
    """Seconds on the processors and on the clock for one evaluation."""
    task = Task(dataset=MemoryDataset(asked), solver=generate(cache=True), scorer=match())
    model = get_model("openai/glance", base_url=url, api_key="none", memoize=False, responses_api=False)
    processor, clock = time.process_time(), time.perf_counter()
    (log,) = eval(
        task,
        model=model,
        display="none",
        log_dir=logs,
        log_images=False,
        log_realtime=False,
        log_model_api=False,
        max_connections=concurrency or None,
        max_samples=concurrency or None,
        max_tokens=64,
        temperature=0.0,
    )
    processor, clock = time.process_time() - processor, time.perf_counter() - clock
    assert log.status == "success", log.error and log.error.message
    assert log.results is not None
    assert log.results.completed_samples == len(asked)
    return processor, clock


def main() -> None:
    url, others, folder, concurrency = sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["INSPECT_CACHE_DIR"] = f"{scratch}/cache"
        spent(url, samples(Path(others))[:100], int(concurrency), f"{scratch}/warm-up")
        asked = samples(Path(folder))
        runs = [spent(url, asked, int(concurrency), f"{scratch}/{name}") for name in ("cold", "warm")]
    print(json.dumps([(processor / len(asked), clock / len(asked)) for processor, clock in runs]))


if __name__ == "__main__":
    main()
