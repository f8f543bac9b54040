"""Look models up in LiteLLM's bundled price map, read as a file.

LiteLLM is never imported here (that takes seconds); the file lies beside its code. Which name
a model goes by in the map follows LiteLLM's own lookup, but only as far as the name is sure
to mean the same price.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

type Row = Mapping[str, Any]

FILE = "model_prices_and_context_window_backup.json"
# Not models: the key to the columns, and rules by which LiteLLM guesses abilities.
NOT_MODELS = ("sample_spec", "fallback_generalizations")

# Providers whose rows carry a family of names (`vertex_ai-anthropic_models`, `bedrock_converse`).
FAMILIES = ("vertex_ai", "bedrock", "fireworks_ai")

# OpenRouter passes these vendors' own prices on, and no row of the map is its own. Open weights
# are left out: there it chooses among sellers with different prices.
RESOLD = {"openai": "openai", "anthropic": "anthropic", "google": "gemini", "x-ai": "xai"}

SNAPSHOT = re.compile(r"(?:-\d{4}-\d{2}-\d{2}|-\d{8}|-\d{3})$")


def find(provider: str, model: str) -> Row | None:
    """The row of `model` as `provider` sells it, or None."""
    bare = model.removeprefix(f"{provider}/")
    # `ft:gpt-4o-2024-08-06:org::id` is priced as `ft:gpt-4o-2024-08-06`.
    tuned = ":".join(bare.split(":")[:2]) if bare.startswith("ft:") else bare
    # The most particular first.
    for name in (bare, tuned, SNAPSHOT.sub("", bare)):
        for key in (f"{provider}/{name}", name):
            row = rows().get(key.lower())
            seller = row["litellm_provider"] if row else None
            if row and (seller == provider or (provider in FAMILIES and str(seller).startswith(provider))):
                return row
    return _resold(model.removeprefix("openrouter/")) if provider == "openrouter" else None


def find_public(model: str) -> Row | None:
    """The row of a public model name, whoever serves it: for a server that is no provider of the map."""
    vendor, _, name = model.partition("/")
    return rows().get(model.lower()) or _resold(model) or (find(vendor, name) if name else None)


def near(provider: str, model: str) -> str:
    """A question that offers the provider's models with names like this one; nothing where none is."""
    sold = {
        key.removeprefix(f"{provider}/")
        for key, row in rows().items()
        if row["litellm_provider"] == provider and row.get("mode") in ("chat", "responses")
    }
    bare = model.lower().removeprefix(f"{provider}/")
    found = [] if bare in sold else get_close_matches(bare, sorted(sold), n=2, cutoff=0.75)
    return f"Did you mean {' or '.join(found)}?" if found else ""


def supports_vision(provider: str, model: str) -> bool | None:
    """Whether the map says that the model takes images; None where it says nothing."""
    row = find(provider, model)
    if row is None:
        return None
    flag = row.get("supports_vision")
    if isinstance(flag, bool):
        return flag
    modalities = row.get("supported_modalities")
    return "image" in modalities if isinstance(modalities, list) else None


def _resold(model: str) -> Row | None:
    # A suffix such as `:online` or `:nitro` changes what is bought.
    vendor, _, name = model.partition("/")
    if vendor not in RESOLD or ":" in name:
        return None
    return find(RESOLD[vendor], name.replace(".", "-") if vendor == "anthropic" else name)


@cache
def rows() -> Mapping[str, Row]:
    """Every row by its key in lower case; none where LiteLLM is not installed."""
    return {
        key.lower(): row
        for key, row in bundled(FILE).items()
        if key not in NOT_MODELS and isinstance(row.get("litellm_provider"), str)
    }


def bundled(name: str) -> dict[str, Any]:
    """A JSON file that lies beside LiteLLM's code; empty where LiteLLM is not installed."""
    spec = find_spec("litellm")
    if spec is None or not spec.submodule_search_locations:
        return {}
    content: dict[str, Any] = orjson.loads((Path(spec.submodule_search_locations[0]) / name).read_bytes())
    return content
