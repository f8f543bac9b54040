"""Describe a run in run.json: what was asked, resolved."""

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
from pbclient.episodes.rules import Rules
from pbclient.models.model import Model
from pbclient.money.prices import Price, describe

BASELINE = "baseline"

# What earlier versions played with, whose run.json does not know these options.
DEFAULTS = {"mode": MCQA, **Rules().recorded}

_SETTINGS = ("wire", "concurrency", "rpm", "tpm", "timeout", "offline", "no_cache")


def manifest_of(
    config: RunConfig,
    model: Model | None,
    judge: Model | None,
    data: DataFolder,
    keep: Filter,
    foreign: ForeignOptions | None,
) -> dict[str, Any]:
    """What run.json holds: `config` defines the run, `settings` may change when it is continued."""
    return {
        "schema": 1,
        "id": secrets.token_hex(8),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": {
            "benchmark": f"proactivebench {version('proactivebench')}",
            **(model.described if model else _baseline(config)),
            "mode": config.mode,
            "judge": judge.described if judge else None,
            "datasets": list(data.samples),
            "filter": keep.recorded,
            **config.rules.recorded,
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
            **{name: getattr(config, name) for name in _SETTINGS},
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


def _baseline(config: RunConfig) -> dict[str, Any]:
    return {"provider": BASELINE, "model": config.model or "random", "endpoint": None, "params": {}}
