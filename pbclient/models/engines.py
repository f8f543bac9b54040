"""Engines on this machine: their options, and the engine for a model, started by its first call."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from pbclient.errors import InputError
from pbclient.option import flag, like, option, whole

if TYPE_CHECKING:
    from pbclient.progress import Say
    from providers.hf.engine import LocalTransformers
    from providers.llama.engine import LlamaCpp


type Local = LlamaCpp | LocalTransformers
LLAMACPP, TRANSFORMERS = "llamacpp", "transformers"
LOCAL = (LLAMACPP, TRANSFORMERS)


_LLAMACPP = ("mmproj", "llama_server", "slots", "ctx", "gpu_layers", "overrides")
_TRANSFORMERS = ("device", "dtype", "attention", "batch")


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """The options of local engines, named as their flags are; None is what suits the machine."""

    mmproj: Path | None = option(None, "llamacpp: the projector file that gives the model eyes.", group="who")
    llama_server: str | None = option(None, "llamacpp: a llama-server binary, or library.", group="who")
    overrides: tuple[str, ...] = option(
        (), "llamacpp: KEY=TYPE:VALUE for a key of the file; repeatable.", group="who", flag="--override-kv"
    )
    device: str | None = option(
        None, "transformers: cpu, cuda, cuda:1 or mps; by default the best.", group="who"
    )
    dtype: str | None = option(None, "transformers: float32, bfloat16 or float16.", group="who")
    attention: str | None = option(None, "transformers: eager or sdpa; by default by device.", group="who")
    slots: int | None = option(
        None, "llamacpp: requests worked on at once; by default what fits.", group="speed", rule=whole()
    )
    ctx: int | None = option(
        None, "llamacpp: tokens a slot has for prompt and answer.", group="speed", rule=whole()
    )
    gpu_layers: int | None = option(
        None, "llamacpp: layers on the device; by default what fits.", group="speed"
    )
    batch: int | None = option(
        None, "transformers: most requests in one batch; by default by device.", group="speed", rule=whole()
    )

    @property
    def engine(self) -> EngineOptions:
        """These options alone, of a configuration that has others too."""
        return like(EngineOptions, self)

    def refuse_others(self, providers: set[str]) -> None:
        """Raise `InputError` for an option of an engine that is not asked."""
        for provider in LOCAL:
            given = options_of(provider, self)
            if given and provider not in providers:
                flags = {each.name: flag(each) for each in fields(EngineOptions)}
                name = flags[next(iter(given))]
                raise InputError(f"{name} is an option of --provider {provider}: leave it out.")


def options_of(provider: str, options: EngineOptions) -> dict[str, object]:
    """What is set of the options of one engine."""
    names = _LLAMACPP if provider == LLAMACPP else _TRANSFORMERS
    return {name: value for name in names if (value := getattr(options, name)) not in (None, ())}


def engine(
    provider: str, model: str, options: EngineOptions, timeout: float, say: Say, *, fetch: bool = True
) -> Local:
    """The engine for a model on this machine; with `fetch` its files may come from the hub.

    Raises `providers.Unusable` when it cannot be run.
    """
    from platformdirs import user_cache_path

    from providers.weights import Digests

    # Digests of weights are remembered: files of gigabytes are read once.
    digest = Digests(user_cache_path("pbclient") / "weights.json").of
    if provider == LLAMACPP:
        from providers.llama.engine import LlamaCpp

        return LlamaCpp(
            Path(model).expanduser(),
            options.mmproj,
            server=options.llama_server,
            slots=options.slots,
            ctx=options.ctx,
            gpu_layers=options.gpu_layers,
            overrides=options.overrides,
            digest=digest,
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
        digest=digest,
        say=say,
        timeout=timeout,
        fetch=fetch,
    )


def several_images(local: Local | None) -> bool:
    """Whether a request may show it more than one image, as far as its files say; no weights are read."""
    from providers.hf.engine import LocalTransformers

    return not isinstance(local, LocalTransformers) or local.abilities.several_images


async def peak(local: Local) -> str:
    """How much memory an engine has held at most, in a sentence; empty where it does not say."""
    from providers.llama.engine import LlamaCpp

    if isinstance(local, LlamaCpp):
        host, device = local.memory()
        found = [(host, "of this machine's memory"), (device, "of the device's")]
    else:
        most = (await local.facts()).get("peak bytes")
        found = [(most if isinstance(most, int) else None, "of memory")]
    parts = [f"{count / 2**30:.2f} GiB {where}" for count, where in found if count]
    return f"{local.name} held {' and '.join(parts)} at most." if parts else ""
