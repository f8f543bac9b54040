"""How near does a client come to a provider's rate limit, and how often is it refused?

    python benchmarks/rate.py [--answers 1500] [--only NAME ...] [--more] [--json]

The server refuses with 429 above its limit, in the vendors' words and headers, and has the vendors'
latency. Contenders at their defaults, one after the other, each with a process and a server of its own:
this client on both wires, Inspect AI (in an environment of its own), and a loop of LiteLLM with a fixed
number of calls at once that waits as long as it is told. Pictures are of 40 KB.

Of what the limit allows: answers from the first second on, by the limit times the time from the first to
the last of them but the slowest hundredth; and the same from 15 s on. With `--more` this client meets
slower and faster limits, one that drops to a third for 40 s, and one that two of its processes share.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
EVERYTHING = sum(len(kept_ids(name)) for name in STEMS)
# With how many answers each.
MORE: dict[str, tuple[int, dict[str, Any]]] = {
    "500 requests/min, 2 s": (400, {"rpm": 500}),
    "12,000 requests/min, 2 s": (EVERYTHING, {"rpm": 12_000}),
    "12,000 requests/min, 2 s, Anthropic's headers": (EVERYTHING, {"rpm": 12_000, "headers": "anthropic"}),
    "100,000 tokens/min": (200, {"tpm": 100_000}),
    "2,000,000 tokens/min": (2000, {"tpm": 2_000_000}),
}
CHANGING = "1,500 requests/min, after 30 s a third for 40 s"
SHARED = "1,500 requests/min, two processes"
LIGHT = "1,200 requests/min, 0.1 s"
FIXED = 64  # calls at once of the plain loop
MEASURED, WARM_UP = "QD", "IN-C"


@dataclass(frozen=True)
class Figures:
    """`share` of what is allowed, overall and `after` 15 s; refusals for 100 answers; the most in flight."""

    share: float
    after: float
    refusals: float
    in_flight: int


def client(url: str, data: Path, out: Path, answers: int, wire: str) -> None:
    """A run of ours at its defaults."""
    config = asking(
        base_url=url,
        wire=wire,
        data=data,
        datasets=(MEASURED,) if answers <= len(kept_ids(MEASURED)) else (),
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
    told = server_saw(url)
    answered = sorted(told["answered"])
    answered = answered[: max(2, len(answered) * 99 // 100)]
    late = [when for when in answered if when > answered[0] + 15]
    share, after = (
        (len(moments) - 1) / (moments[-1] - moments[0]) / allowed(server) if len(moments) > 1 else math.nan
        for moments in (answered, late)
    )
    refusals = 100 * len(told["refused"]) / len(told["answered"])
    return Figures(round(share, 3), round(after, 3), round(refusals, 2), told["most_in_flight"])


def server_saw(url: str) -> dict[str, Any]:
    """The moments of its answers and refusals, in seconds, and the most calls in flight."""
    with urllib.request.urlopen(f"{url}/told") as response:
        return dict(json.load(response))


def changing(data: Path, folder: Path) -> str:
    """Refusals for each change of the limit, and what of it is used before, meanwhile and a minute after."""
    began = time.monotonic()

    def change(url: str) -> None:
        for moment, rpm in ((30, 500), (70, 1500)):
            time.sleep(began + moment - time.monotonic())
            urllib.request.urlopen(f"{url}/limits?requests={rpm}", data=b"").close()

    with limited(rpm=1500) as url:
        began = time.monotonic()
        thread = threading.Thread(target=change, args=(url,))
        thread.start()
        alone(client, url, data, folder / "changing", 2600, "direct")
        thread.join()
        told = server_saw(url)
    spans = {"before": (15, 30, 25.0), "at a third": (40, 70, 25 / 3), "back": (75, 100, 25.0)}
    used = {
        name: sum(began + start < when <= began + end for when in told["answered"]) / (end - start) / rate
        for name, (start, end, rate) in spans.items()
    }
    refused = [
        sum(began + start < when <= began + end for when in told["refused"])
        for start, end in ((30, 70), (70, 130))
    ]
    shares = ", ".join(f"{share:.0%} {name}" for name, share in used.items())
    return f"{CHANGING}: {shares}; refusals after each change: {refused[0]} and {refused[1]}"


def shared(data: Path, folder: Path) -> str:
    """Two processes of this client on one account."""
    server = {"rpm": 1500}
    with limited(**server) as url, ThreadPoolExecutor(2) as both:
        runs = [
            both.submit(alone, client, url, data, folder / f"shared {number}", 750, "direct")
            for number in range(2)
        ]
        ends = [run.result() or time.monotonic() for run in runs]
        of = figures(url, server)
    apart = abs(ends[0] - ends[1])
    return (
        f"{SHARED}: {of.share:.0%} overall, {of.after:.0%} after 15 s, {of.refusals:g} refusals for 100"
        f" answers; they ended {apart:.1f} s apart"
    )


def measure(
    folder: Path, answers: int, servers: list[str], contenders: list[str]
) -> dict[str, dict[str, Figures]]:
    """Every contender against every server."""
    data = drawn(folder, answers)
    return {
        name: {who: met(SERVERS[name], who, data, folder / f"{number} {who}", answers) for who in contenders}
        for number, name in enumerate(servers)
    }


def met(server: dict[str, Any], contender: str, data: Path, folder: Path, answers: int) -> Figures:
    """One contender against one server."""
    with limited(**server) as url:
        CONTENDERS[contender](url, data, folder, answers)
        time.sleep(0.1)
        return figures(url, server)


def drawn(folder: Path, answers: int) -> Path:
    """Data with so many samples to measure."""
    everything = sum(len(kept_ids(name)) for name in STEMS)
    data = folder / "data"
    alone(draw, data, -(-answers * everything // len(kept_ids(MEASURED))), turns=1)
    return data


def more(folder: Path) -> str:
    """This client on the direct wire against other limits, a limit that changes, and one that is shared."""
    data = drawn(folder, 2000)
    who = "pbclient, direct"
    found = {
        name: {who: met(server, who, data, folder / str(number), answers)}
        for number, (name, (answers, server)) in enumerate(MORE.items())
    }
    return "\n\n".join([table(found), changing(data, folder), shared(data, folder)])


def table(found: dict[str, dict[str, Figures]]) -> str:
    """As lines of Markdown."""
    lines = [
        "| provider | client | of what the limit allows | after 15 s | refusals for 100 answers"
        " | most in flight |",
        "|---|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {server} | {contender} | {of.share:.0%} | {of.after:.0%} | {of.refusals:g} | {of.in_flight} |"
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
    parser.add_argument("--more", action="store_true", help="other limits, and this client alone")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.light:
        SERVERS[LIGHT] = {"rpm": 1200, "latency": 0.1}
        options.only, options.contenders = [LIGHT], ["pbclient, direct"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.more:
            print(more(folder))
            return
        found = measure(folder, options.answers, options.only, options.contenders)
    if options.json:
        print(
            json.dumps({name: {who: asdict(of) for who, of in all_.items()} for name, all_ in found.items()})
        )
    else:
        print(table(found))


if __name__ == "__main__":
    main()
