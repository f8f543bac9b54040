"""The tokens of one call, as the provider counted them: what its bill is made of."""

from __future__ import annotations

from typing import NamedTuple


class Usage(NamedTuple):
    """Tokens as the provider counted them. `output_tokens` includes `reasoning_tokens`,
    `input_tokens` includes `cached_input_tokens` and `cache_write_tokens`, which in turn includes
    `hour_write_tokens`, those that a provider's cache keeps for an hour instead of minutes."""

    input_tokens: int
    output_tokens: int
    reasoning_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    hour_write_tokens: int = 0
