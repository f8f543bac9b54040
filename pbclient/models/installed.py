"""What of the local engines is installed here, and which devices they would use. Loads neither of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

from pbclient.models.engines import LLAMACPP, TRANSFORMERS, EngineOptions
from pbclient.models.findings import Finding
from providers import Json, Unusable
from providers.hf.model import NEEDED, choose
from providers.host_memory import free_memory, processors
from providers.llama.launch import LIBRARY, Device, find_engine

_MISSING = "not installed: uv sync --extra {}"


@dataclass(frozen=True, slots=True)
class _Part:
    """Something that an engine needs. Without a `version` it is `missing`: why, and what to do."""

    name: str
    version: str | None
    path: str | None = None
    missing: str | None = None

    def __str__(self) -> str:
        if self.version is None:
            return f"{self.name}: {self.missing}"
        return f"{self.name} {self.version}" + (f" at {self.path}" if self.path else "")


def machine() -> Finding:
    """Processors that may be used, and memory that is free, in bytes."""
    free = free_memory()
    value: Json = {"processors": processors(), "free_bytes": free}
    return Finding("machine", value, f"{processors()} processors, {gib(free)} free")


def gib(count: int | None) -> str:
    """Bytes as people say them."""
    return "unknown" if count is None else f"{count / 2**30:.1f} GiB"


def engine_parts(provider: str, options: EngineOptions) -> Finding:
    """What is there of one engine and where it would run. Good when it can be started.

    Raises `Unusable` for options that name what is not there.
    """
    return _llamacpp(options.llama_server) if provider == LLAMACPP else _transformers(options)


def _llamacpp(named: str | None) -> Finding:
    library = _package("llama-cpp-python", LLAMACPP)
    if named == LIBRARY:
        return _finding(LLAMACPP, [library], [str(library)], library.version is not None, {"devices": None})
    server, devices = _server(named)
    lines = [str(server), str(library)]
    runs_on: Json = None
    if server.version is not None:  # the library tells nobody which devices it will use
        runs_on = [
            {"name": device.name, "title": device.title, "free_bytes": device.free} for device in devices
        ]
        titles = ", ".join(f"{device.title} ({gib(device.free)} free)" for device in devices)
        lines.append(f"would run on {titles or 'the processors: it sees no other device'}")
    good = server.version is not None or library.version is not None
    return _finding(LLAMACPP, [server, library], lines, good, {"devices": runs_on})


def _server(named: str | None) -> tuple[_Part, Sequence[Device]]:
    name = "llama-server"
    try:
        engine = find_engine(named)
    except Unusable as error:
        if named:
            raise
        return _Part(name, None, missing=str(error)), ()
    if engine.binary is None:
        return _Part(name, None, missing=_MISSING.format(name)), ()
    return _Part(name, engine.version, str(engine.binary)), engine.devices()


def _transformers(options: EngineOptions) -> Finding:
    setting = choose(options.device, options.dtype, options.attention)
    parts = [_package(name, TRANSFORMERS) for name in NEEDED]
    present = ", ".join(str(part) for part in parts if part.version)
    absent = ", ".join(part.name for part in parts if not part.version)
    lines = [present] if present else []
    if absent:
        lines.append(f"{absent}: {_MISSING.format(TRANSFORMERS)}")
    lines.append(f"would run on {setting}")
    runs_on: dict[str, Json] = {
        "device": setting.device,
        "dtype": setting.dtype,
        "attention": setting.attention,
    }
    return _finding(TRANSFORMERS, parts, lines, not absent, runs_on)


def _finding(
    provider: str, parts: Sequence[_Part], lines: Sequence[str], good: bool, more: dict[str, Json]
) -> Finding:
    value: dict[str, Json] = {"installed": [asdict(part) for part in parts], **more}
    return Finding(provider, value, "\n".join(lines), good)


def _package(name: str, extra: str) -> _Part:
    try:
        return _Part(name, version(name))
    except PackageNotFoundError:
        return _Part(name, None, missing=_MISSING.format(extra))
