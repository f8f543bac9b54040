"""run.json: what was asked, resolved."""

from __future__ import annotations

import platform
import secrets
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from pbclient.benchmark.package import MCQA
from pbclient.config import RunConfig
from pbclient.data.filters import Filter
from pbclient.data.folder import DataFolder
from pbclient.episodes.random_options import ForeignOptions
from pbclient.models.model import Model
from pbclient.money.prices import Price, describe

BASELINE = "baseline"

# What earlier versions played with, whose run.json does not know these options.
DEFAULTS = {"mode": MCQA, "history": False, "resize": False, "shots": 0, "cot": False, "options": "valid"}


def model_name(config: RunConfig, model: Model | None) -> str:
    return model.name if model else config.model or "random"


def manifest_of(
    config: RunConfig,
    model: Model | None,
    judge: Model | None,
    data: DataFolder,
    keep: Filter,
    foreign: ForeignOptions | None,
) -> dict[str, Any]:
    """run.json: `config` is what defines the run, `settings` what may change when it is continued."""
    return {
        "schema": 1,
        "id": secrets.token_hex(8),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": {
            "benchmark": f"proactivebench {version('proactivebench')}",
            **_asked(config, model),
            "mode": config.mode,
            "judge": judge.described if judge else None,
            "datasets": list(data.samples),
            "filter": keep.recorded,
            "hint": config.hint,
            "reference": config.reference,
            "history": config.history,
            "resize": config.resize,
            "shots": config.shots,
            "cot": config.cot,
            "options": config.options,
            "foreign_options": foreign.digest if foreign else None,
            "limit": config.limit,
            "seed": config.seed,
            "repeat": config.repeat,
        },
        "data": data.described,
        "settings": {
            "max_cost": None if config.max_cost is None else float(config.max_cost),
            "model": model.name if model else None,
            "judge": judge.name if judge else None,
            "wire": config.wire,
            "concurrency": config.concurrency,
            "rpm": config.rpm,
            "tpm": config.tpm,
            "timeout": config.timeout,
            "offline": config.offline,
            "no_cache": config.no_cache,
        },
        "prices": describe(model.price if model else Price.free()),
        # What `pbclient judge` has said of a judge of its own stays when the run goes on.
        **({"judge_prices": describe(judge.price)} if judge else {}),
        "dropped": {},
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("pbclient", "proactivebench", "litellm", "pillow")},
        },
    }


def _asked(config: RunConfig, model: Model | None) -> dict[str, Any]:
    if model is not None:
        return model.described
    return {"provider": BASELINE, "model": model_name(config, None), "endpoint": None, "params": {}}
