"""Choose slots, context and threads of an engine for a model, and write the command line that starts it.

None of what is chosen changes an answer, only how many are worked on at once and how long they may be, so
none of it is part of a key. A file that the engine cannot take is refused here before anything starts.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from providers.errors import ImagesUnsupported, Unusable
from providers.host_memory import free_memory, processors
from providers.llama.binary import Device, Engine
from providers.llama.gguf import Header, read_header
from providers.llama.process import HOST
from providers.types import Json

_SLOTS = 8  # what the benchmark's short answers fill well; more slots take more memory than they save time
_CONTEXT = 8192  # tokens: a question, few-shot examples and pictures of a few thousand tokens
_UNKNOWN_CONTEXT = 4096
_LEAST_CONTEXT = 256  # llama.cpp rounds up to it
_RESERVE = 1 << 30  # bytes for what is computed on the way
_GIB = float(1 << 30)
_WORKER = str(Path(__file__).with_name("worker.py"))
_READERS: Mapping[str, Callable[[str], Json]] = {
    "int": int,
    "float": float,
    "bool": {"true": True, "false": False}.__getitem__,
    "str": str,
}


@dataclass(frozen=True)
class Settings:
    """`ctx` is the context of one slot in tokens; None leaves the choice to llama.cpp."""

    slots: int
    ctx: int
    gpu_layers: int | None
    threads: int | None


@dataclass(frozen=True)
class Files:
    """A model and its projector, read and found to fit each other."""

    model: Header
    projector: Header | None

    @property
    def size(self) -> int:
        """Bytes of weights."""
        return self.model.size + (self.projector.size if self.projector else 0)


def open_files(model: Path, mmproj: Path | None) -> Files:
    """The headers of both. Raises `Unusable` naming the file that does not do, and what would."""
    header = read_header(model)
    if header.is_projector:
        raise Unusable(f"{model} is a projector: give the model as --model and this file as --mmproj.")
    if mmproj is None:
        return Files(header, None)
    projector = read_header(mmproj)
    if not projector.is_projector:
        raise Unusable(f"{mmproj} is no projector but a model ({projector.architecture}): see --mmproj.")
    if not projector.sees:
        raise ImagesUnsupported(f"{mmproj} is a projector for sound, not for images: see --mmproj.")
    if header.width and projector.width and header.width != projector.width:
        raise Unusable(
            f"{mmproj} does not belong to {model}: it projects to a width of {projector.width}, and the "
            f"model's is {header.width}; name the --mmproj that came with the model."
        )
    return Files(header, projector)


def settle(
    files: Files, devices: Sequence[Device], slots: int | None, ctx: int | None, gpu_layers: int | None
) -> Settings:
    """What the user said, and for the rest what fits. Raises `Unusable` when nothing does."""
    stated = (("slots", slots, 1), ("ctx", ctx, _LEAST_CONTEXT), ("gpu-layers", gpu_layers, 0))
    for flag, value, least in stated:
        if value is not None and value < least:
            raise Unusable(f"--{flag} {value}: it is at least {least}.")
    context = ctx or min(files.model.context or _UNKNOWN_CONTEXT, _CONTEXT)
    per_slot = context * files.model.cache_bytes
    room = _room(files, devices, gpu_layers)
    fitting = _SLOTS if room is None or not per_slot else room // per_slot
    chosen = slots or max(1, min(_SLOTS, fitting))
    # The cache of a model with a sliding window is smaller than we can tell.
    if chosen > fitting and not files.model.slides:
        needed, free = per_slot * chosen / _GIB, (room or 0) / _GIB
        raise Unusable(
            f"Not enough memory for {files.model.path.name}: {chosen} slots of {context:,} tokens take "
            f"{needed:.1f} GiB beside the weights, and {free:.1f} GiB is free: lower --ctx or --slots."
        )
    # Left alone, it counts the cores of the machine, not those of our container.
    usable = processors()
    return Settings(chosen, context, gpu_layers, usable if usable < (os.cpu_count() or 1) else None)


def _room(files: Files, devices: Sequence[Device], gpu_layers: int | None) -> int | None:
    """Bytes for the caches of all slots, wherever they are put; None when nobody knows."""
    host = free_memory()
    if gpu_layers == 0 or not devices:
        # Weights are mapped from the file: they may stay on disk, so they are not counted.
        return None if host is None else max(0, host - _RESERVE)
    on_devices = sum(device.free for device in devices) - files.size - _RESERVE
    return max(on_devices, (host or 0) - _RESERVE)


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
