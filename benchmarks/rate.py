"""How near does a client come to a provider's rate limit, and how often is it refused?

    python benchmarks/rate.py [--answers 1500] [--only NAME ...] [--json]

The server refuses with 429 above its limit, in the vendors' words and headers, and has the vendors'
latency. Contenders at their defaults, one after the other, each with a process and a server of its own:
this client on both wires, Inspect AI (in an environment of its own), and a loop of LiteLLM with a fixed
number of calls at once that waits as long as it is told. Pictures are of 40 KB.

Of what the limit allows: answers from the first second on, by the limit times the time from the first to
the last of them but the slowest hundredth.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from inspect_peer import TASK, environment
from limited_server import limited
from material import alone, asking, draw

from pbclient import evaluate
from pbclient.benchmark.package import STEMS, kept_ids

SERVERS: dict[str, dict[str, Any]] = {
    "3,000 requests/min, 2 s": {"rpm": 3000},
    "2,400 requests/min, 3 s, Anthropic's headers": {"rpm": 2400, "latency": 3.0, "headers": "anthropic"},
    "900,000 tokens/min": {"tpm": 900_000},
    "3,000 requests/min, 2 s, no headers": {"rpm": 3000, "headers": ""},
    "24 slots, no refusals": {"slots": 24, "latency": 1.0, "headers": ""},
}
LIGHT = "1,200 requests/min, 0.1 s"
FIXED = 64  # calls at once of the plain loop
MEASURED, WARM_UP = "QD", "IN-C"


@dataclass(frozen=True)
class Figures:
    """`share` of what the limit allows, refusals for 100 answers, the most in flight."""

    share: float
    refusals: float
    in_flight: int


def client(url: str, data: Path, out: Path, answers: int, wire: str) -> None:
    """A run of ours at its defaults."""
    config = asking(
        base_url=url,
        wire=wire,
        data=data,
        datasets=(MEASURED,),
        limit=answers,
        max_tokens=64,
        cache_dir=out / "answers",
        out=out / "run",
    )
    result = asyncio.run(evaluate(config))
    assert result.exit_code == 0, result.reasons


def peer(url: str, data: Path, out: Path, answers: int) -> None:
    """Inspect AI at its defaults."""
    command = (environment(), TASK, url, data / WARM_UP, data / MEASURED, "0")
    subprocess.run(command, check=True, capture_output=True)


def loop(url: str, data: Path, out: Path, answers: int) -> None:
    """LiteLLM, so many calls at once, each as long as it is told to wait."""
    import base64
    import os

    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    litellm.suppress_debug_info = True
    pictures = iter(sorted((data / MEASURED).glob("*.jpg"))[:answers])

    async def ask() -> None:
        for picture in pictures:
            encoded = base64.b64encode(picture.read_bytes()).decode()
            image = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{encoded}"}}
            content = [{"type": "text", "text": "Which of these does the picture show?"}, image]
            while True:
                try:
                    await litellm.acompletion(
                        model="hosted_vllm/glance",
                        api_base=url,
                        api_key="none",
                        max_tokens=64,
                        num_retries=0,
                        max_retries=0,
                        messages=[{"role": "user", "content": content}],
                    )
                    break
                except litellm.RateLimitError as error:
                    response = getattr(error, "response", None)
                    await asyncio.sleep(float(response.headers.get("retry-after", 1)) if response else 1)

    async def all_of_them() -> None:
        await asyncio.gather(*(ask() for _ in range(FIXED)))

    asyncio.run(all_of_them())


CONTENDERS: dict[str, Callable[[str, Path, Path, int], None]] = {
    "pbclient, direct": lambda url, data, out, answers: alone(client, url, data, out, answers, "direct"),
    "pbclient, LiteLLM": lambda url, data, out, answers: alone(client, url, data, out, answers, "litellm"),
    f"litellm, {FIXED} at once": lambda url, data, out, answers: alone(loop, url, data, out, answers),
    "Inspect AI": peer,
}


def allowed(server: dict[str, Any]) -> float:
    """Answers a second."""
    if slots := server.get("slots"):
        return float(slots / server["latency"])
    return float(server["rpm"] / 60 if "rpm" in server else server["tpm"] / 60 / 487)


def figures(url: str, server: dict[str, Any]) -> Figures:
    """What the server saw."""
    with urllib.request.urlopen(f"{url}/told") as response:
        told = json.load(response)
    answered = sorted(told["answered"])
    answered = answered[: max(2, len(answered) * 99 // 100)]
    rate = (len(answered) - 1) / (answered[-1] - answered[0])
    refusals = 100 * len(told["refused"]) / len(told["answered"])
    return Figures(round(rate / allowed(server), 3), round(refusals, 2), told["most_in_flight"])


def measure(
    folder: Path, answers: int, servers: list[str], contenders: list[str]
) -> dict[str, dict[str, Figures]]:
    """Every contender against every server."""
    everything = sum(len(kept_ids(name)) for name in STEMS)
    data = folder / "data"
    alone(draw, data, -(-answers * everything // len(kept_ids(MEASURED))), turns=1)
    found: dict[str, dict[str, Figures]] = {}
    for number, name in enumerate(servers):
        for contender in contenders:
            with limited(**SERVERS[name]) as url:
                CONTENDERS[contender](url, data, folder / f"{number} {contender}", answers)
                time.sleep(0.1)
                found.setdefault(name, {})[contender] = figures(url, SERVERS[name])
    return found


def table(found: dict[str, dict[str, Figures]]) -> str:
    """As lines of Markdown."""
    lines = ["| provider | client | of what the limit allows | refusals for 100 answers | most in flight |"]
    lines.append("|---|---|---:|---:|---:|")
    lines += [
        f"| {server} | {contender} | {of.share:.0%} | {of.refusals:g} | {of.in_flight} |"
        for server, contenders in found.items()
        for contender, of in contenders.items()
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--answers", type=int, default=1500)
    parser.add_argument("--only", nargs="+", choices=list(SERVERS), default=list(SERVERS))
    parser.add_argument("--contenders", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--light", action="store_true", help="one fast limit, and this client alone")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.light:
        SERVERS[LIGHT] = {"rpm": 1200, "latency": 0.1}
        options.only, options.contenders = [LIGHT], ["pbclient, direct"]
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.answers, options.only, options.contenders)
    if options.json:
        print(
            json.dumps({name: {who: asdict(of) for who, of in all_.items()} for name, all_ in found.items()})
        )
    else:
        print(table(found))


if __name__ == "__main__":
    main()
