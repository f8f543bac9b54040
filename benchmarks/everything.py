"""All measurements, one program after the other, as a page of Markdown.

    python benchmarks/everything.py [--light] [--only NAME ...] [--json | --write]

Each program says at its top what it measures and how. `--light` takes as little of each as shows
whether something is far off: minutes become seconds, and figures of so few calls are rough.
`--write` makes docs/speed.md of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "speed.md"
NAMED = ("proactivebench-client", "litellm", "openai", "aiohttp", "diskcache", "pillow", "proactivebench")


HEAD = """# Speed

Written by `python benchmarks/everything.py --write`. Each question has a program of its own, which runs
the contenders in turn against one server on this machine: 64 calls at once and pictures of 40 KB, unless
it says otherwise.

"""
NOTES = """
Client, server and everything else share the cores, and how fast they are changes from minute to minute:
processor time and ratios within one table tell more than calls a second. LiteLLM calls of ours go by its
`hosted_vllm/` route. Inspect AI has to be installed apart and runs in a program of its own.

- `--wire direct` is for OpenAI, any OpenAI-compatible server, OpenRouter and Anthropic. LiteLLM stays
  the default and the reference: a conformance suite holds requests, answers, bills and errors of the two
  against each other, and their cache keys are the same. When this process itself limits a run, the panel
  says so.
- There is no `--processes`: one process makes hundreds of calls a second, tens of thousands a minute.
  Providers' rate limits and a local device are reached long before. Two runs may share a cache; they
  never buy the same answer twice.
"""


@dataclass(frozen=True)
class Program:
    """One question. `light` None is a program that is no part of a light run."""

    name: str
    question: str
    full: str = ""
    light: str | None = ""

    def options(self, light: bool) -> list[str]:
        return (self.light or "" if light else self.full).split()


PROGRAMS = (
    Program("wire", "What does the wire alone take?", light="--calls 300 --rounds 3 --only Direct"),
    Program(
        "ceiling",
        "How near does a run come to what its concurrency allows?",
        light="--episodes 150 --concurrency 16 --latency 0.02 --rounds 1 --wires direct",
    ),
    Program(
        "rate",
        "How near does a run come to a provider's limit?",
        light="--answers 60 --light",
    ),
    Program("inspect_peer", "And next to Inspect AI?", light=None),
    Program("cold", "What of it is everything but the transport?", light="--episodes 100 --repeats 3"),
    Program("warm", "What does a hit take?", light="--episodes 800 --repeats 1"),
    Program(
        "memory",
        "How much memory do 5,000 calls at once take, and ten times as many episodes?",
        full="--wire direct --episodes 10000 --concurrency 5000 --latency 2 --tenfold",
        light="--wire direct --episodes 100 --concurrency 32 --tenfold",
    ),
    Program("resume", "How soon does a half-done run go on?", light="--episodes 3000 --repeats 1"),
    Program("startup", "What does starting take?", light="--repeats 1"),
)


def machine() -> str:
    """This machine and the versions of what is measured, in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {version(name)}" for name in NAMED)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}: {_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, "
        f"{platform.system()}, Python {platform.python_version()}; {versions}."
    )


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def measure(program: Program, light: bool, *more: str) -> str:
    """What the program prints. Raises `CalledProcessError`; its errors are seen as they come."""
    command = (sys.executable, HERE / f"{program.name}.py", *program.options(light), *more)
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def as_json(programs: list[Program], light: bool) -> str:
    """The figures by the name of the program."""
    found: dict[str, Any] = {each.name: json.loads(measure(each, light, "--json")) for each in programs}
    return json.dumps(found)


def section(program: Program, light: bool) -> str:
    """A question and its table."""
    shown = " ".join(["python", f"benchmarks/{program.name}.py", *program.options(light)])
    return f"\n**{program.question}** (`{shown}`)\n\n{measure(program, light)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--light", action="store_true")
    parser.add_argument("--only", nargs="+", choices=[each.name for each in PROGRAMS])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help="write docs/speed.md")
    options = parser.parse_args()
    programs = [
        each
        for each in PROGRAMS
        if each.name in (options.only or [each.name]) and not (options.light and each.light is None)
    ]
    if options.json:
        print(as_json(programs, options.light))
        return
    parts = []
    for part in (machine, *(partial(section, program, options.light) for program in programs)):
        parts.append(part())
        print(parts[-1], flush=True)
    if options.write:
        PAGE.write_text(HEAD + "\n".join(parts) + "\n" + NOTES, encoding="utf-8")


if __name__ == "__main__":
    main()
