"""Bodies and statuses of a hostile server: no traceback, no bill above the books, no key anywhere."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner
from hostile_answers import ALL, KEY, Sent, hostile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loopback_faults import LoopbackServer, LoopbackThread
from package_loop import ask_by_looks

from cache import Store
from pbclient.calls.breaker import Breaker
from pbclient.cli.app import main as command
from pbclient.money.bounds import Bounds
from pbclient.money.budget import Budget, Held
from pbclient.money.prices import Price, cost
from providers import Message, ProviderError, Request, Usage
from providers.direct.wire import Direct
from providers.replies.error_text import without
from runs import Ledger

# A run that ends with its first call shows little.
ENDS_A_RUN = (300, 304, 307, 308, 401, 402, 403, 404)
PRICE = Price.flat(1_000_000, 2_000_000, source="test")
ASKING = Request((Message("user", ("q",)),), {"max_tokens": 50, "temperature": 0.0}, key="k")


class Bench:
    """A hostile server and the wire to it, in a loop that lives as long as the module."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._stack = AsyncExitStack()
        self.sent: list[Sent] = []
        self._server = LoopbackServer(faults=lambda ask, attempt: self.sent[-1].fault, records=1)
        runner.run(self._open())

    async def _open(self) -> None:
        server = await self._stack.enter_async_context(self._server)
        wire = Direct.of("openai", "m", base_url=server.url, api_key=KEY, timeout=20)
        self.wire = await self._stack.enter_async_context(wire)

    def close(self) -> None:
        self._runner.run(self._stack.aclose())

    def play(self, ledger: Ledger, sent: list[Sent]) -> tuple[list[str], int]:
        """What came of each call, as text, and what the server bills for all of them in picodollars."""
        bounds = Bounds("openai", "m", PRICE)
        held = Held(
            self.wire,
            Budget(ledger, None),
            bounds.of,
            lambda request, usage, told: bounds.bill(0, usage, told),
            bounds.parts,
        )

        async def main() -> tuple[list[str], int]:
            ends, owed = [], 0
            for each in sent:
                self.sent = [each]
                try:
                    ends.append(repr(await held.complete(ASKING)))
                except ProviderError as error:
                    ends.append(f"{error}; {error.args}; {getattr(error, 'parameter', '')}")
                if each.billed is ALL:
                    owed += await bounds.of(ASKING)
                elif isinstance(each.billed, Usage):
                    owed += cost(PRICE, each.billed)
            return ends, owed

        return self._runner.run(main())


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with asyncio.Runner() as runner:
        opened = Bench(runner)
        yield opened
        opened.close()


def no_key_in(text: str) -> None:
    # Our own digests, of which hex is made, are no spelling of it.
    assert without(re.sub(r"\b[0-9a-f]{64}\b", "", text), [KEY]) == re.sub(r"\b[0-9a-f]{64}\b", "", text)


@settings(max_examples=250, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.randoms(use_true_random=False).map(hostile), min_size=1, max_size=5))
def test_no_bill_is_above_the_books_and_no_key_is_shown(
    bench: Bench, tmp_path: Path, sent: list[Sent]
) -> None:
    path = tmp_path / "ledger.jsonl"
    path.unlink(missing_ok=True)
    with Ledger.open(path) as ledger:
        ends, owed = bench.play(ledger, sent)
        assert ledger.settled + ledger.kept >= owed
        assert ledger.held == 0
    no_key_in("\n".join([*ends, path.read_text()]))


def test_a_plain_no_frees_its_hold(bench: Bench, tmp_path: Path) -> None:
    # Else the books would hold against anything by keeping all.
    rng = random.Random(3)
    refusals = [sent for sent in (hostile(rng) for _ in range(2000)) if sent.billed is None][:200]
    with Ledger.open(tmp_path / "ledger.jsonl") as ledger:
        bench.play(ledger, refusals)
        # A message that speaks of a filter is kept, as some vendors bill those.
        assert (ledger.settled, ledger.kept) == (0, 0)


@pytest.mark.parametrize("seed", range(3))
def test_a_run_against_a_hostile_server_prints_and_writes_no_key(
    samples, tmp_path, monkeypatch, seed
) -> None:
    rng = random.Random(seed)
    owed: list[Sent] = []

    def faults(ask, attempt):
        sent = hostile(rng)
        if rng.random() < 0.4 or sent.fault.status in ENDS_A_RUN:
            return None
        owed.append(sent)
        return sent.fault

    async def at_once(breaker: Breaker, seconds: float) -> None:
        """No test waits."""

    monkeypatch.setattr(Breaker, "pause", at_once)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with LoopbackThread(LoopbackServer(ask_by_looks, faults=faults)) as server:
        options = ["--provider", "openai", "--base-url", server.url, "--model", "m", "--wire", "direct"]
        options += ["--price", "1,2", "--max-tokens", "50", "--data", samples, "--max-cost", "3"]
        options += ["--cache-dir", tmp_path / "answers", "--out", tmp_path / "run"]
        done = CliRunner().invoke(command, ["run", *map(str, options)])
    assert done.exit_code in (0, 3, 4)
    assert len(owed) > 4
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert "Traceback" not in done.output
    files = [file.read_text(errors="replace") for file in (tmp_path / "run").rglob("*") if file.is_file()]
    with Store(tmp_path / "answers") as store:
        files += [repr(entry) for entry in store.entries()]
    no_key_in("\n".join([done.output, *files]))
    booked = json.loads((tmp_path / "run" / "summary.json").read_text())["cost"]
    counted = sum(cost(PRICE, sent.billed) for sent in owed if isinstance(sent.billed, Usage))
    assert booked["settled"] + booked["held"] >= counted / 1e12
