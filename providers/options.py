"""Sampling options as they are asked for, before a wire puts them where its provider looks for them."""

from __future__ import annotations

from collections.abc import Mapping

from providers.errors import ParameterRejected
from providers.types import Json

# These are not options: they are what is asked, and how the answer comes back.
RESERVED = frozenset({"contents", "messages", "model", "stream", "stream_options"})


def given(params: Mapping[str, Json]) -> dict[str, Json]:
    """The options that are set. Raises `ParameterRejected` for what is none."""
    for name in params:
        if name in RESERVED:
            raise ParameterRejected(f"{name!r} is not a sampling option.", name)
    return {name: value for name, value in params.items() if value is not None}
