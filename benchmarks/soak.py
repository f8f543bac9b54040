"""Hold the ten promises against a server that fails in every way it knows, and against `kill -9`.

    python benchmarks/soak.py [--calls 100000] [--kills 20] [--seed 0] [--write]

Two processes play the same questions into one cache, each with a key, a folder and a limit of its own. The
server bills each of them by its key, also for most of its faults; now and then one of the two is killed. A
run that has spent its limit is given the next of five, one that an error has ended is started again. At
the end every promise is counted out from the server's own books, the files and a third run that may ask
nobody. `--write` makes docs/soak.md of it. A run of 5,000 calls takes some minutes, most
of which are starts of processes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from loopback_faults import Ask, Fault, FaultKind, LoopbackServer, LoopbackThread, full_usage  # noqa: E402
from material import alone, draw  # noqa: E402
from memory import Watch  # noqa: E402

from cache import Store, digest  # noqa: E402
from pbclient import Progress, RunConfig, evaluate  # noqa: E402
from pbclient.calls.key import is_request  # noqa: E402
from providers import Usage  # noqa: E402
from runs import Balance  # noqa: E402

TURNS = 2
PRICE_IN, PRICE_OUT, MOST = 1e-6, 2e-6, 100  # dollars a token, and output tokens a call
LIMITS = (0.03, 0.1, 0.2, 0.35, None)  # shares of what all calls cost; the last lifts the limit
KEYS = ("sk-soak-one-Zq8kXv0pL42m", "sk-soak-two-Wt5nRb7cJ91x")
PROMISES = (
    "fidelity: each sample ends as it does in all its other repeats",
    "the bound: settled + held within the limit, and the server's bill within both",
    "pay once: no more answers given than stored, but for what was on the wire at a kill",
    "nothing lost: every planned episode is recorded once",
    "a failure is never an answer: every recorded text is one that the server gave",
    "the key says what was asked: it is the digest of the question that is stored with the answer",
    "bounded: every run ends, and no process takes 700 MB",
    "offline: the same figures without a single call",
    "order: what a limit stopped is a fair sample of all data sets",
    "errors: no traceback, no key in any output or file of a run",
)
# By how often of 1,000 calls. `ENDS` end a run, as they should: a few of each in the whole soak.
RARE: dict[FaultKind, float] = {"hang": 0.4, "drip": 0.4, "content_filter": 1, "refusal": 1, "length": 1}
OFTEN: tuple[FaultKind, ...] = (
    "rate_limit", "server_error", "unavailable", "overloaded", "reset", "disconnect", "cut_off", "html",
    "empty_body", "torn_json", "empty_text", "bad_request", "context_exceeded", "content_policy",
    "bad_image", "unsupported_parameter", "under_status", "body",
)  # fmt: skip
ENDS: tuple[FaultKind, ...] = (
    "authentication", "permission", "model_not_found", "insufficient_quota", "payment_required",
    "images_unsupported", "redirect",
)  # fmt: skip
GATEWAY = (300, 403, 408, 500, 502, 504, 520, 524)


class Bank(LoopbackServer):
    """A model server with every fault it knows, and what each key owes it."""

    def __init__(self, calls: int, seed: int) -> None:
        super().__init__(
            faults=self._fault, usage=full_usage, cost=self._charge, latency=0.01, records=1, drip_seconds=1
        )
        self._rng = random.Random(seed)
        self._ends = list(ENDS) * (2 if calls >= 50_000 else 1)
        self._every, self._more = calls // (len(self._ends) + 2), len(self._ends)
        self.owed: Counter[str] = Counter()
        self.good: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()

    def _charge(self, ask: Ask, usage: Usage) -> float:
        bill = usage.input_tokens * PRICE_IN + usage.output_tokens * PRICE_OUT
        self.owed[ask.headers["authorization"].removeprefix("Bearer ")] += round(bill * 10**12)
        return bill

    def _fault(self, ask: Ask, attempt: int) -> Fault | None:
        rng = self._rng
        if self._ends and self.calls >= self._every * (1 + self._more - len(self._ends)):
            kind = self._ends.pop(0)
        elif rng.random() < 0.06:
            kind = rng.choice(OFTEN)
        else:
            kinds = (kind for kind, share in RARE.items() if rng.random() < share / 1000)
            kind = next(kinds, "")
        if not kind:
            return None
        self.failed[kind] += 1
        if kind == "under_status":
            return Fault(kind, text="A", status=rng.choice(GATEWAY))
        if kind == "body":
            text = rng.choice(
                ("Internal Server Error", "<html>Bad Gateway</html>", f"your key is {KEYS[0].upper()}")
            )
            return Fault(kind, text=text, status=rng.choice(GATEWAY), billed=True)
        return Fault(kind, billed=kind == "redirect", parameter="top_k" if "parameter" in kind else None)

    def _answer(self, ask: Ask, fault: Fault | None, key: str, attempt: int) -> Any:
        if fault is None or fault.kind in ("content_filter", "refusal", "length"):
            self.good[key] += 1
        return super()._answer(ask, fault, key, attempt)


@dataclass
class Client:
    """One of the two runs over all its lives."""

    key: str
    options: dict[str, Any]
    stage: int = 0
    lives: int = 0
    peak: int = 0
    stall: float = 0.0
    done: bool = False
    process: subprocess.Popen[str] | None = None
    ends: Counter[str] = field(default_factory=Counter)
    output: str = ""

    @property
    def folder(self) -> Path:
        return Path(self.options["out"])

    @property
    def limit(self) -> int | None:
        """Picodollars."""
        limit = self.options["max_cost"]
        return None if limit is None else int(Decimal(limit) * 10**12)

    def start(self, whole: float) -> None:
        share = LIMITS[self.stage]
        self.options["max_cost"] = None if share is None else f"{whole * share:.6f}"
        self.lives += 1
        self.process = _child(self.options, self.key)

    def look(self) -> None:
        """Note how much memory the process has taken so far."""
        with suppress(OSError, IndexError, StopIteration):
            lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()  # type: ignore[union-attr]
            self.peak = max(
                self.peak, next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
            )


def _child(options: dict[str, Any], key: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OPENAI_API_KEY": key, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, __file__, "--play", json.dumps(options)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


async def _play(options: dict[str, Any]) -> dict[str, Any]:
    """One life of a run, in this process: how it ended, and the longest stall of its loop in ms."""
    progress = Progress(say=lambda sentence: print(sentence, file=sys.stderr))
    watch = Watch(progress, 10**9)
    watching = asyncio.create_task(watch.run())
    config = RunConfig(**{**options, "max_cost": options["max_cost"] and Decimal(options["max_cost"])})
    result = await evaluate(config, progress=progress)
    watching.cancel()
    return {
        "exit": result.exit_code,
        "outcomes": result.outcomes,
        "planned": result.planned,
        "stall_ms": 1000 * max(watch.busy, default=0.0),
        "datasets": result.summary["datasets"],
    }


@dataclass
class Soak:
    """The server, the two clients, and the promises that were broken."""

    calls: int
    kills: int
    seed: int
    folder: Path
    broken: dict[int, list[str]] = field(default_factory=lambda: {number: [] for number in range(1, 11)})
    lost: int = 0  # calls on the wire at the kills
    killed: int = 0
    stored: int = 0
    fair: bool = False

    def play(self) -> dict[str, Any]:
        started = time.monotonic()
        samples = min(420, self.calls // TURNS)
        alone(draw, self.folder / "data", samples, TURNS)
        bank = Bank(self.calls, self.seed)
        with LoopbackThread(bank):
            clients = [Client(key, self._options(bank, number)) for number, key in enumerate(KEYS)]
            self._live(bank, clients)
            self._count_out(bank, clients)
        return {
            "calls": bank.calls,
            "answers stored": self.stored,
            "answers given": sum(bank.good.values()),
            "faults": bank.failed.total(),
            "kinds of fault": len(bank.failed),
            "kills": self.killed,
            "lives": sum(client.lives for client in clients),
            "server's bill, dollars": round(bank.total_cost, 4),
            "settled and held, dollars": round(sum(map(self._booked, clients)) / 10**12, 4),
            "peak of a process, MB": round(max(client.peak for client in clients) / 1024, 1),
            "longest stall of a loop, ms": round(max(client.stall for client in clients), 1),
            "minutes": round((time.monotonic() - started) / 60, 1),
        }

    def _options(self, bank: Bank, number: int) -> dict[str, Any]:
        samples = sum(1 for _ in self._rows())
        return {
            "provider": "openai", "model": "glance", "base_url": bank.url, "wire": "direct",
            "price": "1,2", "max_tokens": MOST, "image_tokens": 100, "timeout": 5.0, "concurrency": 128,
            "repeat": -(-self.calls // (samples * TURNS)), "seed": number, "max_cost": None,
            "data": str(self.folder / "data"), "cache_dir": str(self.folder / "answers"),
            "out": str(self.folder / f"run-{number}"),
        }  # fmt: skip

    def _rows(self) -> list[str]:
        files = (self.folder / "data").glob("*_preprocessed.jsonl")
        return [line for file in files for line in file.read_text().splitlines()]

    def _live(self, bank: Bank, clients: list[Client]) -> None:
        """Start, kill and start again until both runs have played all that they can."""
        rng = random.Random(self.seed)
        whole = self.calls * 0.0004  # dollars, roughly
        every = self.calls // (self.kills + 1)
        while not all(client.done for client in clients):
            for client in clients:
                if client.process is None and not client.done:
                    client.start(whole)
            time.sleep(0.05)
            alive = [client for client in clients if client.process is not None]
            for client in alive:
                client.look()
                if client.process is not None and client.process.poll() is not None:
                    self._ended(bank, client)
            alive = [client for client in alive if client.process is not None]
            if alive and self.killed < self.kills and bank.calls >= every * (self.killed + 1):
                self._kill(bank, rng.choice(alive))

    def _kill(self, bank: Bank, client: Client) -> None:
        assert client.process is not None
        client.process.send_signal(signal.SIGKILL)
        self.killed += 1
        self.lost += bank.in_flight + client.options["concurrency"] // 8  # some have just been answered
        client.process.communicate()
        client.process = None
        self._money(bank, client)

    def _ended(self, bank: Bank, client: Client) -> None:
        """A process has ended by itself: what it says, and what comes next for its run."""
        assert client.process is not None
        out, err = client.process.communicate()
        client.process = None
        client.output += out + err
        self._money(bank, client)
        try:
            end = json.loads(out.splitlines()[-1])
        except (ValueError, IndexError):
            self.broken[10].append(f"a process ended without a word: {err[-300:]}")
            client.done = client.lives > 200
            return
        client.stall = max(client.stall, end["stall_ms"])
        client.ends[str(end["exit"])] += 1
        if end["exit"] == 3 and not self.fair:
            self.fair = True
            self._order(end["datasets"])
        owed = {"failed", "budget"} & end["outcomes"].keys()
        played = sum(end["outcomes"].values()) == end["planned"]
        if end["exit"] == 3:
            client.stage = min(client.stage + 1, len(LIMITS) - 1)
        elif played and not owed:
            client.done = True
        if client.lives > 200:
            self.broken[7].append("a run does not end")
            client.done = True

    def _money(self, bank: Bank, client: Client) -> None:
        """The second promise, after a life of a run."""
        if not (client.folder / "ledger.jsonl").exists():
            return
        time.sleep(0.1)  # what was on its way to the server is billed by then
        booked = self._booked(client)
        if client.limit is not None and booked > client.limit:
            self.broken[2].append(f"{booked} booked of {client.limit}")
        if bank.owed[client.key] > booked:
            self.broken[2].append(f"{bank.owed[client.key]} billed, {booked} booked")

    def _booked(self, client: Client) -> int:
        return Balance.read(client.folder / "ledger.jsonl").spent_or_held

    def _order(self, datasets: dict[str, Any]) -> None:
        """Of what a limit has stopped each data set has its share, but for what was cut short."""
        planned = {name: entry["n"] for name, entry in datasets.items()}
        played = {
            name: sum(entry["outcomes"].values()) - entry["outcomes"].get("budget", 0)
            for name, entry in datasets.items()
        }
        whole = sum(played.values())
        for name, count in played.items():
            if abs(count - whole * planned[name] / sum(planned.values())) > 5 + 0.1 * whole:
                self.broken[9].append(f"{name} has {count} of {whole} episodes that were played")

    def _count_out(self, bank: Bank, clients: list[Client]) -> None:
        """All that can be said once both runs are through."""
        with Store(self.folder / "answers") as store:
            stored = [(key, entry) for key, entry in store.entries() if is_request(entry.asked)]
        again = sum(bank.good.values()) - len(stored)
        if again > self.lost:
            self.broken[3].append(f"{again} answers were bought again, {self.lost} were on the wire at kills")
        if wrong := [key for key, entry in stored if digest(entry.asked) != key]:
            self.broken[6].append(f"{len(wrong)} keys are not those of their questions")
        self.stored = len(stored)
        odd = {dict(entry.answer)["text"] for _, entry in stored} - {"A", ""}
        if odd:
            self.broken[5].append(f"stored as answers: {odd}")
        for client in clients:
            lines = [json.loads(line) for line in (client.folder / "episodes.jsonl").read_text().splitlines()]
            names = Counter((line["dataset"], line["sample"], line["repeat"]) for line in lines)
            planned = sum(json.loads((client.folder / "run.json").read_text())["planned"].values())
            if len(lines) != planned or max(names.values()) > 1:
                self.broken[4].append(f"{len(lines)} lines of {planned} episodes")
            self._fidelity(lines)
            if {turn["answer"] for line in lines for turn in line["turns"]} - {"A", ""}:
                self.broken[5].append("a turn has an answer that nobody gave")
            self._no_keys(client)
        self._offline(bank, clients[0])
        if max(client.peak for client in clients) > 700 * 1024:
            self.broken[7].append("a process took more than 700 MB")

    def _fidelity(self, lines: list[dict[str, Any]]) -> None:
        """Every answer is the first option: each sample ends as it does in all its other repeats."""
        ends: dict[tuple[str, str], set[str]] = {}
        for line in lines:
            if line["outcome"] == "resolved":
                told = json.dumps(
                    [line["correct"], line["suggestions"], [turn["action"] for turn in line["turns"]]]
                )
                ends.setdefault((line["dataset"], line["sample"]), set()).add(told)
        if odd := [name for name, found in ends.items() if len(found) > 1]:
            self.broken[1].append(f"samples that ended in several ways: {odd[:3]}")

    def _offline(self, bank: Bank, client: Client) -> None:
        before = bank.calls
        options = {**client.options, "out": str(self.folder / "offline"), "offline": True, "max_cost": None}
        _child(options, KEYS[0]).communicate()
        if bank.calls != before:
            self.broken[8].append(f"{bank.calls - before} calls")
        # What a filter refused in one run, before any answer, the other may have been given.
        again, told = (self._figures(folder) for folder in (self.folder / "offline", client.folder))
        if other := [name for name, figures in told.items() if again.get(name) != figures]:
            self.broken[8].append(f"{len(other)} episodes have other figures, such as {other[:3]}")

    def _figures(self, folder: Path) -> dict[tuple[str, str, int], tuple[bool, int]]:
        """What each resolved episode of a run counts."""
        lines = map(json.loads, (folder / "episodes.jsonl").read_text().splitlines())
        return {
            (line["dataset"], line["sample"], line["repeat"]): (line["correct"], line["suggestions"])
            for line in lines
            if line["outcome"] == "resolved"
        }

    def _no_keys(self, client: Client) -> None:
        from providers.replies.error_text import without

        files = [file.read_text(errors="replace") for file in client.folder.rglob("*") if file.is_file()]
        for text in (client.output, *files):
            if any(without(line, KEYS) != line for line in text.splitlines()):
                self.broken[10].append("a key in an output or a file")
            if "Traceback" in text:
                self.broken[10].append("a traceback")


def page(soak: Soak, figures: dict[str, Any]) -> str:
    """What was found, as a page of Markdown."""
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    machine = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    rows = [f"| {name} | {value:,} |" for name, value in figures.items()]
    promises = [
        f"| {number} | {words} | {len(soak.broken[number])} |"
        for number, words in enumerate(PROMISES, start=1)
    ]
    told = [f"- {number}: {what}" for number, found in soak.broken.items() for what in found[:5]]
    return "\n".join(
        [
            "# Soak",
            "",
            f"Written by `python benchmarks/soak.py --calls {soak.calls} --kills {soak.kills} --write` "
            f"on {when} ({machine}). Two processes play the same questions into one cache against a server "
            "that fails in every way it knows and bills most of it; the program says at its top how.",
            "", "| | |", "|---|---:|", *rows,
            "", "| promise | | violations |", "|---:|---|---:|", *promises, "", *told,
        ]
    ).rstrip() + "\n"  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--play", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.play:
        print(json.dumps(asyncio.run(_play(json.loads(options.play)))))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(options.calls, options.kills, options.seed, Path(folder))
        text = page(soak, soak.play())
    print(text)
    if options.write:
        (ROOT / "docs" / "soak.md").write_text(text, encoding="utf-8")
    return 1 if any(soak.broken.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
