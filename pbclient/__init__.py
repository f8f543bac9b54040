"""Evaluate multimodal models on ProactiveBench; the only public import of the four packages.

    from pbclient import RunConfig, run
    result = run(RunConfig(provider="openai", max_cost=Decimal(5)))
    result.summary["average"]["acc"]

Names are loaded when they are used, so that `import pbclient` and `--help` cost nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pbclient.config import RunConfig as RunConfig
    from pbclient.errors import DataError as DataError
    from pbclient.errors import InputError as InputError
    from pbclient.errors import PbclientError as PbclientError
    from pbclient.forecast.estimate import Estimate as Estimate
    from pbclient.forecast.estimate import estimate as estimate
    from pbclient.progress import Progress as Progress
    from pbclient.scheduler.evaluate import RunResult as RunResult
    from pbclient.scheduler.evaluate import evaluate as evaluate
    from pbclient.scheduler.evaluate import run as run

_HOMES = {
    "DataError": "errors",
    "Estimate": "forecast.estimate",
    "InputError": "errors",
    "PbclientError": "errors",
    "Progress": "progress",
    "RunConfig": "config",
    "RunResult": "scheduler.evaluate",
    "estimate": "forecast.estimate",
    "evaluate": "scheduler.evaluate",
    "run": "scheduler.evaluate",
}

__all__ = [
    "DataError",
    "Estimate",
    "InputError",
    "PbclientError",
    "Progress",
    "RunConfig",
    "RunResult",
    "estimate",
    "evaluate",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pbclient' has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"pbclient.{_HOMES[name]}"), name)
    return value
