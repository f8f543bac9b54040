"""Processor time of a sample, cold and out of the cache: this client and Inspect AI on the same pictures.

    python benchmarks/inspect_peer.py [--samples 1000] [--rounds 3] [--concurrency 64] [--json]

A sample is one question about one picture of about 40 KB that no other sample has, one call, one
answer of one letter, scored. Each contender has a process of its own for each of its turns; there it
first takes some other samples, then all of them against the same server, then all again with every
answer in its cache. Imports are not counted.

Inspect AI (and the OpenAI SDK that it uses) lives in an environment of its own in the user's cache
folder, which this program makes with `uv` where it is missing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import platformdirs
from lean_server import serving
from material import alone, asking, draw

from pbclient import RunConfig, evaluate
from pbclient.benchmark.package import STEMS, kept_ids

PINNED = ("inspect-ai==0.3.285", "openai==3.52.0")
TASK = Path(__file__).with_name("inspect_task.py")
PEER = "Inspect AI"
WIRES = {"pbclient, LiteLLM": "litellm", "pbclient, direct": "direct"}
MEASURED, WARM_UP = "QD", "IN-C"


@dataclass(frozen=True)
class Figures:
    """Medians over the rounds; `fewer` is how many times less processor time than Inspect AI's it is."""

    cold_ms: float
    cold_fewer: float
    cached_ms: float
    cached_fewer: float
    cached_per_s: float


@dataclass(frozen=True)
class Spent:
    """Seconds a sample, on the processors and on the clock."""

    processor: float
    clock: float


type Turn = tuple[Spent, Spent]  # cold, and out of the cache


def environment() -> Path:
    """The Python that has Inspect AI."""
    folder = platformdirs.user_cache_path("pbclient") / "benchmarks" / "-".join(PINNED).replace("==", "-")
    python, whole = folder / "bin" / "python", folder / "whole"
    if not whole.exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(("uv", "venv", "--quiet", "--python", sys.executable, folder), check=True)
        subprocess.run(("uv", "pip", "install", "--quiet", "--python", python, *PINNED), check=True)
        whole.touch()
    return python


def peer(python: Path, url: str, data: Path, concurrency: int) -> Turn:
    """A turn of Inspect AI."""
    command = (python, TASK, url, data / WARM_UP, data / MEASURED, str(concurrency))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"Inspect AI failed: {done.stderr[-2000:]}")
    cold, cached = json.loads(done.stdout.splitlines()[-1])
    return Spent(*cold), Spent(*cached)


def client(config: RunConfig, out: Path) -> Turn:
    """A turn of ours."""
    _spent(replace(config, datasets=(WARM_UP,), out=out / "warm-up"))
    return _spent(replace(config, out=out / "cold")), _spent(replace(config, out=out / "cached"), cached=True)


def _spent(config: RunConfig, *, cached: bool = False) -> Spent:
    processor, clock = time.process_time(), time.perf_counter()
    result = asyncio.run(evaluate(config))
    processor, clock = time.process_time() - processor, time.perf_counter() - clock
    assert result.exit_code == 0, result.reasons
    assert result.summary["calls"]["wire"] == (0 if cached else result.planned), result.summary["calls"]
    return Spent(processor / result.planned, clock / result.planned)


def measure(folder: Path, samples: int, concurrency: int, rounds: int) -> dict[str, Figures]:
    """All of them by turns."""
    python, data = environment(), folder / "data"
    everything = sum(len(kept_ids(name)) for name in STEMS)
    alone(draw, data, samples * everything // len(kept_ids(MEASURED)), turns=1)
    taken: dict[str, list[Turn]] = {name: [] for name in (PEER, *WIRES)}
    with serving(words="A") as url:
        for number in range(rounds):
            taken[PEER].append(peer(python, url, data, concurrency))
            for name, wire in WIRES.items():
                out = folder / f"{number} {wire}"
                asked = config(url, data, out / "answers", wire, concurrency)
                taken[name].append(alone(client, asked, out))
    return {name: figures(turns, taken[PEER]) for name, turns in taken.items()}


def config(url: str, data: Path, answers: Path, wire: str, concurrency: int) -> RunConfig:
    """A run of ours."""
    return asking(
        base_url=url,
        wire=wire,
        data=data,
        datasets=(MEASURED,),
        max_tokens=64,
        concurrency=concurrency,
        cache_dir=answers,
    )


def figures(turns: list[Turn], others: list[Turn]) -> Figures:
    """Ratios are taken within a round, so that a slow moment of the machine meets both sides."""
    cold, cached = zip(*turns, strict=True)
    their_cold, their_cached = zip(*others, strict=True)
    return Figures(
        cold_ms=_ms(cold),
        cold_fewer=_fewer(cold, their_cold),
        cached_ms=_ms(cached),
        cached_fewer=_fewer(cached, their_cached),
        cached_per_s=round(1 / statistics.median(each.clock for each in cached)),
    )


def _ms(spent: Sequence[Spent]) -> float:
    return round(1000 * statistics.median(each.processor for each in spent), 3)


def _fewer(ours: Sequence[Spent], theirs: Sequence[Spent]) -> float:
    pairs = zip(ours, theirs, strict=True)
    return round(statistics.median(other.processor / mine.processor for mine, other in pairs), 1)


def table(found: dict[str, Figures]) -> str:
    """As lines of Markdown."""
    head = "| | cold: ms of processor a sample | times less | cached: ms | times less | cached samples/s |"
    rows = [
        f"| {name} | {of.cold_ms:.2f} | {of.cold_fewer:.1f} | {of.cached_ms:.2f} | {of.cached_fewer:.1f} "
        f"| {of.cached_per_s:,} |"
        for name, of in found.items()
    ]
    return "\n".join([head, "|---|---:|---:|---:|---:|---:|", *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.samples, options.concurrency, options.rounds)
    print(json.dumps({name: asdict(each) for name, each in found.items()}) if options.json else table(found))


if __name__ == "__main__":
    main()
