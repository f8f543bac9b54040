"""What a configuration comes to: every default resolved, every input checked, nothing asked.

Whatever the user has to mend is found here, before a run folder is made or a byte is sent.
"""

from __future__ import annotations

import os
import platform
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pbclient.config import RunConfig
from pbclient.dataset import DataFolder, Sample, open_data
from pbclient.episode import Rules
from pbclient.errors import InputError
from pbclient.money import allowed, shown
from pbclient.order import seeded
from pbclient.players import View, baselines
from pbclient.prices import Price, describe, price_of
from pbclient.sampling import option_names
from providers import Json, catalog, price_map
from providers.hosted import Hosted

BASELINE = "baseline"
DATA_VARIABLE = "PBCLIENT_DATA"
MOST_EPISODES = 5_000_000  # the order of a run is kept in memory

type Say = Callable[[str], None]
type Policy = Callable[[View], str]


@dataclass(frozen=True)
class Plan:
    """A run, resolved. `policy` is the baseline's, or None when a model is asked."""

    config: RunConfig
    model: str
    policy: Policy | None
    identity: Mapping[str, Json]
    api_key: str | None
    params: Mapping[str, Json]
    price: Price
    data: DataFolder
    order: list[tuple[Sample, int]]
    rules: Rules
    out: Path
    manifest: dict[str, Any]

    @property
    def limit(self) -> int | None:
        """`--max-cost` in picodollars."""
        return None if self.config.max_cost is None else allowed(self.config.max_cost)

    @property
    def counts(self) -> dict[str, int]:
        """How many episodes each data set will have."""
        return dict(self.manifest["planned"])

    def cache_dir(self, run_folder: Path) -> Path:
        """Where answers are kept; `--no-cache` shares none but still loses none of this run's."""
        if self.config.no_cache:
            return run_folder / "answers"
        return self.config.cache_dir or default_cache_dir()

    def connect(self) -> Hosted:
        """The provider itself; imports its library."""
        return Hosted(
            self.config.provider,
            self.model,
            base_url=self.config.base_url,
            api_key=self.api_key,
            timeout=self.config.timeout,
        )


def default_cache_dir() -> Path:
    """The user's cache folder for answers."""
    from platformdirs import user_cache_path

    return user_cache_path("pbclient") / "answers"


@contextmanager
def prepare(config: RunConfig, say: Say, *, asks: bool = True) -> Iterator[Plan]:
    """Resolve and check `config`; `say` hears of every choice that the user did not make.

    Who only looks and never asks (`asks=False`) needs no key.
    """
    policy, model, api_key = _who_answers(config, say, asks and not config.offline)
    identity = _identity(config, model)
    params = {} if policy else _params(config, model)
    price = _price(config, model, policy, params)
    with open_data(_data_folder(config, say), config.datasets or None) as data:
        _refuse_too_many(config, data)
        order = seeded(data.samples, seed=config.seed, limit=config.limit, repeat=config.repeat)
        out = config.out or _new_folder(config.provider, model)
        manifest = _manifest(config, model, identity, params, price, data)
        manifest["planned"] = _counts(data, order)
        if not price.is_free:
            say(_limit_line(config))
        yield Plan(
            config, model, policy, identity, api_key, params, price, data, order,
            Rules(config.hint, config.reference), out, manifest,
        )  # fmt: skip


def _who_answers(config: RunConfig, say: Say, asks: bool) -> tuple[Policy | None, str, str | None]:
    """The baseline's policy or None, the model's name, and the key when one is needed."""
    if config.provider == BASELINE:
        policies = baselines(config.seed)
        name = config.model or "random"
        if name not in policies:
            raise InputError(f"There is no baseline {name!r}: --model takes {', '.join(policies)}.")
        return policies[name], name, None
    try:
        entry = catalog.lookup(config.provider)
    except LookupError as error:
        raise InputError(str(error)) from None
    key = _key(config, entry, asks)
    model = config.model or entry.default_model
    if model is None:
        raise InputError(f"{config.provider} has no default model: name one with --model.")
    if config.model is None:
        say(f"Model: {model} (the default for {config.provider}; --model names another).")
    sees = price_map.supports_vision(config.provider, model)
    if sees is False:
        raise InputError(f"{model} does not take images: name a vision model with --model.")
    if sees is None and price_map.find(config.provider, model):
        say(f"The price list does not say that {model} takes images; the first call will tell.")
    return None, model, key


def _key(config: RunConfig, entry: catalog.HostedProvider, asks: bool) -> str | None:
    key, endpoint = entry.key(os.environ), _endpoint(config)
    if key is None and asks and not endpoint and entry.key_variables:
        names = " or ".join(entry.key_variables)
        raise InputError(f"{config.provider} needs a key: set the environment variable {names}.")
    return key


def _identity(config: RunConfig, model: str) -> dict[str, Json]:
    if config.provider == BASELINE:
        return {"provider": BASELINE, "model": model, "endpoint": None}
    return dict(Hosted(config.provider, model, base_url=config.base_url).identity)


def _endpoint(config: RunConfig) -> str | None:
    try:
        return catalog.endpoint(config.provider, config.base_url, os.environ)
    except ValueError as error:
        raise InputError(f"--base-url: {error}") from None


def _price(config: RunConfig, model: str, policy: Policy | None, params: Mapping[str, Json]) -> Price:
    if policy is not None:
        return Price.free()
    try:
        options = set(option_names(params))
        return price_of(
            config.provider, model, base_url=_endpoint(config), stated=config.price, options=options
        )
    except InputError:
        # Offline nothing can be spent, and what the cache saved may stay unknown.
        if config.offline and config.price is None:
            return Price.free()
        raise


def _params(config: RunConfig, model: str) -> dict[str, Json]:
    """The sampling options as they are sent."""
    most = config.max_tokens or default_max_tokens(config.provider, model)
    params: dict[str, Json] = {"max_tokens": most}
    if config.temperature is not None:
        params["temperature"] = config.temperature
    return {**params, **config.params}


def default_max_tokens(provider: str, model: str) -> int:
    """Room for a reasoning model to think, within what the model can give; 2,048 when it is unknown,
    since small servers refuse a limit above their context."""
    row = price_map.find(provider, model)
    if row is None:
        return 2048
    most = row.get("max_output_tokens") or row.get("max_tokens")
    return min(8192, int(most)) if most else 8192


def _data_folder(config: RunConfig, say: Say) -> Path:
    if config.data is not None:
        return config.data
    named = os.environ.get(DATA_VARIABLE)
    if named:
        say(f"Data: {named} (from {DATA_VARIABLE}).")
        return Path(named)
    from pbclient.samples import builtin_folder

    say("Data: the built-in samples, drawn for trying things out (--data DIR names the published data).")
    return builtin_folder()


def _refuse_too_many(config: RunConfig, data: DataFolder) -> None:
    samples = sum(len(found[: config.limit]) for found in data.samples.values())
    if samples * config.repeat > MOST_EPISODES:
        raise InputError(
            f"--repeat {config.repeat} makes {samples * config.repeat:,} episodes; "
            f"a run takes up to {MOST_EPISODES:,}."
        )


def _limit_line(config: RunConfig) -> str:
    if config.max_cost is None:
        return "Limit: none (--max-cost none): the run may cost whatever it costs."
    return f"Limit: {shown(allowed(config.max_cost))} for the whole run (--max-cost changes it)."


def _counts(data: DataFolder, order: list[tuple[Sample, int]]) -> dict[str, int]:
    counts = dict.fromkeys(data.samples, 0)
    for sample, _ in order:
        counts[sample.dataset] += 1
    return counts


def _new_folder(provider: str, model: str) -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{stamp}-{provider}-{model}")[:80]
    return Path("results") / f"{name}-{secrets.token_hex(2)}"


def _manifest(
    config: RunConfig,
    model: str,
    identity: Mapping[str, Json],
    params: Mapping[str, Json],
    price: Price,
    data: DataFolder,
) -> dict[str, Any]:
    """run.json: `config` is what defines the run, `settings` what may change when it is continued."""
    return {
        "schema": 1,
        "id": secrets.token_hex(8),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": {
            "benchmark": f"proactivebench {version('proactivebench')}",
            "provider": config.provider,
            "model": model,
            "endpoint": identity.get("endpoint"),
            "mode": "mcqa",
            "datasets": list(data.samples),
            "hint": config.hint,
            "reference": config.reference,
            "limit": config.limit,
            "seed": config.seed,
            "repeat": config.repeat,
            "params": dict(params),
        },
        "data": data.digest,
        "settings": {
            "max_cost": None if config.max_cost is None else float(config.max_cost),
            "concurrency": config.concurrency,
            "rpm": config.rpm,
            "tpm": config.tpm,
            "timeout": config.timeout,
            "offline": config.offline,
            "no_cache": config.no_cache,
        },
        "prices": describe(price),
        "dropped": {},
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("pbclient", "proactivebench", "litellm", "pillow")},
        },
    }
