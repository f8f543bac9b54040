"""Find out before a run what can be run from here: `pbclient doctor`, and the list of `pbclient providers`.

An engine on this machine is started, tried out and ended; a provider that costs money is asked nothing.
What is installed is found out without loading it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

from pbclient.errors import InputError
from pbclient.models.choice import BASELINES
from pbclient.models.engines import LLAMACPP, LOCAL, TRANSFORMERS, EngineOptions, Local, engine
from pbclient.models.trials import BLIND, SEES, UNKNOWN, Clock, Finding, Tell, sight, try_out
from pbclient.money.prices import MILLION, OWN_MACHINE, Price, describe, price_of
from pbclient.option import check as check_options
from pbclient.option import option
from pbclient.progress import Say
from providers import Json, ProviderError, Unusable
from providers.catalog import names as catalog
from providers.catalog import prices as price_map
from providers.catalog.target import Target
from providers.direct.wire import Direct, speaks
from providers.hf.model import NEEDED, choose
from providers.host_memory import free_memory, processors
from providers.hosted.wire import Hosted
from providers.llama.launch import LIBRARY, Device, find_engine

HEAD = ("provider", "ready", "needs", "default model")
OTHERS = """Any other name that LiteLLM knows is taken too, with the variable <NAME>_API_KEY and --model.
Any OpenAI-compatible server: --provider openai --base-url URL --model NAME --price IN,OUT"""
_MISSING = "not installed: uv sync --extra {}"
_SIGHT = {
    True: (SEES, "the price list says so"),
    False: (BLIND, "the price list says so: name a vision model"),
    None: (UNKNOWN, "the price list does not say"),
}
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
        self.refuse_others({self.provider or ""})
        given = {"--model": self.model, "--base-url": self.base_url, "--price": self.price}
        for flag, value in given.items():
            if value is not None and self.provider is None:
                raise InputError(f"{flag} needs --provider: whose is it?")
        if self.provider == "baseline":
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
        tell(_machine())
        for name in LOCAL:
            parts = _engine_parts(name, EngineOptions())
            # Nobody needs every engine.
            tell(Finding(parts.name, parts.value, parts.says))
        tell(_keys())
    elif config.provider in LOCAL:
        await _examine_local(config.provider, config, tell, clock, say)
    else:
        await _examine_hosted(config.provider, config, tell, clock, say)


def _keys() -> Finding:
    value: dict[str, Json] = {}
    names: dict[bool, list[str]] = {True: [], False: []}
    for entry in catalog.HOSTED:
        is_set = entry.key(os.environ) is not None
        value[entry.name] = {"variables": list(entry.key_variables), "set": is_set}
        if entry.key_variables:
            names[is_set].append(entry.name)
    keys = f"key set: {', '.join(names[True]) or 'none'}\nno key: {', '.join(names[False]) or 'none'}"
    return Finding("providers", value, f"{keys}\n`pbclient providers` says what each needs")


async def _examine_local(provider: str, config: DoctorConfig, tell: Tell, clock: Clock, say: Say) -> None:
    if config.model is None:
        parts = _engine_parts(provider, config)
        tell(_machine())
        tell(parts)
        tell(Finding("asked", False, "nothing: name a model with --model to have it tried out"))
        return
    # Made first: for a file that is missing there is one sentence, and no half of a report.
    async with engine(provider, config.model, config, _PATIENCE, say) as local:
        tell(_machine())
        tell(_engine_parts(provider, config))
        await local.start()
        tell(await _loaded(local))
        await try_out(local, tell, clock, say)


async def _loaded(local: Local) -> Finding:
    """The engine with the model in it; memory in bytes."""
    from providers.llama.engine import LlamaCpp

    names: tuple[str, ...]
    if isinstance(local, LlamaCpp):
        facts, weights, left = local.describe(), "size", "free"
        names = ("engine", "quantization", "slots", "ctx")
        how = f"{facts['quantization']}; slots: {facts['slots']} of {facts['ctx']:,} tokens"
    else:
        facts, weights, left = dict(await local.facts()), "weights bytes", "free bytes"
        names = ("engine", "device", "dtype", "attention", "batch", "context")
        how = f"{facts['dtype']}; batch: {facts['batch']}, context: {facts['context']} tokens"
    free = facts[left]
    value = {"name": local.name, **{name: facts[name] for name in names}, "weights_bytes": facts[weights]}
    value |= {"free_bytes": free, "architecture": facts["model"]}
    memory = f"; {_gib(free)} left free" if isinstance(free, int) else ""
    return Finding("model", value, f"{local.name}: {facts['model']}, {how}{memory}")


async def _examine_hosted(provider: str, config: DoctorConfig, tell: Tell, clock: Clock, say: Say) -> None:
    """Key, price and sight of a hosted model; the user's own server, at a price of 0, is tried out."""
    try:
        entry = catalog.lookup(provider)
        name = config.model or entry.default_model
        target = Target.of(provider, name or "", config.base_url)
    except LookupError as error:
        raise InputError(str(error)) from None
    except ValueError as error:
        raise InputError(f"--base-url: {error}") from None
    own_server = target.endpoint is not None or provider in OWN_MACHINE
    if provider in catalog.KEYLESS and not own_server:
        raise InputError(f"{provider} is a server of your own: name it with --base-url.")
    if name is None:
        raise InputError(f"{provider} has no default model: name one with --model.")
    price, cost = _price(provider, name, target.endpoint, config.price)
    for finding in (Finding("model", name, name), _key(entry, own_server), cost):
        tell(finding)
    if own_server and price is not None and price.is_free:
        try:
            # LiteLLM costs processor time that would be taken for the server's.
            async with Direct(target) if speaks(provider) else Hosted(target) as wire:
                await try_out(wire, tell, clock, say)
        except ProviderError as error:
            tell(Finding("answers", False, str(error), good=False))
        return
    if own_server and price is None:
        reason = "it might cost money: --price 0,0 says that it is free, and tries it out"
    else:
        command = f"pbclient run --provider {provider} --limit 1 --max-cost 0.10"
        reason = f"it costs money: `{command}` asks it a little"
    tell(sight(*_SIGHT[price_map.supports_vision(provider, name)]))
    tell(Finding("asked", False, f"nothing, since {reason}"))


def _key(entry: catalog.HostedProvider, own_server: bool) -> Finding:
    is_set = entry.key(os.environ) is not None
    is_needed = bool(entry.key_variables) and not own_server
    value: Json = {"variables": list(entry.key_variables), "set": is_set}
    if is_set:
        sentence = "set; not checked, which would be a call"
    elif is_needed:
        sentence = f"not set: set the environment variable {' or '.join(entry.key_variables)}"
    else:
        sentence = "none is set; a server of your own may need none" if own_server else entry.note
    return Finding("key", value, sentence, good=is_set or not is_needed)


def _price(
    provider: str, model: str, endpoint: str | None, stated: str | None
) -> tuple[Price | None, Finding]:
    try:
        price = price_of(provider, model, base_url=endpoint, stated=stated)
    except InputError as error:
        if stated is not None:
            raise
        # A run refuses a model of unknown price.
        return None, Finding("price", None, str(error), good=False)
    first = price.tiers[0]
    cost = f"${first.input / MILLION:g} in, ${first.output / MILLION:g} out per million tokens"
    return price, Finding("price", describe(price), "free" if price.is_free else f"{cost} ({price.source})")


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


def _machine() -> Finding:
    """Processors that may be used, and memory that is free, in bytes."""
    free = free_memory()
    value: Json = {"processors": processors(), "free_bytes": free}
    return Finding("machine", value, f"{processors()} processors, {_gib(free)} free")


def _gib(count: int | None) -> str:
    """Bytes as people say them."""
    return "unknown" if count is None else f"{count / 2**30:.1f} GiB"


def _engine_parts(provider: str, options: EngineOptions) -> Finding:
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
            titles = ", ".join(f"{device.title} ({_gib(device.free)} free)" for device in devices)
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


def provider_rows() -> list[tuple[str, ...]]:
    """A row a provider, with a cell for each word of `HEAD`."""
    rows: list[tuple[str, ...]] = []
    for entry in catalog.HOSTED:
        needs = " or ".join(entry.key_variables) or entry.note
        ready = "yes" if entry.key(os.environ) else ("no" if entry.key_variables else "?")
        note = f"  ({entry.note})" if entry.note and entry.key_variables else ""
        rows.append((entry.name, ready, needs, (entry.default_model or "(name one)") + note))
    return [*rows, ("baseline", "yes", "nothing", "random; also " + ", ".join(BASELINES[1:]))]
