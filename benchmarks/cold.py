"""Processor time of everything but the transport: a whole run against a model that answers at once.

    python benchmarks/cold.py [--episodes 1500] [--repeats 3] [--concurrency 64] [--json]

The model stands where the wire would be: it takes each image as it would be sent and answers in the same
turn of the event loop. What a call takes is the slope between a small run and a large one: environment,
frames, keys, cache, ledger, limits and the episode's line. `bare` is the model alone, asked about
the same images one after the other. COCO is left out, whose crops are drawn anew (13 ms each, in threads).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from material import Instant, alone, asking, draw, play, rows

from pbclient import RunConfig
from pbclient.images.frames import FrameStore
from pbclient.images.pictures import Pictures
from providers import Message, Request

DATASETS = ("ROD", "VSOD", "MVP-N", "IN-C", "QD", "CIT")
FEW = 10  # episodes a data set, for what starting takes


@dataclass(frozen=True)
class Figures:
    """Microseconds of processor time a call, all threads together; `calls` are those of a large run."""

    calls: int
    whole_us: float
    bare_us: float

    @property
    def ours_us(self) -> float:
        return round(self.whole_us - self.bare_us, 1)


def measure(folder: Path, episodes: int, repeats: int, concurrency: int) -> Figures:
    """Draw the data, then run small and large alternately, each in a process and a cache of its own."""
    alone(draw, folder / "data", episodes)
    config = asking(
        data=folder / "data",
        datasets=DATASETS,
        concurrency=concurrency,
    )
    slopes = []
    for number in range(repeats):
        few, few_calls = _timed(replace(config, limit=FEW), folder / f"few-{number}")
        many, calls = _timed(config, folder / f"many-{number}")
        slopes.append(1e6 * (many - few) / (calls - few_calls))
    bare = alone(bare_seconds, folder / "data", calls)
    return Figures(calls, round(statistics.median(slopes), 1), round(1e6 * bare / calls, 1))


def _timed(config: RunConfig, folder: Path) -> tuple[float, int]:
    return alone(_played, replace(config, out=folder / "run", cache_dir=folder / "answers"))


def _played(config: RunConfig) -> tuple[float, int]:
    calls = play(config)
    return time.process_time(), calls


def bare_seconds(data: Path, calls: int) -> float:
    """What so many calls take without a client: have a frame, opened just before, encoded, and answer."""
    frames = sorted(str(path.relative_to(data)) for path in data.rglob("*.jpg"))[:calls]
    return asyncio.run(_ask_all(data, frames))


async def _ask_all(data: Path, frames: list[str]) -> float:
    instant, taken = Instant(), 0.0
    with FrameStore(data) as store, Pictures(store) as pictures:
        for path in frames:
            picture = await pictures.open(path, lambda image: image)
            request = Request((Message("user", (picture, "What is it?")),), {})
            before = time.process_time()
            await instant.complete(request)
            taken += time.process_time() - before
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--episodes", type=int, default=1500)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.episodes, options.repeats, options.concurrency)
    found = {**asdict(figures), "ours_us": figures.ours_us}
    print(json.dumps(found) if options.json else rows("a cold call", found))


if __name__ == "__main__":
    main()
