"""Whether a model can be run from here, found out before a run: `pbclient doctor`.

An engine on this machine is started, tried out and ended; a provider that costs money is asked nothing.
What is looked at, and how, is in `installed`, `trials` and `hosted_check`; what it means for a figure is
for a run to say.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from pbclient.errors import InputError
from pbclient.models.engines import LOCAL, EngineOptions, Local, engine, refuse_other_engines
from pbclient.models.findings import Finding, Tell
from pbclient.models.hosted_check import check, place
from pbclient.models.installed import engine_parts, gib, machine
from pbclient.models.listing import provider_lines
from pbclient.models.trials import Clock, try_out
from pbclient.option import check as check_options
from pbclient.option import option
from pbclient.progress import Say
from providers import Json
from providers.catalog.names import HOSTED

_BASELINE = "baseline"
_PATIENCE = 1800.0  # seconds for an answer: a slow machine is not a broken one

# What a report says of a model in its engine, and what the engine calls it.
_OF_LLAMACPP = {
    "engine": "engine",
    "architecture": "model",
    "quantization": "quantization",
    "weights_bytes": "size",
    "free_bytes": "free",
    "slots": "slots",
    "ctx": "ctx",
}
_OF_TRANSFORMERS = {
    "engine": "engine",
    "architecture": "model",
    "device": "device",
    "dtype": "dtype",
    "attention": "attention",
    "weights_bytes": "weights bytes",
    "free_bytes": "free bytes",
    "batch": "batch",
    "context": "context",
}


@dataclass(frozen=True, kw_only=True)
class DoctorConfig(EngineOptions):
    """What is examined, named as its flags are; without a `provider` it is what there is to choose from.

    Raises `InputError` for options that do not go together.
    """

    provider: str | None = option(
        None, "What to look at; without it: what there is to choose from.", group="who"
    )
    model: str | None = option(
        None, "llamacpp: a .gguf file; transformers: a folder or a hub name.", group="who"
    )
    base_url: str | None = option(None, "A server of your own.", group="who")
    price: str | None = option(
        None, "IN,OUT in dollars per million tokens; 0,0 lets it be tried out.", group="money"
    )

    def __post_init__(self) -> None:
        check_options(self)
        refuse_other_engines(self, {self.provider or ""})
        given = {"--model": self.model, "--base-url": self.base_url, "--price": self.price}
        for flag, value in given.items():
            if value is not None and self.provider is None:
                raise InputError(f"{flag} needs --provider: whose is it?")
        if self.provider == _BASELINE:
            raise InputError("baseline needs nothing and is always ready: name another --provider.")
        if self.provider in LOCAL and self.base_url is not None:
            raise InputError(
                f"{self.provider} starts its own engine: leave --base-url out, or look at a server that "
                "runs already with --provider openai."
            )


async def examine(config: DoctorConfig, tell: Tell, clock: Clock, say: Say) -> None:
    """Look, and `tell` of each finding as soon as it is there; `say` hears what takes long.

    `clock` gives seconds. An engine that was started has ended when this returns or raises. Raises
    `InputError`, and the `ProviderError` of an engine that cannot be run or a question that fails.
    """
    if config.provider is None:
        _everything(tell)
    elif config.provider in LOCAL:
        await _local(config.provider, config, tell, clock, say)
    else:
        await _hosted(config.provider, config, tell, clock, say)


def _everything(tell: Tell) -> None:
    tell(machine())
    for provider in LOCAL:
        found = engine_parts(provider, EngineOptions())
        # Nobody needs every engine.
        tell(Finding(found.name, found.value, found.says))
    tell(_providers())


def _providers() -> Finding:
    keys: dict[str, Json] = {
        entry.name: {"variables": list(entry.key_variables), "set": entry.key(os.environ) is not None}
        for entry in HOSTED
    }
    return Finding("providers", keys, "\n".join(provider_lines()))


async def _local(provider: str, config: DoctorConfig, tell: Tell, clock: Clock, say: Say) -> None:
    if config.model is None:
        parts = engine_parts(provider, config)
        tell(machine())
        tell(parts)
        tell(Finding("asked", False, "nothing: name a model with --model to have it tried out"))
        return
    # Made first: for a file that is missing there is one sentence, and no half of a report.
    async with engine(provider, config.model, config, _PATIENCE, say) as local:
        tell(machine())
        tell(engine_parts(provider, config))
        await local.start()
        tell(await _running(local))
        await try_out(local, tell, clock, say)


async def _running(local: Local) -> Finding:
    """The engine with the model in it; memory in bytes."""
    from providers.llama.engine import LlamaCpp

    if isinstance(local, LlamaCpp):
        facts, names = local.describe(), _OF_LLAMACPP
        how = f"{facts['quantization']}; slots: {facts['slots']} of {facts['ctx']:,} tokens"
    else:
        facts, names = dict(await local.facts()), _OF_TRANSFORMERS
        how = f"{facts['dtype']}; batch: {facts['batch']}, context: {facts['context']} tokens"
    value: dict[str, Json] = {name: facts[given] for name, given in names.items()}
    free = value["free_bytes"]
    left = f"; {gib(free)} left free" if isinstance(free, int) else ""
    return Finding("model", {"name": local.name, **value}, f"{local.name}: {facts['model']}, {how}{left}")


async def _hosted(provider: str, config: DoctorConfig, tell: Tell, clock: Clock, say: Say) -> None:
    where = place(provider, config.model, config.base_url)
    found = await check(where, config.price, tell)
    if found is not None:
        async with found:
            await try_out(found, tell, clock, say)
