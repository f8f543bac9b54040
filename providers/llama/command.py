"""The command line of an engine: a llama-server's options, or the settings of our worker."""

from __future__ import annotations

import json
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
    return dict(_override(each) for each in given)


def _override(text: str) -> tuple[str, Json]:
    key, _, typed = text.partition("=")
    kind, found, value = typed.partition(":")
    try:
        if key and found and "," not in text:
            return key, _READERS[kind](value)
    except (KeyError, ValueError):
        pass
    raise Unusable(
        f"--override-kv {text}: it looks like tokenizer.ggml.pre=str:gpt-2, with int, float, bool or str."
    )


def command(
    engine: Engine, files: Files, settings: Settings, overrides: Sequence[str], port: int
) -> list[str]:
    """What runs the engine at this port."""
    if engine.binary is None:
        return _library(files, settings, read_overrides(overrides), port)
    return [str(engine.binary), *_server(files, settings, overrides), "--host", HOST, "--port", str(port)]


def _server(files: Files, settings: Settings, overrides: Sequence[str]) -> list[str]:
    # Its context is that of all slots together.
    options: list[object] = ["-m", files.model.path, "-np", settings.slots]
    options += ["-c", settings.slots * settings.ctx]
    for name, value in (
        ("--mmproj", files.projector and files.projector.path),
        ("-ngl", settings.gpu_layers),
        ("-t", settings.threads),
        ("--override-kv", ",".join(overrides) or None),
    ):
        options += [] if value is None else [name, value]
    return [str(each) for each in options]


def _library(files: Files, settings: Settings, overrides: Mapping[str, Json], port: int) -> list[str]:
    told = {
        "model": str(files.model.path),
        "mmproj": str(files.projector.path) if files.projector else None,
        "ctx": settings.ctx,
        "gpu_layers": settings.gpu_layers,
        "threads": settings.threads,
        "overrides": overrides or None,
        "port": port,
    }
    # Without -P the worker would find this package's types.py in place of Python's.
    return [sys.executable, "-P", _WORKER, json.dumps(told)]
