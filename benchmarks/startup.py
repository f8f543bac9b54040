"""Processor time of starting: the help, the import, and a run whose answers are all in the cache.

    python benchmarks/startup.py [--repeats 5] [--json]

Each in a process of its own; the median of a few (of one, for the run that asks). `python -c pass`
is what the interpreter alone takes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from lean_server import serving
from material import median_seconds, rows

from pbclient.data.samples import write_samples

type Command = tuple[str, ...]

PBCLIENT = (sys.executable, "-m", "pbclient")
# Without asking the network for its prices.
_LITELLM = "import os; os.environ['LITELLM_LOCAL_MODEL_COST_MAP'] = 'True'; import litellm"


def measure(folder: Path, repeats: int) -> dict[str, float]:
    """Seconds by what was started."""
    plain = {
        "python -c pass": (sys.executable, "-c", "pass"),
        "import aiohttp": (sys.executable, "-c", "import aiohttp"),
        "import litellm": (sys.executable, "-c", _LITELLM),
        "import pbclient": (sys.executable, "-c", "import pbclient"),
        "pbclient --help": (*PBCLIENT, "--help"),
        "pbclient run --help": (*PBCLIENT, "run", "--help"),
    }
    return {name: median_seconds([command] * repeats) for name, command in plain.items()} | runs(
        folder, repeats
    )


def runs(folder: Path, repeats: int) -> dict[str, float]:
    """The built-in samples against a model server, and again with every answer in the cache."""
    write_samples(folder / "data")
    with serving(words="A") as url:
        run: Command = (*PBCLIENT, "run", "--provider", "openai", "--model", "glance", "--base-url", url)
        run += ("--price", "1,2", "--data", str(folder / "data"), "--cache-dir", str(folder / "answers"))
        first = median_seconds([(*run, "--out", str(folder / "first"))])
        calls = _calls(folder / "first")
        outs = [folder / f"again-{number}" for number in range(repeats)]
        again = median_seconds((*run, "--out", str(out)) for out in outs)
        assert calls > sum(map(_calls, outs)) == 0
    return {f"run of {calls} calls": first, "the same run again": again}


def _calls(run: Path) -> int:
    """How often a run went to the wire."""
    return int(json.loads((run / "summary.json").read_text(encoding="utf-8"))["calls"]["wire"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.repeats)
    print(json.dumps(figures) if options.json else rows("processor seconds", figures))


if __name__ == "__main__":
    main()
