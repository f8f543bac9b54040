"""Evaluate multimodal models on ProactiveBench; the only public import of the four packages.

    from pbclient import RunConfig, run
    result = run(RunConfig(provider="openai", max_cost=Decimal(5)))
    result.summary["average"]["acc"]

Names are loaded when they are used, so that `import pbclient` and `--help` cost nothing.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pbclient.config import RunConfig as RunConfig
    from pbclient.errors import DataError as DataError
    from pbclient.errors import InputError as InputError
    from pbclient.errors import PbclientError as PbclientError
    from pbclient.estimate import Estimate as Estimate
    from pbclient.estimate import estimate as estimate
    from pbclient.evaluate import RunResult as RunResult
    from pbclient.evaluate import evaluate as evaluate
    from pbclient.evaluate import run as run
    from pbclient.progress import Progress as Progress

_HOMES = {
    "DataError": "errors",
    "Estimate": "estimate",
    "InputError": "errors",
    "PbclientError": "errors",
    "Progress": "progress",
    "RunConfig": "config",
    "RunResult": "evaluate",
    "estimate": "estimate",
    "evaluate": "evaluate",
    "run": "evaluate",
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


class _Package(ModuleType):
    """Two modules are named as their functions: the import of one must not hide the other's."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
