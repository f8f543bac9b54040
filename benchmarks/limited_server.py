"""A model server with a provider's manners: token buckets, log-normal latency, 429 with the vendors' headers.

For measuring how near a client comes to a rate limit, and how often it is refused. `Account` is the
bookkeeping alone, on any clock; `limited` puts it behind HTTP, in OpenAI's shape.
"""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any

try:
    from lean_server import ANSWER
except ImportError:  # as a test imports it
    from benchmarks.lean_server import ANSWER


@dataclass
class Bucket:
    """So many units a minute, of which `burst` seconds' worth may be taken at once."""

    per_minute: float
    burst: float = 1.0
    level: float = math.nan
    seen: float = 0.0

    @property
    def capacity(self) -> float:
        return max(1.0, self.per_minute / 60 * self.burst)

    def fill(self, now: float) -> None:
        if math.isnan(self.level):
            self.level, self.seen = self.capacity, now
        self.level = min(self.capacity, self.level + (now - self.seen) * self.per_minute / 60)
        self.seen = now


@dataclass
class Account:
    """What a provider allows one account, and how it says so.

    `headers` is "openai", "anthropic" or "" for a provider that says nothing; `slots` queues instead of
    refusing. A call takes one request and `tokens` tokens.
    """

    rpm: float | None = None
    tpm: float | None = None
    slots: int | None = None
    headers: str = "openai"
    latency: float = 2.0
    spread: float = 0.3
    tokens: int = 487
    burst: float = 1.0
    clock: Callable[[], float] = time.monotonic
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    _places: asyncio.Semaphore | None = None

    def __post_init__(self) -> None:
        amounts = {"requests": self.rpm, "tokens": self.tpm}
        self.buckets = {name: Bucket(amount, self.burst) for name, amount in amounts.items() if amount}

    def change(self, **per_minute: float) -> None:
        """Another limit from now on."""
        for name, amount in per_minute.items():
            self.buckets[name].fill(self.clock())
            self.buckets[name].per_minute = amount
            self.buckets[name].level = min(self.buckets[name].level, self.buckets[name].capacity)

    def admit(self) -> float | None:
        """None when a call may be answered, else the seconds until one may."""
        now = self.clock()
        costs = {"requests": 1.0, "tokens": float(self.tokens)}
        for bucket in self.buckets.values():
            bucket.fill(now)
        waits = [
            (min(costs[name], bucket.capacity) - bucket.level) * 60 / bucket.per_minute
            for name, bucket in self.buckets.items()
        ]
        wait = max(waits, default=0.0)
        if wait > 1e-9:
            self.refused.append(now)
            return wait
        for name, bucket in self.buckets.items():
            bucket.level -= costs[name]
        return None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """A place at the server, which queues where it has few."""
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        if self.slots and self._places is None:
            self._places = asyncio.Semaphore(self.slots)
        try:
            async with self._places or nullcontext():
                yield
        finally:
            self.in_flight -= 1

    def seconds(self) -> float:
        """How long an answer takes: log-normal about the mean."""
        return self.latency * math.exp(self.rng.gauss(0.0, self.spread) - self.spread**2 / 2)

    def said(self, wait: float | None = None) -> dict[str, str]:
        """The headers of an answer, or of a refusal that asks to wait."""
        words: dict[str, str] = {}
        for name, bucket in self.buckets.items():
            full = (bucket.capacity - bucket.level) * 60 / bucket.per_minute
            # Vendors show a minute's worth, whatever may be taken at once.
            remaining = str(int(bucket.per_minute * max(bucket.level, 0) / bucket.capacity))
            if self.headers == "openai":
                words |= {
                    f"x-ratelimit-limit-{name}": f"{bucket.per_minute:.0f}",
                    f"x-ratelimit-remaining-{name}": remaining,
                    f"x-ratelimit-reset-{name}": f"{full * 1000:.0f}ms",
                }
            elif self.headers == "anthropic":
                names = ("requests",) if name == "requests" else ("tokens", "input-tokens")
                for each in names:
                    words |= {
                        f"anthropic-ratelimit-{each}-limit": f"{bucket.per_minute:.0f}",
                        f"anthropic-ratelimit-{each}-remaining": remaining,
                        f"anthropic-ratelimit-{each}-reset": datetime.fromtimestamp(
                            time.time() + full, UTC
                        ).strftime("%Y-%m-%dT%H:%M:%SZ"),
                    }
        if wait is not None and self.headers:
            words["retry-after"] = str(math.ceil(wait))
        return words


@contextmanager
def limited(**account: Any) -> Iterator[str]:
    """The base URL of a server with such an `Account`, in a process of its own, for as long as the block."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, account), daemon=True)
    process.start()
    theirs.close()  # a server that cannot start must not be waited for
    try:
        yield f"http://127.0.0.1:{ours.recv()}/v1"
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Connection, options: dict[str, Any]) -> None:
    asyncio.run(_forever(pipe, Account(**options)))


async def _forever(pipe: Connection, account: Account) -> None:
    from aiohttp import web

    prompt = account.tokens - ANSWER["usage"]["completion_tokens"]
    usage = {**ANSWER["usage"], "prompt_tokens": prompt, "total_tokens": account.tokens}
    (choice,) = ANSWER["choices"]
    answer = {
        **ANSWER,
        "choices": [{**choice, "message": {**choice["message"], "content": "A"}}],
        "usage": usage,
    }

    async def complete(request: web.Request) -> web.Response:
        await request.read()
        wait = account.admit()
        if wait is not None:
            error = {"message": "Rate limit reached.", "type": "requests", "code": "rate_limit_exceeded"}
            return web.json_response({"error": error}, status=429, headers=account.said(wait))
        headers = account.said()
        async with account.serving():
            await asyncio.sleep(account.seconds())
        account.answered.append(time.monotonic())
        return web.json_response(answer, headers=headers)

    async def told(request: web.Request) -> web.Response:
        """When answers were given and calls refused, in seconds since the first answer could have come."""
        moments = {"answered": account.answered, "refused": account.refused}
        return web.json_response({**moments, "most_in_flight": account.most_in_flight})

    async def change(request: web.Request) -> web.Response:
        """Other limits a minute from now on, as the query says."""
        account.change(**{name: float(amount) for name, amount in request.query.items()})
        return web.Response()

    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_post("/v1/chat/completions", complete)
    app.router.add_get("/v1/told", told)
    app.router.add_post("/v1/limits", change)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=8192)
    await site.start()
    pipe.send(runner.addresses[0][1])
    await asyncio.Event().wait()
