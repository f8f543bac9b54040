"""What a user asks for: one frozen value that the command line, a notebook and a test fill alike.

Only what can be checked without touching files, network or keys is checked here; what the
options come to (a default model, a price, a data folder) is resolved in `plan`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from pbclient.errors import InputError
from providers.types import Json

DEFAULT_MAX_COST = Decimal(5)
DEFAULT_CONCURRENCY = 64
DEFAULT_TIMEOUT = 300.0


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The options of `pbclient run`, named as its flags are. Raises `InputError` on values that cannot be.

    `limit` is in samples per data set, `max_cost` in dollars for the whole run (None lifts it),
    `price` is "IN,OUT" in dollars per million tokens, `timeout` in seconds per attempt.
    `max_tokens` None means a default that suits the model.
    """

    provider: str
    model: str | None = None
    base_url: str | None = None
    data: Path | None = None
    datasets: tuple[str, ...] = ()
    hint: bool = False
    reference: bool = False
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
    concurrency: int = DEFAULT_CONCURRENCY
    rpm: int | None = None
    tpm: int | None = None
    timeout: float = DEFAULT_TIMEOUT
    cache_dir: Path | None = None
    no_cache: bool = False
    offline: bool = False
    out: Path | None = None

    def __post_init__(self) -> None:
        _at_least_one(self, "limit", "repeat", "max_tokens", "concurrency", "rpm", "tpm", "image_tokens")
        if not (math.isfinite(self.timeout) and self.timeout > 0):
            raise InputError(f"--timeout must be a positive number of seconds, not {self.timeout}.")
        if self.temperature is not None and not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise InputError(f"--temperature must be zero or more, not {self.temperature}.")
        if self.max_cost is not None and not (self.max_cost.is_finite() and self.max_cost >= 0):
            raise InputError(f"--max-cost must be a number of dollars or 'none', not {self.max_cost}.")
        if self.no_cache and self.offline:
            raise InputError("--offline answers from the cache: it cannot go with --no-cache.")
        _own_options(self.params)


def _at_least_one(config: RunConfig, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} must be at least 1, not {value}.")


def _own_options(params: Mapping[str, Json]) -> None:
    # Each of these has its own flag or would change what the client itself has promised.
    ours = {
        "max_tokens": "--max-tokens",
        "max_completion_tokens": "--max-tokens",
        "temperature": "--temperature",
        "model": "--model",
    }
    fixed = {
        "messages",
        "stream",
        "n",
        "api_key",
        "api_base",
        "base_url",
        "timeout",
        "num_retries",
        "max_retries",
    }
    for name in params:
        if name in ours:
            raise InputError(f"--param {name}: give it as {ours[name]}.")
        if name in fixed:
            raise InputError(f"--param {name} cannot be set: the client decides it.")
