"""What a user asks for: one frozen value that the command line, a notebook and a test fill alike.

Only what can be checked without touching files, network or keys is checked here; what the
options come to (a default model, a price, a data folder) is resolved in `plan`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from pathlib import Path

from pbclient.benchmark.package import MCQA, OEG
from pbclient.episodes.rules import Rules
from pbclient.errors import InputError
from pbclient.models.choice import DIRECT, LITELLM, Choice, judge_named
from pbclient.models.engines import Engine
from pbclient.models.sampling import refuse_own_options
from providers.types import Json

DEFAULT_MAX_COST = Decimal(5)
DEFAULT_CONCURRENCY = 64
DEFAULT_TIMEOUT = 300.0


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The options of `pbclient run`, named as its flags are. Raises `InputError` on values that cannot be.

    `limit` is in samples per data set, `max_cost` in dollars for the whole run (None lifts it),
    `price` is "IN,OUT" in dollars per million tokens, `timeout` in seconds per attempt.
    `max_tokens` None means a default that suits the model. `filter` is "official", "none" or a file
    that `pbclient filter` wrote, `wire` "litellm" or "direct", `mode` is "mcqa" or "oeg", `options`
    "valid" or "random"; `judge="none"` records open-ended answers without a verdict.
    """

    provider: str
    model: str | None = None
    base_url: str | None = None
    data: Path | None = None
    datasets: tuple[str, ...] = ()
    filter: str = "official"
    mode: str = MCQA
    hint: bool = False
    reference: bool = False
    history: bool = False
    resize: bool = False
    shots: int = 0
    cot: bool = False
    options: str = "valid"
    judge: str | None = None
    judge_provider: str | None = None
    judge_model: str | None = None
    judge_base_url: str | None = None
    judge_max_tokens: int | None = None
    judge_price: str | None = None
    judge_grammar: bool = False
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
    limit: int | None = None
    seed: int = 0
    repeat: int = 1
    max_tokens: int | None = None
    temperature: float | None = 0.0
    params: Mapping[str, Json] = field(default_factory=dict)
    max_cost: Decimal | None = DEFAULT_MAX_COST
    price: str | None = None
    image_tokens: int | None = None
    release_holds: bool = False
    wire: str = LITELLM
    concurrency: int = DEFAULT_CONCURRENCY
    rpm: int | None = None
    tpm: int | None = None
    timeout: float = DEFAULT_TIMEOUT
    cache_dir: Path | None = None
    no_cache: bool = False
    offline: bool = False
    out: Path | None = None

    @property
    def engine(self) -> Engine:
        """The options of engines on this machine."""
        return Engine(**{each.name: getattr(self, each.name) for each in fields(Engine)})

    def __post_init__(self) -> None:
        _take_what_notebooks_write(self)
        check_whole(self, "limit", "repeat", "max_tokens", "concurrency", "rpm", "tpm", "image_tokens")
        check_whole(self, "judge_max_tokens", "slots", "ctx", "batch")
        self.engine.refuse_others({self.provider, self.judge_provider or ""})
        _one_of(self, "mode", MCQA, OEG)
        _one_of(self, "options", "valid", "random")
        _one_of(self, "wire", LITELLM, DIRECT)
        if not isinstance(self.shots, int) or self.shots < 0:
            raise InputError(f"--shots must be a whole number and at least 0, not {self.shots!r}.")
        _judge(self)
        check_timeout(self)
        _number(self, "temperature", "zero or more", least=0.0)
        check_max_cost(self)
        if not isinstance(self.seed, int):
            raise InputError(f"--seed must be a whole number, not {self.seed!r}.")
        if self.no_cache and self.offline:
            raise InputError("--offline answers from the cache: it cannot go with --no-cache.")
        refuse_own_options(self.params)


def _take_what_notebooks_write(config: RunConfig) -> None:
    """`data="folder"` and `datasets="ROD"` mean what they say."""
    normal: dict[str, object] = {}
    for name in ("data", "cache_dir", "out", "mmproj"):
        if isinstance(getattr(config, name), str):
            normal[name] = Path(getattr(config, name))
    datasets = (config.datasets,) if isinstance(config.datasets, str) else tuple(config.datasets)
    for name, value in {**normal, "datasets": datasets}.items():
        object.__setattr__(config, name, value)  # the one way to normalise a frozen value


def _one_of(config: RunConfig, name: str, *values: str) -> None:
    if getattr(config, name) not in values:
        raise InputError(f"{_flag(name)} must be {' or '.join(values)}, not {getattr(config, name)!r}.")


_JUDGE = ("judge_provider", "judge_model", "judge_base_url", "judge_max_tokens", "judge_price")


def _judge(config: RunConfig) -> None:
    """A judge where one is needed, and none where it would have nothing to do."""
    named = [name for name in (*_JUDGE, "judge_grammar") if getattr(config, name) not in (None, False)]
    if config.judge not in (None, "none"):
        raise InputError(f"--judge takes none; a judge is named with --judge-provider, not {config.judge!r}.")
    if config.mode == MCQA and (named or config.judge):
        flag = _flag(named[0]) if named else "--judge"
        raise InputError(f"{flag} belongs to --mode oeg: multiple choice needs no judge.")
    if config.judge == "none" and named:
        raise InputError(f"--judge none asks no judge: leave it or {_flag(named[0])} out.")
    if config.mode == OEG and config.judge is None and config.judge_provider is None:
        raise InputError(
            "--mode oeg needs a judge: name one with --judge-provider, or only record with --judge none."
        )


def check_whole(config: object, *names: str, prefix: str = "") -> None:
    """Raises `InputError` for a field of this name, set, that is no whole number of at least 1.

    Its flag is named as the field, after `prefix`.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise InputError(f"{_flag(prefix + name)} must be a whole number and at least 1, not {value!r}.")


def check_timeout(config: object) -> None:
    """Raises `InputError` for a `timeout` that is no positive number of seconds."""
    _number(config, "timeout", "a positive number of seconds", above=0.0)


def check_max_cost(config: object) -> None:
    """Takes 5 and 0.1 for decimals. Raises `InputError` for a `max_cost` that is no amount of dollars."""
    _number(config, "max_cost", "a number of dollars up to a billion, or none", least=0.0)
    value = getattr(config, "max_cost", None)
    if value is not None:
        object.__setattr__(config, "max_cost", Decimal(str(value)))  # as above


def _number(
    config: object, name: str, what: str, least: float = float("-inf"), above: float = float("-inf")
) -> None:
    value = getattr(config, name)
    if value is None:
        return
    number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    # NaN compares as false everywhere (and a Decimal one raises), and a billion keeps every sum exact.
    if not (number and math.isfinite(value) and value <= 10**9 and value >= least and value > above):
        raise InputError(f"{_flag(name)} must be {what}, not {value}.")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def model_choice(config: RunConfig) -> Choice:
    return Choice(
        provider=config.provider,
        model=config.model,
        base_url=config.base_url,
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        params=config.params,
        price=config.price,
        image_tokens=config.image_tokens,
        timeout=config.timeout,
        wire=config.wire,
        engine=config.engine,
        offline=config.offline,
    )


def judge_choice(config: RunConfig) -> Choice | None:
    """The judge that the options name."""
    if config.judge_provider is None:
        return None
    return judge_named(
        config.judge_provider,
        model=config.judge_model,
        base_url=config.judge_base_url,
        max_tokens=config.judge_max_tokens,
        price=config.judge_price,
        timeout=config.timeout,
        wire=config.wire,
        # Eyes are the model's: a judge reads text.
        engine=replace(config.engine, mmproj=None),
        grammar=config.judge_grammar,
        offline=config.offline,
    )


def rules_of(config: RunConfig) -> Rules:
    return Rules(
        hint=config.hint,
        reference=config.reference,
        history=config.history,
        resize=config.resize,
        shots=config.shots,
        cot=config.cot,
        random_options=config.options == "random",
        seed=config.seed,
    )
