"""What Inspect AI and Every Eval Ever make of an export; run by a Python that has them.

python tests/export_readers.py inspect LOG | eee FIGURES EPISODES
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any


def read_inspect(path: str) -> dict[str, Any]:
    from inspect_ai.log import (
        bundle_log_dir,
        list_eval_logs,
        read_eval_log,
        read_eval_log_sample,
        read_eval_log_sample_summaries,
        write_eval_log,
    )

    header = read_eval_log(path, header_only=True)
    log = read_eval_log(path, resolve_attachments=True)
    samples = log.samples or []
    one = read_eval_log_sample(path, samples[0].id, samples[0].epoch)
    assert one.id == samples[0].id
    messages = [message for sample in samples for message in sample.messages]
    contents = [each for message in messages if isinstance(message.content, list) for each in message.content]
    [listed] = list_eval_logs(str(Path(path).parent))
    with tempfile.TemporaryDirectory() as folder:
        # What Inspect writes of it, and the folder that its viewer is served from.
        write_eval_log(log, f"{folder}/again.eval")
        again = read_eval_log(f"{folder}/again.eval")
        bundle_log_dir(str(Path(path).parent), f"{folder}/bundle")
        assert Path(folder, "bundle", "index.html").is_file()
    return {
        "status": header.status,
        "model": header.eval.model,
        "metrics": {name: metric.value for name, metric in header.results.scores[0].metrics.items()},
        "listed": listed.task,
        "summaries": len(read_eval_log_sample_summaries(path)),
        "samples": len(samples),
        "errors": sum(sample.error is not None and not sample.scores for sample in samples),
        "scores": Counter(score.value for sample in samples for score in (sample.scores or {}).values()),
        "images": sum(each.type == "image" and each.image.startswith("data:image/") for each in contents),
        "answers": [message.text for message in messages if message.role == "assistant"],
        "rewritten": len(again.samples or []),
    }


def read_eee(figures: str, episodes: str) -> list[str]:
    import every_eval_ever
    from jsonschema import Draft7Validator

    schemas = Path(every_eval_ever.__path__[0], "schemas")
    whole = Draft7Validator(json.loads((schemas / "eval.schema.json").read_text()))
    one = Draft7Validator(json.loads((schemas / "instance_level_eval.schema.json").read_text()))
    found = list(whole.iter_errors(json.loads(Path(figures).read_text())))
    for line in Path(episodes).read_text().splitlines():
        found += one.iter_errors(json.loads(line))
    return [f"{error.json_path}: {error.message}" for error in found]


if __name__ == "__main__":
    what, *paths = sys.argv[1:]
    print(json.dumps(read_inspect(*paths) if what == "inspect" else read_eee(*paths)))
