"""What of the local engines is installed here, and which devices they would use. Loads neither of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

from pbclient.models.engines import LLAMACPP, TRANSFORMERS, EngineOptions
from pbclient.models.trials import Finding
from providers import Json, Unusable
from providers.hf.device import choose
from providers.hf.model import NEEDED
from providers.host_memory import free_memory, processors
from providers.llama.binary import LIBRARY, Device, find_engine

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
    parts, lines = [library], [str(library)]
    runs_on: Json = None
    if named != LIBRARY:
        server, devices = _server(named)
        parts, lines = [server, library], [str(server), str(library)]
        if server.version is not None:  # the library tells nobody which devices it will use
            runs_on = [
                {"name": device.name, "title": device.title, "free_bytes": device.free} for device in devices
            ]
            titles = ", ".join(f"{device.title} ({gib(device.free)} free)" for device in devices)
            lines.append(f"would run on {titles or 'the processors: it sees no other device'}")
    good = any(part.version is not None for part in parts)
    value: Json = {"installed": [asdict(part) for part in parts], "devices": runs_on}
    return Finding(LLAMACPP, value, "\n".join(lines), good)


def _server(named: str | None) -> tuple[_Part, Sequence[Device]]:
    name = "llama-server"
    missing = _MISSING.format(name)
    try:
        engine = find_engine(named)
        if engine.binary is not None:
            return _Part(name, engine.version, str(engine.binary)), engine.devices()
    except Unusable as error:
        if named:
            raise
        missing = str(error)
    return _Part(name, None, missing=missing), ()


def _transformers(options: EngineOptions) -> Finding:
    setting = choose(options.device, options.dtype, options.attention)
    parts = [_package(name, TRANSFORMERS) for name in NEEDED]
    lines = [", ".join(str(part) for part in parts if part.version)]
    if absent := ", ".join(part.name for part in parts if not part.version):
        lines.append(f"{absent}: {_MISSING.format(TRANSFORMERS)}")
    lines.append(f"would run on {setting}")
    value = {"installed": [asdict(part) for part in parts], **asdict(setting)}
    return Finding(TRANSFORMERS, value, "\n".join(filter(None, lines)), not absent)


def _package(name: str, extra: str) -> _Part:
    try:
        return _Part(name, version(name))
    except PackageNotFoundError:
        return _Part(name, None, missing=_MISSING.format(extra))
