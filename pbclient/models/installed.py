"""What of the local engines is installed here, and which devices they would use. Loads neither of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from pbclient.models.engines import LLAMACPP, TRANSFORMERS, EngineOptions
from pbclient.models.findings import Finding
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

    def to_json(self) -> Json:
        return {"name": self.name, "version": self.version, "path": self.path, "missing": self.missing}


def machine() -> Finding:
    """Processors that may be used, and memory that is free, in bytes."""
    free = free_memory()
    value: Json = {"processors": processors(), "free_bytes": free}
    return Finding("machine", value, f"{processors()} processors, {gib(free)} free")


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
    parts = [server, library]
    lines = [*map(str, parts)]
    runs_on: Json = None
    if server.version is not None:  # the library tells nobody which devices it will use
        runs_on = [{"name": each.name, "title": each.title, "free_bytes": each.free} for each in devices]
        lines.append(_would_run_on(devices))
    return _finding(LLAMACPP, parts, lines, any(each.version for each in parts), {"devices": runs_on})


def _server(named: str | None) -> tuple[_Part, Sequence[Device]]:
    name = "llama-server"
    try:
        found = find_engine(named)
    except Unusable as error:
        if named:
            raise
        return _Part(name, None, missing=str(error)), ()
    if found.binary is None:
        return _Part(name, None, missing=_MISSING.format(name)), ()
    return _Part(name, found.version, str(found.binary)), found.devices()


def _transformers(options: EngineOptions) -> Finding:
    setting = choose(options.device, options.dtype, options.attention)
    parts = [_package(name, TRANSFORMERS) for name in NEEDED]
    runs_on: dict[str, Json] = {
        "device": setting.device,
        "dtype": setting.dtype,
        "attention": setting.attention,
    }
    lines = [*_together(parts), f"would run on {setting}"]
    return _finding(TRANSFORMERS, parts, lines, all(each.version for each in parts), runs_on)


def _together(parts: Sequence[_Part]) -> Iterator[str]:
    present = ", ".join(str(each) for each in parts if each.version)
    absent = ", ".join(each.name for each in parts if not each.version)
    if present:
        yield present
    if absent:
        yield f"{absent}: {_MISSING.format(TRANSFORMERS)}"


def _finding(
    provider: str, parts: Sequence[_Part], lines: Sequence[str], good: bool, more: dict[str, Json]
) -> Finding:
    value: dict[str, Json] = {"installed": [each.to_json() for each in parts], **more}
    return Finding(provider, value, "\n".join(lines), good)


def _would_run_on(devices: Sequence[Device]) -> str:
    named = ", ".join(f"{each.title} ({gib(each.free)} free)" for each in devices)
    return f"would run on {named or 'the processors: it sees no other device'}"


def gib(count: int | None) -> str:
    """Bytes as people say them."""
    return "unknown" if count is None else f"{count / 2**30:.1f} GiB"


def _package(name: str, extra: str) -> _Part:
    try:
        return _Part(name, version(name))
    except PackageNotFoundError:
        return _Part(name, None, missing=_MISSING.format(extra))
