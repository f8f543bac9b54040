"""Write the command line of an engine: a llama-server's options, or the settings of our worker."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from providers.errors import Unusable
from providers.llama.binary import Engine
from providers.llama.process import HOST
from providers.llama.settings import Files, Settings
from providers.types import Json

_WORKER = str(Path(__file__).with_name("worker.py"))
_READERS: Mapping[str, Callable[[str], Json]] = {
    "int": int,
    "float": float,
    "bool": {"true": True, "false": False}.__getitem__,
    "str": str,
}


def read_overrides(given: Sequence[str]) -> dict[str, Json]:
    """`KEY=TYPE:VALUE` as llama-server's --override-kv takes it. Raises `Unusable` for anything else."""
    overrides: dict[str, Json] = {}
    for text in given:
        match = re.fullmatch("([^=,]+)=(int|float|bool|str):([^,]*)", text)
        try:
            key, kind, value = match.groups() if match else ("", "", "")
            overrides[key] = _READERS[kind](value)
        except (KeyError, ValueError):
            raise Unusable(
                f"--override-kv {text}: it looks like tokenizer.ggml.pre=str:gpt-2, "
                "with int, float, bool or str."
            ) from None
    return overrides


def command(
    engine: Engine, files: Files, settings: Settings, overrides: Sequence[str], port: int
) -> list[str]:
    """What runs the engine at this port."""
    mmproj = str(files.projector.path) if files.projector else None
    if engine.binary is None:
        settings_of_worker = {
            "model": str(files.model.path),
            "mmproj": mmproj,
            "ctx": settings.ctx,
            "gpu_layers": settings.gpu_layers,
            "threads": settings.threads,
            "overrides": read_overrides(overrides) or None,
            "port": port,
        }
        # Without -P the worker would find this package's types.py in place of Python's.
        return [sys.executable, "-P", _WORKER, json.dumps(settings_of_worker)]
    options = {
        "-m": files.model.path,
        "-np": settings.slots,
        "-c": settings.slots * settings.ctx,  # that of all slots together
        "--mmproj": mmproj,
        "-ngl": settings.gpu_layers,
        "-t": settings.threads,
        "--override-kv": ",".join(overrides) or None,
        "--host": HOST,
        "--port": port,
    }
    given = {name: str(value) for name, value in options.items() if value is not None}
    return [str(engine.binary), *(text for option in given.items() for text in option)]
