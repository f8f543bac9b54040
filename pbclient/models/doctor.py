"""Find out before a run whether a model can be run from here: `pbclient doctor`.

An engine on this machine is started, tried out and ended; a provider that costs money is asked nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from pbclient.errors import InputError
from pbclient.models.engines import LOCAL, EngineOptions, Local, engine, refuse_other_engines
from pbclient.models.findings import Finding, Tell
from pbclient.models.hosted_check import check
from pbclient.models.installed import engine_parts, gib, machine
from pbclient.models.trials import Clock, try_out
from pbclient.option import check as check_options
from pbclient.option import option
from pbclient.progress import Say
from providers import Json, ProviderError
from providers.catalog.names import HOSTED

_BASELINE = "baseline"
_PATIENCE = 1800.0  # seconds for an answer: a slow machine is not a broken one


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
        tell(machine())
        for name in LOCAL:
            parts = engine_parts(name, EngineOptions())
            # Nobody needs every engine.
            tell(Finding(parts.name, parts.value, parts.says))
        tell(_keys())
    elif config.provider in LOCAL:
        await _examine_local(config.provider, config, tell, clock, say)
    else:
        await _examine_hosted(config.provider, config, tell, clock, say)


def _keys() -> Finding:
    """Which keys are set."""
    value: dict[str, Json] = {}
    names: dict[bool, list[str]] = {True: [], False: []}
    for entry in HOSTED:
        is_set = entry.key(os.environ) is not None
        value[entry.name] = {"variables": list(entry.key_variables), "set": is_set}
        if entry.key_variables:
            names[is_set].append(entry.name)
    keys = f"key set: {', '.join(names[True]) or 'none'}\nno key: {', '.join(names[False]) or 'none'}"
    return Finding("providers", value, f"{keys}\n`pbclient providers` says what each needs")


async def _examine_local(provider: str, config: DoctorConfig, tell: Tell, clock: Clock, say: Say) -> None:
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
        tell(await _loaded(local))
        await try_out(local, tell, clock, say)


async def _loaded(local: Local) -> Finding:
    """The engine with the model in it; memory in bytes."""
    from providers.llama.engine import LlamaCpp

    value: dict[str, Json] = {"name": local.name}
    if isinstance(local, LlamaCpp):
        facts = local.describe()
        value |= {name: facts[name] for name in ("engine", "quantization", "slots", "ctx")}
        value |= {"weights_bytes": facts["size"], "free_bytes": facts["free"]}
        how = f"{facts['quantization']}; slots: {facts['slots']} of {facts['ctx']:,} tokens"
    else:
        facts = dict(await local.facts())
        value |= {
            name: facts[name] for name in ("engine", "device", "dtype", "attention", "batch", "context")
        }
        value |= {"weights_bytes": facts["weights bytes"], "free_bytes": facts["free bytes"]}
        how = f"{facts['dtype']}; batch: {facts['batch']}, context: {facts['context']} tokens"
    value["architecture"] = facts["model"]
    free = value["free_bytes"]
    left = f"; {gib(free)} left free" if isinstance(free, int) else ""
    return Finding("model", value, f"{local.name}: {facts['model']}, {how}{left}")


async def _examine_hosted(provider: str, config: DoctorConfig, tell: Tell, clock: Clock, say: Say) -> None:
    findings, wire = check(provider, config.model, config.base_url, config.price)
    for finding in findings:
        tell(finding)
    if wire is None:
        return
    try:
        async with wire:
            await try_out(wire, tell, clock, say)
    except ProviderError as error:
        tell(Finding("answers", False, str(error), good=False))
