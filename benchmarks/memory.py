"""Memory, event-loop stalls and processor time of one large run over real HTTP.

    python benchmarks/memory.py [--episodes 2000] [--concurrency 256] [--latency 0.05] [--json]

Two-turn episodes with frames of about 40 KB, every frame another picture, through the whole
client: environment, cache, money, limits, LiteLLM. The model server and the drawing of the
frames are processes of their own, so that neither counts. Memory is read from /proc: Linux only.

A stall is how much later than asked a sleep of 5 ms ends. Those before the first answer (imports,
opening the data) are told apart from the later ones.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from pbclient import RunConfig, evaluate
from pbclient.benchmark import STEMS, kept_ids
from pbclient.progress import Progress
from providers.loopback import LoopbackServer

TICK = 0.005
DATA_SET = "QD"  # the largest that is told by frames alone
TURNS = 2
SIZE = (640, 480)
TEXTURE = (1600, 1200)
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Figures:
    """What a run took. Memory in MB, stalls in ms, processor time of the client alone.

    `startup_s` is the time to the first answer; calls a second, processor time and `stall_ms` are of what
    comes after it. Growth is the highest level after the first episodes, compared to theirs.
    """

    episodes: int
    calls: int
    wall_s: float
    startup_s: float
    calls_per_s: float
    cpu_ms_per_call: float
    frame_kb: float
    rss_first_mb: float
    rss_end_mb: float
    rss_peak_mb: float
    growth_mb: float
    stall_ms: float
    stalls_over_50_ms: int
    startup_stall_ms: float


@dataclass
class Watch:
    """Looks at the loop and at memory for as long as a run lasts."""

    progress: Progress
    first: int  # how many finished episodes make the level to which memory is compared
    startup_stall: float = 0.0
    stalls: list[float] = field(default_factory=list)
    level: int = 0
    peak: int = 0
    # Time and processor time of the first answer.
    answered: tuple[float, float] | None = None

    async def run(self) -> None:
        while True:
            asked = time.perf_counter()
            await asyncio.sleep(TICK)
            self._late(time.perf_counter() - asked - TICK)
            self._weigh()

    def _late(self, stall: float) -> None:
        if self.answered is None:
            self.startup_stall = max(self.startup_stall, stall)
            if self.progress.wire()[0]:
                self.answered = time.perf_counter(), time.process_time()
        else:
            self.stalls.append(stall)

    def _weigh(self) -> None:
        now = resident()
        if not self.level and self.progress.finished >= self.first:
            self.level = now
        if self.level:
            self.peak = max(self.peak, now)

    def figures(self) -> dict[str, float]:
        end = resident()
        return {
            "rss_first_mb": round(self.level / 1e6, 1),
            "rss_end_mb": round(end / 1e6, 1),
            "rss_peak_mb": round(max(self.peak, end) / 1e6, 1),
            "growth_mb": round((max(self.peak, end) - self.level) / 1e6, 1),
            "stall_ms": round(1000 * max(self.stalls), 1),
            "stalls_over_50_ms": sum(stall > 0.05 for stall in self.stalls),
            "startup_stall_ms": round(1000 * self.startup_stall, 1),
        }


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def write_data(folder: Path, episodes: int) -> None:
    """Samples of two frames each; all frames are different parts of one texture of clouds and grain."""
    from PIL import Image

    chance = random.Random(0)
    coarse = Image.frombytes("RGB", (50, 38), chance.randbytes(50 * 38 * 3)).resize(TEXTURE)
    grain = Image.frombytes("RGB", TEXTURE, chance.randbytes(TEXTURE[0] * TEXTURE[1] * 3))
    texture = Image.blend(coarse, grain, 0.08)
    across, down = (most - size for most, size in zip(TEXTURE, SIZE, strict=True))
    places = iter(chance.sample(range(across * down), episodes * TURNS))
    (folder / "frames").mkdir()
    with (folder / f"{STEMS[DATA_SET]}_preprocessed.jsonl").open("w") as rows:
        for number in sorted(kept_ids(DATA_SET))[:episodes]:
            rows.write(json.dumps(_row(number)) + "\n")
            for frame in range(TURNS):
                top, left = divmod(next(places), across)
                shown = texture.crop((left, top, left + SIZE[0], top + SIZE[1]))
                shown.save(folder / "frames" / f"{number}-{frame:04d}.jpg", quality=80)


def _row(number: int) -> dict[str, object]:
    return {
        "id": number,
        "image_template": f"frames/{number}-{{image}}.jpg",
        "first_image": 0,
        "num_images": TURNS,
        "reference_image": TURNS - 1,
        "prompt": "What is being drawn here?",
        # The server always says A: the suggestion on the first turn, which ends the episode on the last.
        "options": ["Add more strokes to the drawing.", "I cannot tell from this picture."],
        "categories": ["A boat.", "A house."],
        "answer": "A house.",
    }


def serve(latency: float, pipe: Connection) -> None:
    """The model server, until the other end of the pipe is closed."""

    async def main() -> None:
        async with LoopbackServer(latency=latency, records=0) as server:
            pipe.send(server.url)
            await asyncio.get_running_loop().run_in_executor(None, pipe.poll, None)

    asyncio.run(main())


@contextmanager
def served(latency: float) -> Iterator[str]:
    """The URL of a server in another process."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(latency, theirs))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.close()
        theirs.close()
        process.join()


def measure(folder: Path, episodes: int, concurrency: int, latency: float) -> Figures:
    """Draw the data, start the server, run, and say what it took."""
    data = folder / "data"
    data.mkdir()
    drawing = multiprocessing.get_context("spawn").Process(target=write_data, args=(data, episodes))
    drawing.start()
    drawing.join()
    with served(latency) as url:
        config = RunConfig(
            provider="openai",
            model="glance",
            base_url=url,
            price="1,2",
            max_cost=None,
            data=data,
            concurrency=concurrency,
            cache_dir=folder / "answers",
            out=folder / "run",
        )
        figures = asyncio.run(_run(config, concurrency))
    sizes = [path.stat().st_size for path in (data / "frames").iterdir()]
    return Figures(**figures, frame_kb=round(sum(sizes) / len(sizes) / 1000, 1))


async def _run(config: RunConfig, first: int) -> dict[str, float]:
    progress = Progress()
    watch = Watch(progress, first)
    watching = asyncio.create_task(watch.run())
    started = time.perf_counter()
    result = await evaluate(config, progress=progress)
    ended, processor = time.perf_counter(), time.process_time()
    watching.cancel()
    assert result.exit_code == 0, result.outcomes
    assert watch.answered is not None
    first_answer, first_processor = watch.answered
    calls = result.summary["calls"]["wire"]
    return {
        "episodes": result.planned,
        "calls": calls,
        "wall_s": round(ended - started, 1),
        "startup_s": round(first_answer - started, 1),
        "calls_per_s": round(calls / (ended - first_answer), 1),
        "cpu_ms_per_call": round(1000 * (processor - first_processor) / calls, 2),
        **watch.figures(),
    }


def table(figures: Figures) -> str:
    """As lines of Markdown."""
    rows = [f"| {name} | {value:,} |" for name, value in asdict(figures).items()]
    return "\n".join(["| figure | value |", "|---|---:|", *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--episodes", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--latency", type=float, default=0.05, help="of the server, in seconds")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.episodes, options.concurrency, options.latency)
    print(json.dumps(asdict(figures)) if options.json else table(figures))


if __name__ == "__main__":
    main()
