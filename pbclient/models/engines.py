"""Models on this machine, as the command line names them: which engine runs which files, and how.

An engine is made here and started by its first call; how it runs is the providers' business.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pbclient.errors import InputError
from pbclient.progress import Say

if TYPE_CHECKING:
    from providers.hf.engine import LocalTransformers
    from providers.llama.engine import LlamaCpp
    from providers.weights import FileDigest


type Local = LlamaCpp | LocalTransformers
LLAMACPP, TRANSFORMERS = "llamacpp", "transformers"
LOCAL = (LLAMACPP, TRANSFORMERS)


@dataclass(frozen=True, kw_only=True)
class Engine:
    """The options of local engines, named as their flags are; None is what suits the machine.

    llama.cpp: `mmproj`, `llama_server`, `slots`, `ctx` (tokens of a slot), `gpu_layers`, and `overrides`,
    each KEY=TYPE:VALUE for a key of the file.
    transformers: `device`, `dtype`, `attention`, `batch` (requests at once).
    """

    mmproj: Path | None = None
    llama_server: str | None = None
    slots: int | None = None
    ctx: int | None = None
    gpu_layers: int | None = None
    overrides: tuple[str, ...] | None = None
    device: str | None = None
    dtype: str | None = None
    attention: str | None = None
    batch: int | None = None

    def of(self, provider: str) -> dict[str, object]:
        """What is set of the options of one engine."""
        named = _LLAMACPP if provider == LLAMACPP else _TRANSFORMERS
        return {name: value for name in named if (value := getattr(self, name)) is not None}

    def refuse_others(self, providers: set[str]) -> None:
        """Raises `InputError` for an option of an engine that is not asked."""
        for provider in LOCAL:
            given = self.of(provider)
            if given and provider not in providers:
                flag = "--" + next(iter(given)).replace("_", "-").replace("overrides", "override-kv")
                raise InputError(f"{flag} is an option of --provider {provider}: leave it out.")


_LLAMACPP = ("mmproj", "llama_server", "slots", "ctx", "gpu_layers", "overrides")
_TRANSFORMERS = ("device", "dtype", "attention", "batch")


def engine(
    provider: str, model: str, options: Engine, timeout: float, say: Say, *, fetch: bool = True
) -> Local:
    """The engine for a model on this machine; with `fetch` its files may come from the hub.

    Raises `providers.Unusable` when it cannot be run.
    """
    if provider == LLAMACPP:
        from providers.llama.engine import LlamaCpp

        return LlamaCpp(
            Path(model).expanduser(),
            options.mmproj,
            server=options.llama_server,
            slots=options.slots,
            ctx=options.ctx,
            gpu_layers=options.gpu_layers,
            overrides=options.overrides or (),
            digest=_digest(),
            say=say,
            timeout=timeout,
        )
    from providers.hf.engine import LocalTransformers

    return LocalTransformers(
        model,
        device=options.device,
        dtype=options.dtype,
        attention=options.attention,
        batch=options.batch,
        digest=_digest(),
        say=say,
        timeout=timeout,
        fetch=fetch,
    )


def _digest() -> FileDigest:
    """Digests of weights, remembered in the user's cache folder: files of gigabytes are read once."""
    from platformdirs import user_cache_path

    from providers.weights import Digests

    return Digests(user_cache_path("pbclient") / "weights.json").of


async def peak(local: Local) -> str:
    """How much memory an engine has held at most, in a sentence; empty where it does not say."""
    from providers.llama.engine import LlamaCpp

    if isinstance(local, LlamaCpp):
        held = local.memory()
        found = [(held.host, "of this machine's memory"), (held.device, "of the device's")]
    else:
        most = (await local.facts()).get("peak bytes")
        found = [(most if isinstance(most, int) else None, "of memory")]
    parts = [f"{count / 2**30:.2f} GiB {where}" for count, where in found if count]
    return f"{local.name} held {' and '.join(parts)} at most." if parts else ""
