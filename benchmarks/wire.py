"""Processor time of one call, without cache, money and retries: what the wire alone takes.

    python benchmarks/wire.py [--calls 2000] [--rounds 5] [--concurrency 64] [--latency 0]
                              [--only NAME ...] [--json]

Each call asks one question of 600 characters with a picture of 40 KB, one of 200. Contenders take
turns, each in a process of its own that has its imports and a hundred calls behind it; the time is
that of the whole process with all its threads. The server is another process and costs a call
about 0.05 ms, which is not counted.

`aiohttp` is what a program of 20 lines does: `json=` and `json.loads`. `aiohttp, ready bytes` sends
bodies that were made before and reads none: nothing over aiohttp can take less.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import logging
import multiprocessing
import os
import random
import resource
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from lean_server import serving

from providers import EncodedImage, Json, Message, Request

IMAGES = 200
IMAGE_BYTES = 40_000
WARM_UP = 100
# LiteLLM goes on working on a call after it has been answered: that counts too.
SETTLING = 0.2
QUESTION = (
    "What is in this picture? Answer with one of the options, or say what you would have to see. " * 7
)[:600]
PARAMS: Mapping[str, Json] = {"max_tokens": 64, "temperature": 0.0}

type Call = Callable[[int], Awaitable[object]]


class Picture:
    """Bytes in memory."""

    identity: Mapping[str, Json] = {}

    def __init__(self, data: bytes) -> None:
        self.encoded = EncodedImage("image/jpeg", data, 640, 480)

    async def encode(self) -> EncodedImage:
        return self.encoded


def pictures() -> list[bytes]:
    """The same for every contender."""
    chance = random.Random(0)
    return [chance.randbytes(IMAGE_BYTES) for _ in range(IMAGES)]


def messages(data: bytes) -> list[dict[str, Any]]:
    """As OpenAI writes them."""
    url = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    picture = {"type": "image_url", "image_url": {"url": url}}
    return [{"role": "user", "content": [picture, {"type": "text", "text": QUESTION}]}]


@asynccontextmanager
async def plain(url: str) -> AsyncIterator[Call]:
    """aiohttp as everybody uses it."""
    import aiohttp

    bodies = [{"model": "glance", "messages": messages(data), **PARAMS} for data in pictures()]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call(number: int) -> object:
            async with session.post(f"{url}/chat/completions", json=bodies[number % IMAGES]) as response:
                return json.loads(await response.read())["choices"][0]["message"]["content"]

        yield call


@asynccontextmanager
async def ready(url: str) -> AsyncIterator[Call]:
    """aiohttp with nothing of ours around it."""
    import aiohttp

    made = ({"model": "glance", "messages": messages(data), **PARAMS} for data in pictures())
    bodies = [json.dumps(body).encode() for body in made]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call(number: int) -> object:
            async with session.post(f"{url}/chat/completions", data=bodies[number % IMAGES]) as response:
                return await response.read()

        yield call


def requests() -> list[Request]:
    """The questions as our wires take them."""
    return [Request((Message("user", (picture, QUESTION)),), PARAMS) for picture in map(Picture, pictures())]


@asynccontextmanager
async def direct(url: str) -> AsyncIterator[Call]:
    """Our direct wire."""
    from providers.direct.wire import Direct

    questions = requests()
    async with Direct.of("openai", "glance", base_url=url, api_key="none") as provider:
        yield lambda number: provider.complete(questions[number % IMAGES])


@asynccontextmanager
async def hosted(url: str) -> AsyncIterator[Call]:
    """Our wire through LiteLLM."""
    from providers.hosted.wire import Hosted

    questions = requests()
    async with Hosted.of("openai", "glance", base_url=url, api_key="none") as provider:
        yield lambda number: provider.complete(questions[number % IMAGES])


@asynccontextmanager
async def bare(url: str, route: str) -> AsyncIterator[Call]:
    """LiteLLM as its documentation shows it, with one attempt a call."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)  # its own log times out between two turns
    asked = [messages(data) for data in pictures()]
    common: dict[str, Any] = {
        "api_base": url,
        "api_key": "none",
        "num_retries": 0,
        "max_retries": 0,
        **PARAMS,
    }
    yield lambda number: litellm.acompletion(
        model=f"{route}/glance", messages=asked[number % IMAGES], **common
    )
    await litellm.close_litellm_async_clients()


CONTENDERS = {
    "aiohttp, ready bytes": ready,
    "aiohttp": plain,
    "Direct": direct,
    "litellm hosted_vllm/": partial(bare, route="hosted_vllm"),
    "litellm openai/": partial(bare, route="openai"),
    "Hosted": hosted,
}
BASELINE = "aiohttp"


@dataclass(frozen=True)
class Figures:
    """Medians over the rounds; `times` is the processor time against that of aiohttp."""

    cpu_ms_per_call: float
    times: float
    calls_per_s: float
    peak_mb: float


@dataclass(frozen=True)
class Round:
    """What some calls took: seconds, and the most memory of the process in bytes."""

    cpu: float
    wall: float
    peak: int


class Contender:
    """One contender, alive in this process between its turns."""

    def __init__(self, name: str, url: str) -> None:
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._call = self._runner.run(self._stack.enter_async_context(CONTENDERS[name](url)))

    def turn(self, calls: int, concurrency: int) -> Round:
        """So many calls, so many at once."""
        return self._runner.run(self._turn(calls, concurrency))

    async def _turn(self, calls: int, concurrency: int) -> Round:
        waiting = iter(range(calls))

        async def work() -> None:
            for number in waiting:
                await self._call(number)

        cpu, wall = time.process_time(), time.perf_counter()
        await asyncio.gather(*(work() for _ in range(concurrency)))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        wall = time.perf_counter() - wall
        await asyncio.sleep(SETTLING)
        return Round(time.process_time() - cpu, wall, peak)

    def end(self) -> None:
        """Close its connections."""
        self._runner.run(self._stack.aclose())
        self._runner.close()


_mine: Contender


def begin(name: str, url: str, concurrency: int) -> None:
    """Make this process the contender's."""
    global _mine
    _mine = Contender(name, url)
    _mine.turn(WARM_UP, concurrency)


def take_turn(calls: int, concurrency: int) -> Round:
    """A turn of the contender of this process."""
    return _mine.turn(calls, concurrency)


def end() -> None:
    """Close the contender of this process."""
    _mine.end()


def measure(
    names: Sequence[str], calls: int, rounds: int, concurrency: int, latency: float
) -> dict[str, Figures]:
    """These contenders by turns."""
    taken: dict[str, list[Round]] = {name: [] for name in names}
    spawn = multiprocessing.get_context("spawn")
    with serving(latency) as url:
        pools = {name: ProcessPoolExecutor(1, spawn) for name in names}
        for name, pool in pools.items():
            pool.submit(begin, name, url, concurrency).result()
        for _ in range(rounds):
            for name, pool in pools.items():
                taken[name].append(pool.submit(take_turn, calls, concurrency).result())
        for pool in pools.values():
            pool.submit(end).result()
            pool.shutdown()
    return {name: figures(turns, taken[BASELINE], calls) for name, turns in taken.items()}


def figures(turns: list[Round], baseline: list[Round], calls: int) -> Figures:
    """Ratios are taken within a round, so that a slow moment of the machine meets both sides."""
    return Figures(
        cpu_ms_per_call=round(1000 * statistics.median(turn.cpu for turn in turns) / calls, 3),
        times=round(
            statistics.median(turn.cpu / other.cpu for turn, other in zip(turns, baseline, strict=True)), 2
        ),
        calls_per_s=round(calls / statistics.median(turn.wall for turn in turns)),
        peak_mb=round(max(turn.peak for turn in turns) / 1e6, 1),
    )


def table(found: dict[str, Figures]) -> str:
    """As lines of Markdown."""
    rows = [
        f"| {name} | {of.cpu_ms_per_call:.3f} | {of.times:.2f} | {of.calls_per_s:,} | {of.peak_mb:.0f} |"
        for name, of in found.items()
    ]
    head = ["| | ms of processor a call | times aiohttp | calls/s | peak MB |", "|---|---:|---:|---:|---:|"]
    return "\n".join([*head, *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.0, help="of the server, in seconds")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=[*CONTENDERS], help="beside aiohttp")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    names = [name for name in CONTENDERS if name in (BASELINE, *options.only)]
    found = measure(names, options.calls, options.rounds, options.concurrency, options.latency)
    print(json.dumps({name: asdict(each) for name, each in found.items()}) if options.json else table(found))


if __name__ == "__main__":
    main()
