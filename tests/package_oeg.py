"""The package's own open-ended example over a data folder, with policies instead of models.

Written after the installed `tests/oeg.py`, which cannot run without torch: what the client is held
against, sample for sample.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import proactivebench
from package_loop import INSTALLED
from PIL import Image
from proactivebench.environment import get_environment
from proactivebench.open_ended_gen import get_oeg_judge_messages, parse_judge_prediction

from pbclient.benchmark.package import DATA_SETS

type Answers = Callable[[str, Image.Image], str]
type Judges = Callable[[list[dict[str, str]]], str]

EXAMPLE = (Path(proactivebench.__file__).parent / "tests" / "oeg.py").read_text(encoding="utf-8")
(HINT,) = re.findall(r'"prompt"\s*\] \+= "([^"]+)"', EXAMPLE)


def package_oeg(
    folder: Path, answer: Answers, judge: Judges, *, hint: bool = False, count: int = 100
) -> dict[tuple[str, str], dict[str, Any]]:
    """Of each sample that the example takes: prompt, answer, the judge's messages, the result."""
    found = {}
    for dataset in DATA_SETS:
        entries = _entries(folder, dataset)
        random.seed(0)
        random.shuffle(entries)
        for entry in entries[:count]:
            found[dataset.acronym, str(entry["id"])] = _sample(folder, dataset, entry, answer, judge, hint)
    return found


def _entries(folder: Path, dataset) -> list[dict[str, Any]]:
    lines = (folder / dataset.file_name).read_text(encoding="utf-8").splitlines()
    rows = map(json.loads, lines)
    kept = INSTALLED["FILTER"][dataset.stem]
    return [row for row in rows if row.get("strong_occlusions") is not False and row["id"] in kept]


def _sample(folder, dataset, entry, answer, judge, hint) -> dict[str, Any]:
    env = get_environment(dataset.stem)(entry, resize_samples=False, data_dir=str(folder))
    state = env.get_state(hint=False)
    if hint:
        state["prompt"] += HINT
    picture = state["transform"](Image.open(state["image_path"]).convert("RGB"))
    generated = answer(state["prompt"], picture)
    messages = get_oeg_judge_messages(
        prompt=state["prompt"],
        valid_answers=env.get_open_ended_gen_answers(),
        generated_answer=generated,
    )
    said = judge(messages)
    # The example cuts after the last end-of-thinking token.
    visible = said[said.rindex("</think>") + len("</think>") :] if "</think>" in said else said
    result = parse_judge_prediction(
        valid_answers=env.get_open_ended_gen_answers(),
        raw_judge_output=visible.strip("\n"),
        dataset=dataset.acronym,
    )
    return {"prompt": state["prompt"], "answer": generated, "messages": messages, "result": result}
