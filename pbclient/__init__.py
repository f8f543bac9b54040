"""Evaluate multimodal models on ProactiveBench; the only public import of the four packages.

    from pbclient import RunConfig, run
    result = run(RunConfig(provider="openai", max_cost=Decimal(5)))
    result.summary["average"]["acc"]

Names are loaded when they are used, so that `import pbclient` and `--help` cost nothing.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str

    from pbclient.config import RunConfig
    from pbclient.errors import DataError, InputError, PbclientError
    from pbclient.forecast.estimate import Estimate, estimate
    from pbclient.progress import Progress
    from pbclient.scheduler.evaluate import RunResult, evaluate, run

_HOMES = {
    "config": ("RunConfig",),
    "errors": ("DataError", "InputError", "PbclientError"),
    "forecast.estimate": ("Estimate", "estimate"),
    "progress": ("Progress",),
    "scheduler.evaluate": ("RunResult", "evaluate", "run"),
}

# What package tools call it: the name `pbclient` on the public index is another project's.
DISTRIBUTION = "proactivebench-client"

__all__ = [
    "DISTRIBUTION",
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


def _refuse_shadows() -> None:
    """Raises `ImportError` where a user's own file has the name of a package of ours and comes first."""
    home = Path(__file__).resolve().parent.parent
    for name in ("cache", "providers", "runs"):
        found = find_spec(name)
        places = [found.origin, *(found.submodule_search_locations or ())] if found else []
        where = next((Path(place) for place in places if place), None)
        if where is not None and home not in where.resolve().parents:
            raise ImportError(
                f"{where} stands in the way of pbclient's own package {name!r}: "
                "rename it, or start Python in another folder."
            )


_refuse_shadows()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version(DISTRIBUTION)
    for home, names in _HOMES.items():
        if name in names:
            from importlib import import_module

            value = globals()[name] = getattr(import_module(f"pbclient.{home}"), name)
            return value
    raise AttributeError(f"module 'pbclient' has no attribute {name!r}")
