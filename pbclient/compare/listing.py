"""The run folders below a folder: listed by run.json and summary.json alone, or as the cells of a study."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pbclient.benchmark.conditions import Condition
from pbclient.compare.study import StudyCell
from pbclient.errors import InputError
from runs import NotARun, RunError, RunFolder

type Entry = dict[str, Any]


def list_runs(folder: Path) -> list[Entry]:
    """What there is below `folder`, the oldest first; a broken one says so in `error`.

    `acc` is in percent, `cost` in dollars; both are None where the run has no summary yet. Raises
    `InputError` where `folder` is none.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}: name one that holds run folders.")
    found = [_entry(path) for path in _below(folder)]
    return sorted(
        (entry for entry in found if entry), key=lambda entry: (entry["created"] or "", entry["path"])
    )


def recorded_cells(folders: Sequence[Path]) -> list[StudyCell]:
    """The runs in and below these folders as cells of a study; a model is named as it was asked for.

    Raises `InputError` where there are none, `runs.RunError` for a broken one.
    """
    cells: list[StudyCell] = []
    for path in dict.fromkeys(run for folder in folders for run in _below(folder)):
        config = RunFolder.read(path).manifest["config"]
        cells.append(StudyCell(str(config.get("model")), str(Condition.of(config)), path))
    if not cells:
        raise InputError(
            f"There is no run folder in {', '.join(map(str, folders))}: name where your runs are."
        )
    return cells


def _below(folder: Path) -> list[Path]:
    return [file.parent for file in sorted(folder.rglob("run.json"))]


def _entry(path: Path) -> Entry | None:
    try:
        manifest = RunFolder.read(path).manifest
    except NotARun:
        return None
    except RunError as error:
        return {"path": str(path), "created": None, "error": str(error)}
    config = manifest["config"]
    summary: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        summary = json.loads((path / "summary.json").read_bytes())
    datasets = summary.get("datasets", {}).values()
    average = summary.get("average", {})
    return {
        "path": str(path),
        "created": manifest.get("created"),
        "provider": config.get("provider"),
        "model": config.get("model"),
        "conditions": str(Condition.of(config)),
        "planned": sum((manifest.get("planned") or {}).values()),
        "resolved": sum(entry["resolved"] for entry in datasets) if summary else None,
        "acc": average.get("acc"),
        "ps": average.get("ps"),
        "cost": summary["cost"]["settled"] if summary else None,
    }
