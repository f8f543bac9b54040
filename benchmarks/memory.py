"""Memory, event-loop stalls and processor time of a large run over real HTTP, and of the same run again.

    python benchmarks/memory.py [--episodes 2000] [--concurrency 256] [--latency 0.05] [--wire litellm]
                                [--tenfold] [--json]
    python benchmarks/memory.py --wire direct --episodes 10000 --concurrency 5000 --latency 2 --tenfold

Two-turn episodes with frames of about 40 KB, every frame another picture, through the whole
client: environment, cache, money, limits, wire. The second run finds every answer in the cache, the
third, if asked for, is ten times as long as the first. Beyond 2,105 episodes samples are played
repeatedly. Each run has a process of its own, in which there is neither the model server nor the
drawing of the frames. Memory is read from /proc: Linux only.

A stall is how much later than asked a sleep of 5 ms ends. Where other programs want the processors
too, part of it is waiting for one of them: `busy` is what the client itself worked in that time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from lean_server import serving
from material import alone, asking

from pbclient import RunConfig, evaluate
from pbclient.benchmark.package import STEMS, kept_ids
from pbclient.progress import Progress

TICK = 0.005
TICKS_A_WEIGHING = 10
DATA_SET = "QD"  # the largest that is told by frames alone
TURNS = 2
SIZE = (640, 480)
TEXTURE = (1600, 1200)
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Figures:
    """What a run took: memory in MB, stalls in ms, processor time of the client alone.

    What comes before the first answer or hit (imports, opening the data) is the start; all but it
    counts for the rest. Growth is the highest level after the first episodes, compared to theirs;
    the peak is that of the whole life of the process.
    """

    calls: int
    hits: int
    start_s: float
    rest_s: float
    turns_per_s: float
    cpu_ms_per_turn: float
    first_mb: float
    peak_mb: float
    growth_mb: float
    start_stall_ms: float
    stall_ms: float
    busy_stall_ms: float
    busy_stalls_over_50_ms: int


@dataclass(frozen=True)
class _Moment:
    """Seconds: on the clock, and of all threads of this process on the processors."""

    clock: float
    work: float

    @staticmethod
    def now() -> _Moment:
        return _Moment(time.perf_counter(), time.process_time())

    def since(self, earlier: _Moment) -> _Moment:
        return _Moment(self.clock - earlier.clock, self.work - earlier.work)


@dataclass
class Watch:
    """Looks at the loop and at memory for as long as a run lasts."""

    progress: Progress
    first: int  # how many finished episodes make the level to which memory is compared
    begun: _Moment = field(default_factory=_Moment.now)
    answered: _Moment | None = None
    start_stall: float = 0.0
    stalls: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    level: int = 0
    peak: int = 0

    async def run(self) -> None:
        while True:
            for _ in range(TICKS_A_WEIGHING):
                asked = _Moment.now()
                await asyncio.sleep(TICK)
                self._late(_Moment.now().since(asked))
            self._weigh()

    def _late(self, passed: _Moment) -> None:
        stall = passed.clock - TICK
        if self.answered is not None:
            self.stalls.append(stall)
            self.busy.append(min(stall, passed.work))
            return
        self.start_stall = max(self.start_stall, stall)
        if self.progress.wire()[0] or self.progress.hits:
            self.answered = _Moment.now()

    def _weigh(self) -> None:
        now = resident()
        if not self.level and self.progress.finished >= self.first:
            self.level = now
        if self.level:
            self.peak = max(self.peak, now)

    def figures(self, calls: int, hits: int) -> Figures:
        """At the end of the run."""
        self._weigh()
        assert self.answered is not None
        rest = _Moment.now().since(self.answered)
        return Figures(
            calls=calls,
            hits=hits,
            start_s=round(self.answered.since(self.begun).clock, 2),
            rest_s=round(rest.clock, 2),
            turns_per_s=round((calls + hits) / rest.clock, 1),
            cpu_ms_per_turn=round(1000 * rest.work / (calls + hits), 2),
            first_mb=round(self.level / 1e6, 1),
            peak_mb=round(highest() / 1e6, 1),
            growth_mb=round((self.peak - self.level) / 1e6, 1),
            start_stall_ms=round(1000 * self.start_stall, 1),
            stall_ms=round(1000 * max(self.stalls), 1),
            busy_stall_ms=round(1000 * max(self.busy), 1),
            busy_stalls_over_50_ms=sum(stall > 0.05 for stall in self.busy),
        )


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def highest() -> int:
    """The most bytes of this process that were ever in memory."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


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


def measure(
    folder: Path, episodes: int, concurrency: int, latency: float, wire: str, tenfold: bool
) -> dict[str, Figures]:
    """Draw the data, start the server, run two or three times, and say what it took."""
    data = folder / "data"
    data.mkdir()
    repeat = -(-episodes // len(kept_ids(DATA_SET)))
    write_data(data, -(-episodes // repeat))
    with serving(latency, words="A") as url:
        first = asking(
            base_url=url,
            wire=wire,
            data=data,
            repeat=repeat,
            concurrency=concurrency,
            cache_dir=folder / "answers",
            out=folder / "first",
        )
        runs = {"first run": first, "the same again": replace(first, out=folder / "second")}
        if tenfold:
            longer = {"repeat": 10 * repeat, "cache_dir": folder / "others", "out": folder / "third"}
            runs["ten times as long"] = replace(first, **longer)
        return {name: alone(run, config) for name, config in runs.items()}


def run(config: RunConfig) -> Figures:
    """What a run takes."""
    return asyncio.run(_run(config))


async def _run(config: RunConfig) -> Figures:
    progress = Progress()
    watch = Watch(progress, first=config.concurrency)
    watching = asyncio.create_task(watch.run())
    result = await evaluate(config, progress=progress)
    figures = watch.figures(result.summary["calls"]["wire"], progress.hits)
    watching.cancel()
    assert result.exit_code == 0, result.outcomes
    return figures


def table(runs: dict[str, Figures]) -> str:
    """As lines of Markdown."""
    columns = [asdict(figures) for figures in runs.values()]
    rows = [f"| {name} | " + " | ".join(f"{each[name]:,}" for each in columns) + " |" for name in columns[0]]
    return "\n".join([f"| | {' | '.join(runs)} |", "|---|" + "---:|" * len(runs), *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--episodes", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--latency", type=float, default=0.05, help="of the server, in seconds")
    parser.add_argument("--wire", choices=("litellm", "direct"), default="litellm")
    parser.add_argument("--tenfold", action="store_true", help="also a run that is ten times as long")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = measure(
            Path(folder),
            options.episodes,
            options.concurrency,
            options.latency,
            options.wire,
            options.tenfold,
        )
    found = {name: asdict(figures) for name, figures in runs.items()}
    print(json.dumps(found) if options.json else table(runs))


if __name__ == "__main__":
    main()
