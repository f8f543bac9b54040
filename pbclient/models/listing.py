"""What `pbclient providers` prints: who can be named, what each needs, whether it is ready here."""

from __future__ import annotations

import os
from collections.abc import Iterator

from providers.catalog.names import HOSTED, HostedProvider

BASELINES = ("random", "always-ask", "always-abstain", "oracle")


def provider_lines() -> Iterator[str]:
    """A line a provider, in columns."""
    rows = [("provider", "ready", "needs", "default model")]
    rows += [_row(entry) for entry in HOSTED]
    rows.append(("baseline", "yes", "nothing", "random; also " + ", ".join(BASELINES[1:])))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        yield "  ".join([cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)] + [row[3]])
    yield ""
    yield "Any other name that LiteLLM knows is taken too, with the variable <NAME>_API_KEY and --model."
    yield "Any OpenAI-compatible server: --provider openai --base-url URL --model NAME --price IN,OUT"


def _row(entry: HostedProvider) -> tuple[str, str, str, str]:
    needs = " or ".join(entry.key_variables) or entry.note
    ready = "yes" if entry.key(os.environ) else ("?" if not entry.key_variables else "no")
    model = entry.default_model or "(name one)"
    note = f"  ({entry.note})" if entry.note and entry.key_variables else ""
    return entry.name, ready, needs, model + note
