"""What can be named after `--provider`, what each needs, and whether it is ready here."""

from __future__ import annotations

import os

from providers.catalog.names import HOSTED

BASELINES = ("random", "always-ask", "always-abstain", "oracle")
HEAD = ("provider", "ready", "needs", "default model")
OTHERS = """Any other name that LiteLLM knows is taken too, with the variable <NAME>_API_KEY and --model.
Any OpenAI-compatible server: --provider openai --base-url URL --model NAME --price IN,OUT"""


def provider_rows() -> list[tuple[str, ...]]:
    """A row a provider, with a cell for each word of `HEAD`."""
    rows: list[tuple[str, ...]] = []
    for entry in HOSTED:
        needs = " or ".join(entry.key_variables) or entry.note
        ready = "yes" if entry.key(os.environ) else ("no" if entry.key_variables else "?")
        note = f"  ({entry.note})" if entry.note and entry.key_variables else ""
        rows.append((entry.name, ready, needs, (entry.default_model or "(name one)") + note))
    return [*rows, ("baseline", "yes", "nothing", "random; also " + ", ".join(BASELINES[1:]))]
