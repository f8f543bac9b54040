"""How near a run comes to what its concurrency allows, and the processor time of a call in it.

    python benchmarks/ceiling.py [--episodes 1500] [--concurrency 256] [--latency 0.3] [--rounds 3]
                                 [--wires litellm direct] [--json]

A server that answers after `latency` seconds lets `concurrency / latency` calls a second through:
the ceiling. The whole client (data, environment, cache, money, limits, run folder) plays episodes of
three calls, each with a picture of about 40 KB that no other call has; bare loops over aiohttp and
LiteLLM ask as often, with one of 200 pictures that are in memory already. Contenders take turns,
each time in a process of its own.

The rate is taken once three times as many calls have ended as there may be at once (the client
doubles up to that from 16), and until the last of them are on the wire. Processor time is that of all
threads, from the first answer (of a bare loop: after a hundred calls) to the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lean_server import serving
from material import TURNS, alone, asking, draw
from memory import highest
from wire import CONTENDERS, SETTLING, WARM_UP

from pbclient import Progress, RunConfig, evaluate
from pbclient.benchmark.package import STEMS

RAMP = 3  # times the concurrency, in calls
LOOK = 0.02  # seconds between two looks at the client's counter
BASELINE = "aiohttp"
WIRES = {"pbclient, LiteLLM": "litellm", "pbclient, direct": "direct"}
BESIDE = {
    "litellm": ("litellm openai/", "litellm hosted_vllm/", "pbclient, LiteLLM"),
    "direct": ("pbclient, direct",),
}
# Their frames are sent as they are; a crop of COCO is encoded anew, which takes more than all the rest.
DATA_SETS = tuple(acronym for acronym in STEMS if acronym != "COCO")


@dataclass(frozen=True)
class Figures:
    """Medians over the rounds; `times` compares processor time to aiohttp's, `share` is of the ceiling."""

    cpu_ms_per_call: float
    times: float
    calls_per_s: float
    share: float
    peak_mb: float


@dataclass(frozen=True)
class Round:
    """What some calls took: seconds of the processors a call, calls a second, and memory in bytes."""

    cpu: float
    rate: float
    peak: int


@dataclass(frozen=True)
class Load:
    """How many calls are made, and how many of them at once."""

    calls: int
    concurrency: int

    def rate(self, seen: Sequence[tuple[float, int]]) -> float:
        """Calls a second between ramp-up and the end, from moments and how many calls had ended by then."""
        begin = next(moment for moment in seen if moment[1] >= RAMP * self.concurrency)
        end = next(moment for moment in seen if moment[1] >= self.calls - self.concurrency)
        return (end[1] - begin[1]) / (end[0] - begin[0])


def loop(name: str, url: str, load: Load) -> Round:
    """A bare loop."""
    return asyncio.run(_loop(name, url, load))


async def _loop(name: str, url: str, load: Load) -> Round:
    async with CONTENDERS[name](url) as call:

        async def work() -> None:
            for number in waiting:
                await call(number)
                seen.append((time.perf_counter(), len(seen) + 1))

        seen: list[tuple[float, int]] = []
        waiting = iter(range(WARM_UP))
        await asyncio.gather(*(work() for _ in range(WARM_UP)))
        seen.clear()
        waiting = iter(range(load.calls))
        cpu = time.process_time()
        await asyncio.gather(*(work() for _ in range(load.concurrency)))
        await asyncio.sleep(SETTLING)
        return Round((time.process_time() - cpu) / load.calls, load.rate(seen), highest())


@dataclass
class Look:
    """Looks at a run's counter as long as it lasts; `cpu` is what was worked before the first answer."""

    progress: Progress
    cpu: float = 0.0
    seen: list[tuple[float, int]] = field(default_factory=list)

    async def run(self) -> None:
        while True:
            ended, _ = self.progress.wire()
            if ended:
                self.cpu = self.cpu or time.process_time()
                self.seen.append((time.perf_counter(), ended))
            await asyncio.sleep(LOOK)


def client(config: RunConfig, load: Load) -> Round:
    """The whole client."""
    return asyncio.run(_client(config, load))


async def _client(config: RunConfig, load: Load) -> Round:
    look = Look(Progress())
    looking = asyncio.create_task(look.run())
    result = await evaluate(config, progress=look.progress)
    cpu = time.process_time() - look.cpu
    looking.cancel()
    assert result.exit_code == 0, result.reasons
    assert result.summary["calls"] == {"wire": load.calls, "hits": 0, "retries": 0}, result.summary["calls"]
    return Round(cpu / load.calls, load.rate(look.seen), highest())


def measure(
    names: Sequence[str], folder: Path, episodes: int, concurrency: int, latency: float, rounds: int
) -> dict[str, Figures]:
    """These contenders by turns."""
    alone(draw, folder / "data", episodes)
    load = Load(TURNS * samples(folder / "data"), concurrency)
    taken: dict[str, list[Round]] = {name: [] for name in names}
    with serving(latency, words="A") as url:
        for number in range(rounds):
            for name in names:
                out = folder / f"{number} {name}"
                taken[name].append(
                    alone(client, config(url, folder / "data", out, WIRES[name], concurrency), load)
                    if name in WIRES
                    else alone(loop, name, url, load)
                )
    return {name: figures(turns, taken[BASELINE], concurrency / latency) for name, turns in taken.items()}


def samples(data: Path) -> int:
    """How many samples of `DATA_SETS` there are."""
    files = (data / f"{STEMS[acronym]}_preprocessed.jsonl" for acronym in DATA_SETS)
    return sum(len(file.read_bytes().splitlines()) for file in files)


def config(url: str, data: Path, out: Path, wire: str, concurrency: int) -> RunConfig:
    """A run that finds nothing in its cache."""
    return asking(
        base_url=url,
        wire=wire,
        data=data,
        datasets=DATA_SETS,
        max_tokens=64,
        concurrency=concurrency,
        no_cache=True,
        out=out,
    )


def figures(turns: list[Round], baseline: list[Round], ceiling: float) -> Figures:
    """Ratios are taken within a round, so that a slow moment of the machine meets both sides."""
    rate = statistics.median(turn.rate for turn in turns)
    times = (turn.cpu / other.cpu for turn, other in zip(turns, baseline, strict=True))
    return Figures(
        cpu_ms_per_call=round(1000 * statistics.median(turn.cpu for turn in turns), 3),
        times=round(statistics.median(times), 2),
        calls_per_s=round(rate),
        share=round(rate / ceiling, 3),
        peak_mb=round(max(turn.peak for turn in turns) / 1e6, 1),
    )


def table(found: dict[str, Figures]) -> str:
    """As lines of Markdown."""
    head = "| | ms of processor a call | times aiohttp | calls/s | of the ceiling | peak MB |"
    rows = [
        f"| {name} | {of.cpu_ms_per_call:.3f} | {of.times:.2f} | {of.calls_per_s:,} | {of.share:.0%} "
        f"| {of.peak_mb:.0f} |"
        for name, of in found.items()
    ]
    return "\n".join([head, "|---|---:|---:|---:|---:|---:|", *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--episodes", type=int, default=1500)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--latency", type=float, default=0.3, help="of the server, in seconds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--wires", nargs="+", choices=[*BESIDE], default=[*BESIDE], help="beside aiohttp")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    names = [BASELINE, *(name for wire in options.wires for name in BESIDE[wire])]
    with tempfile.TemporaryDirectory() as folder:
        found = measure(
            names, Path(folder), options.episodes, options.concurrency, options.latency, options.rounds
        )
    print(json.dumps({name: asdict(each) for name, each in found.items()}) if options.json else table(found))


if __name__ == "__main__":
    main()
