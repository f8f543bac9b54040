"""`pbclient demo`: the main job with no key, data or network.

The built-in samples, the four baselines, and two passes through real HTTP against a loopback model
server: the second pass asks nothing. The runs lie in a temporary folder; the report of the baselines stays.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

from pbclient.benchmark.package import DATA_SETS
from pbclient.config import RunConfig
from pbclient.data.samples import builtin_folder
from pbclient.models.choice import BASELINES
from pbclient.progress import Say
from pbclient.report.html.report import write_report
from pbclient.report.summary import parts
from pbclient.report.terminal import Grid, plain
from pbclient.scheduler.evaluate import evaluate
from providers.loopback.server import Ask, LoopbackServer
from runs import RunError

REPORT = Path("results") / "demo.html"
NEXT = """What next, with a real model:
  export OPENAI_API_KEY=...
  uv run pbclient run --provider openai --max-cost 2 --limit 5      (built-in samples)
  uv run pbclient run --provider openai --max-cost 25 --data DIR    (the published test/ folder)
`uv run pbclient providers` lists the other providers, `uv run pbclient run --help` the options."""


def demonstrate(say: Say) -> None:
    """Run the demo and say what happens."""
    with tempfile.TemporaryDirectory(prefix="pbclient-demo-") as folder:
        asyncio.run(_show(Path(folder), say))


async def _show(folder: Path, say: Say) -> None:
    data = builtin_folder()
    say(f"Built-in samples: {data}\n\nFour baselines, which need no model (acc % and ps):")
    rows: list[list[str]] = []
    for name in BASELINES:
        baseline = RunConfig(provider="baseline", model=name, data=data, out=folder / name)
        figures: dict[str, Any] = (await evaluate(baseline)).summary["datasets"]
        rows.append([name, *(f"{row['acc']:3.0f} {row['ps']:4.1f}" for row in figures.values())])
    say(plain([Grid(["", *(dataset.acronym for dataset in DATA_SETS)], rows)]))
    say("\nThe same through LiteLLM and real HTTP, against a model server on this machine:")
    async with LoopbackServer(policy=_glance) as server:
        for number in (1, 2):
            config = RunConfig(
                provider="openai",
                model="glance-1",
                base_url=server.url,
                price="0.50,2",
                max_cost=Decimal(1),
                data=data,
                cache_dir=folder / "answers",
                out=folder / f"pass-{number}",
            )
            result = await evaluate(config)
            calls = result.summary["calls"]
            say(f"pass {number}: {calls['wire']} calls, {calls['hits']} hits")
    say("")
    say(plain(parts(result.summary)))
    try:
        written = write_report([folder / name for name in BASELINES], REPORT, data=data)
        say(f"\nThe baselines side by side, every episode with its frames: open {written.path} in a browser.")
    except (OSError, RunError) as error:
        say(f"\nNo report of the baselines in {REPORT}: {error}")
    say(f"\n{NEXT}")


def _glance(ask: Ask) -> str:
    """A model of sorts: always gives the same option for the same question and picture."""
    options = re.findall(r"^([A-Z]\. .+)$", ask.text, flags=re.MULTILINE)
    digest = hashlib.sha256(ask.text.encode() + b"".join(data for _, data in ask.images)).digest()
    return str(options[digest[0] % len(options)])
