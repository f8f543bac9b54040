"""The results entry for a model card on the Hugging Face hub: the `model-index` of its YAML head.

Shape: https://github.com/huggingface/hub-docs/blob/main/modelcard.md
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from pbclient.benchmark.package import STEMS
from pbclient.benchmark.paper import REPOSITORY
from pbclient.export.recorded import RecordedRun
from pbclient.report.terminal import visible

_MCQA = {"acc": ("accuracy", "Accuracy (%)"), "ps": ("proactive_suggestions", "Proactive suggestions")}
_OEG = {
    "acc": ("accuracy", "Category prediction (%)"),
    "ps": ("proactive_suggestions", "Proactive suggestions (%)"),
    "agg": ("aggregate", "Aggregate (%)"),
}


def lines(runs: Sequence[RecordedRun]) -> Iterator[str]:
    """YAML. A result a data set that has figures, and one of their average."""
    [run] = runs
    summary = run.summary()
    kind = "open-ended" if run.open_ended else "multiple choice"
    task = f"ProactiveBench, {kind}{f', {run.condition}' if run.condition else ''}"
    yield "model-index:"
    yield f"- name: {_text(run.model)}"
    yield "  results:"
    for name, entry in [*summary["datasets"].items(), ("average", summary["average"])]:
        metrics = [line for metric in _metrics(entry, run.open_ended) for line in metric]
        if metrics:
            yield "  - task:"
            yield "      type: visual-question-answering"
            yield f"      name: {_text(task)}"
            yield "    dataset:"
            yield f"      type: {_text(REPOSITORY)}"
            yield f"      name: {_text(f'ProactiveBench {name}')}"
            if name in STEMS:
                yield f"      config: {_text(STEMS[name])}"
            yield "      split: test"
            yield "    metrics:"
            yield from metrics


def _metrics(entry: dict[str, Any], open_ended: bool) -> Iterator[list[str]]:
    for figure, (kind, name) in (_OEG if open_ended else _MCQA).items():
        if (value := entry[figure]) is not None:
            yield [f"    - type: {kind}", f"      value: {value}", f"      name: {_text(name)}"]


def _text(text: str) -> str:
    # A JSON text is a YAML text too, but for halves of a pair, which ASCII would need.
    return json.dumps(visible(text), ensure_ascii=False)
