"""How long a half-done run takes to its first new call.

    python benchmarks/resume.py [--episodes 20000] [--repeats 3] [--json]

The run is played once against a model that answers at once; then half of its episodes are taken away and
the cache is left behind, as when a run is continued on another machine. What is measured is a whole process
from its start to the first call that would leave it; `anew` is the same for a run that begins.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from material import alone, answered_at_once, asking, draw, play, rows

from pbclient import RunConfig, evaluate
from pbclient.data.folder import open_data
from providers import ModelNotFound, Request, Response

DATASETS = ("ROD", "VSOD", "MVP-N", "IN-C", "QD", "CIT")  # the crops of COCO take long to draw
TURNS = 2
SAMPLES = 2000  # so many frames are enough: the rest are repeats


@dataclass(frozen=True)
class Figures:
    """Seconds until the first call: on the clock and of processor time, medians."""

    episodes: int
    kept: int
    clock_s: float
    processor_s: float
    anew_clock_s: float
    anew_processor_s: float


def measure(folder: Path, episodes: int, repeats: int) -> Figures:
    """Play, halve, continue."""
    samples = min(SAMPLES, episodes)
    alone(draw, folder / "data", samples, TURNS)
    with open_data(folder / "data", DATASETS) as data:
        found = sum(map(len, data.samples.values()))
    config = asking(
        data=folder / "data",
        datasets=DATASETS,
        repeat=-(-episodes // found),
        cache_dir=folder / "answers",
        out=folder / "whole",
    )
    alone(play, config)
    lines = (folder / "whole" / "episodes.jsonl").read_bytes().splitlines(keepends=True)
    half = lines[: len(lines) // 2]
    timed = []
    for number in range(repeats):
        out = folder / f"half-{number}"
        shutil.copytree(folder / "whole", out)
        (out / "episodes.jsonl").write_bytes(b"".join(half))
        begun = replace(config, out=folder / f"anew-{number}", cache_dir=folder / f"none-{number}")
        continued = replace(config, out=out, cache_dir=folder / f"new-{number}")
        timed.append((*alone(until_first_call, continued), *alone(until_first_call, begun)))
    seconds = (round(statistics.median(each), 2) for each in zip(*timed, strict=True))
    return Figures(len(lines), len(half), *seconds)


def until_first_call(config: RunConfig) -> tuple[float, float]:
    """Seconds from the start of this process: on the clock, and of processor time."""
    reached: list[tuple[float, float]] = []

    async def first(request: Request) -> Response:
        reached.append((time.time() - _started(), time.process_time()))
        raise ModelNotFound("this is as far as the run is measured")

    with answered_at_once() as instant, suppress(AssertionError):
        instant.complete = first  # type: ignore[method-assign]
        asyncio.run(evaluate(config))
    return reached[0]


def _started() -> float:
    """When this process began, in seconds since 1970."""
    fields = Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()
    booted = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
    return int(booted.split()[1]) + int(fields[19]) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--episodes", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.episodes, options.repeats)
    found = asdict(figures)
    print(json.dumps(found) if options.json else rows("until the first new call", found))


if __name__ == "__main__":
    main()
