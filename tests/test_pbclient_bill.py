"""The bound as an outsider would check it: the server's own bill against --max-cost, over both wires."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from base64 import b64encode
from decimal import Decimal

import pytest
from loopback_faults import Fault, LoopbackServer, LoopbackThread, full_usage
from package_loop import ask_by_looks
from test_pbclient_run import BOTH_WIRES, client, config, finished, lines

from cache import Store
from pbclient import Progress, RunConfig, evaluate
from pbclient.data.samples import write_samples
from pbclient.errors import InputError
from providers.replies.error_text import without
from runs import RunBroken, RunBusy

KEY = "sk-Zq8kXv0pL42mN7"
PRICE_IN, PRICE_OUT = 1e-6, 20e-6
OPTIONS = {"price": "1,20", "max_tokens": 500, "image_tokens": 100}
FAULTS = [
    Fault(kind)
    for kind in (
        "rate_limit",
        "server_error",
        "unavailable",
        "overloaded",
        "reset",
        "html",
        "empty_body",
        "torn_json",
    )
]


def bill(ask, usage) -> float:
    return usage.input_tokens * PRICE_IN + usage.output_tokens * PRICE_OUT


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("money")
    write_samples(folder, per_dataset=30)
    return folder


def bank(**options) -> LoopbackServer:
    return LoopbackServer(ask_by_looks, usage=full_usage, cost=bill, latency=0.02, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("share", "faulty", "wire"),
    [
        *((share, faulty, "direct") for share in (0.004, 0.05, 0.3, 0.7, 2.0) for faulty in (False, True)),
        *((share, faulty, "litellm") for share, faulty in ((0.05, False), (0.3, True))),
    ],
)
def test_the_servers_bill_stays_within_the_limit_and_the_limit_is_used(data, tmp_path, share, faulty, wire):
    rng = random.Random(3)

    def faults(ask, attempt):
        return rng.choice(FAULTS) if faulty and rng.random() < 0.2 else None

    whole = 2.6  # dollars: what all of it costs
    limit = Decimal(str(round(whole * share, 4)))

    async def main():
        async with bank(faults=faults) as server:
            options = {**OPTIONS, "max_cost": limit, "concurrency": 256, "wire": wire}
            return server, await evaluate(config(server, data, tmp_path / "run", **options))

    server, result = asyncio.run(main())
    cost = result.summary["cost"]
    assert server.total_cost <= limit
    assert cost["settled"] + cost["held"] <= limit
    assert server.total_cost <= cost["settled"] + cost["held"] + 1e-9
    if share > 1 and not faulty:
        assert result.exit_code == 0
        assert cost["settled"] == pytest.approx(server.total_cost)
    elif result.exit_code == 3:
        one_call = 0.0115
        assert cost["settled"] + cost["held"] >= float(limit) - one_call
        assert server.total_cost >= float(limit) * (0.85 if faulty else 0.95) - one_call
        assert result.outcomes["budget"] > 0


@pytest.mark.slow
def test_over_many_killed_lives_the_bill_stays_within_the_limit_and_raising_it_goes_on(data, tmp_path):
    rng = random.Random(8)
    extra = ["--price", "1,20", "--max-tokens", "500", "--image-tokens", "100"]
    with LoopbackThread(bank()) as server:
        goal = 0
        for _ in range(2):
            process = client(server, data, tmp_path / "run", *extra, "--max-cost", "1.2")
            goal = max(goal, server.calls) + rng.randint(2, 30)
            while process.poll() is None and server.calls < goal:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            finished(process)
        code, out, err = finished(client(server, data, tmp_path / "run", *extra, "--max-cost", "1.2"))
        assert code == 3, err
        assert server.total_cost <= 1.2
        stopped = json.loads(out)
        code, out, err = finished(client(server, data, tmp_path / "run", *extra, "--max-cost", "9"))
        assert code == 0, err
        assert json.loads(out)["cost"]["settled"] > stopped["cost"]["settled"]


@BOTH_WIRES
def test_no_servers_word_makes_a_bill_smaller(data, tmp_path, wire):
    async def main(name: str, told: float) -> tuple[float, float]:
        server = LoopbackServer(
            ask_by_looks, usage=full_usage, cost=lambda ask, usage: bill(ask, usage) * told, tells_cost=True
        )
        async with server:
            options = {**OPTIONS, "wire": wire, "datasets": ("QD",), "limit": 2, "no_cache": True}
            result = await evaluate(config(server, data, tmp_path / name, **options, cache_dir=None))
            return result.summary["cost"]["settled"], sum(
                bill(each.ask, each.usage) for each in server.served
            )

    for name, told in (("less", 0.01), ("nothing", 0.0), ("more", 1.5)):
        settled, by_tokens = asyncio.run(main(name, told))
        assert settled == pytest.approx(by_tokens * max(1, told))


def test_that_litellm_is_loaded_is_said(data, tmp_path, monkeypatch):
    from providers.hosted.wire import Hosted

    progress, seen = Progress(), set()
    load = Hosted.load

    def watched(hosted):
        seen.update(activity.state for activity in progress.active.values())
        load(hosted)

    monkeypatch.setattr(Hosted, "load", watched)

    async def main():
        async with bank() as server:
            options = {**OPTIONS, "datasets": ("QD",), "limit": 1, "wire": "litellm"}
            return await evaluate(config(server, data, tmp_path / "run", **options), progress=progress)

    assert asyncio.run(main()).exit_code == 0
    assert "LiteLLM to load" in seen


ECHOES = [
    KEY.upper(),
    " ".join(KEY),
    "".join(f"%{ord(char):02X}" for char in KEY),
    b64encode(f"user:{KEY}".encode()).decode(),
    KEY.encode().hex(),
]


@BOTH_WIRES
@pytest.mark.parametrize("place", ["error", "ending", "answer", "redirect"])
def test_a_key_that_is_echoed_stands_in_no_output_and_no_file(samples, tmp_path, monkeypatch, wire, place):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    said: list[str] = []

    def faults(ask, attempt):
        if attempt > 1:
            return None
        echo = ECHOES[server.calls % len(ECHOES)]
        message = {"role": "assistant", "content": echo if place == "answer" else "A"}
        choice = {"message": message, "finish_reason": echo if place == "ending" else "stop"}
        usage = {"prompt_tokens": 5, "completion_tokens": 5}
        bodies = {
            "error": {"error": {"message": f"no such key: {echo}", "code": echo}},
            "redirect": {},
        }
        body = bodies.get(place, {"model": echo, "choices": [choice], "usage": usage})
        status = {"error": 400, "redirect": 307}.get(place, 200)
        return Fault(
            "body", text=json.dumps(body), status=status, headers={"location": f"/?{echo}", "x": echo}
        )

    server = LoopbackServer(ask_by_looks, faults=faults)

    async def main():
        async with server:
            options = {**OPTIONS, "wire": wire, "datasets": ("QD", "CIT"), "limit": 3}
            each = config(server, samples, tmp_path / "run", **options, max_cost=Decimal(1))
            return await evaluate(each, progress=Progress(say=said.append))

    result = asyncio.run(main())
    files = [file.read_text(errors="replace") for file in (tmp_path / "run").rglob("*") if file.is_file()]
    with Store(tmp_path / "answers") as store:
        stored = [repr(entry) for entry in store.entries()]
    assert server.calls >= (1 if place == "redirect" else len(ECHOES))
    for text in (str(result), *said, *files, *stored):
        # Our own digests are hex: one of them holds a key by chance once in 16**32.
        assert without(text, [KEY]) == text


def test_an_option_on_the_users_own_word_is_recorded_wherever_the_limit_is(data, tmp_path):
    said: list[str] = []

    async def main():
        async with bank() as server:
            options = {**OPTIONS, "params": {"web_search": True}, "allow_params": ("web_search",)}
            each = config(server, data, tmp_path / "run", datasets=("QD",), limit=2, **options)
            return await evaluate(each, progress=Progress(say=said.append))

    cost = asyncio.run(main()).summary["cost"]
    assert cost["limit_may_not_hold"] == ["web_search"]
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    assert manifest["settings"]["unpriced_params"] == ["web_search"]
    assert any("what web_search costs is not known: the limit may not hold" in each for each in said)


def test_a_second_process_on_one_run_folder_is_refused(data, tmp_path):
    async def main():
        async with bank() as server:
            each = config(server, data, tmp_path / "run", datasets=("QD",), limit=2, **OPTIONS)
            first = asyncio.create_task(evaluate(each))
            while not (tmp_path / "run" / "run.json").exists():
                await asyncio.sleep(0)
            with pytest.raises(RunBusy, match="run"):
                await evaluate(each)
            return await first

    assert asyncio.run(main()).exit_code == 0


def test_a_hit_costs_nothing_and_says_what_it_saved(data, tmp_path):
    async def main():
        async with bank() as server:
            each = config(server, data, tmp_path / "one", datasets=("QD",), **OPTIONS)
            first = await evaluate(each)
            penniless = RunConfig(**{**vars(each), "out": tmp_path / "two", "max_cost": Decimal(0)})
            return first, await evaluate(penniless)

    first, second = asyncio.run(main())
    assert second.exit_code == 0
    assert second.summary["cost"]["settled"] == 0
    assert second.summary["cost"]["saved_by_cache"] == pytest.approx(first.summary["cost"]["settled"])


@BOTH_WIRES
def test_quota_stops_new_calls_after_one_and_keeps_what_was_paid(data, tmp_path, wire):
    async def main():
        async with bank(
            faults=lambda ask, n: Fault("insufficient_quota") if server.calls == 20 else None
        ) as server:
            each = config(server, data, tmp_path / "run", concurrency=1, wire=wire, **OPTIONS)
            return server, await evaluate(each)

    server, result = asyncio.run(main())
    assert server.calls == 20
    assert result.exit_code == 4
    assert result.summary["calls"]["wire"] == 19
    assert result.summary["cost"]["settled"] == pytest.approx(server.total_cost)


@BOTH_WIRES
def test_ambiguous_ends_keep_their_hold_until_the_user_releases_it(data, tmp_path, wire):
    async def main():
        async with bank(faults=lambda ask, attempt: Fault("reset") if attempt == 1 else None) as server:
            options = {**OPTIONS, "datasets": ("ROD",), "limit": 2, "wire": wire}
            each = config(server, data, tmp_path / "run", **options)
            first = await evaluate(each)
            released = await evaluate(RunConfig(**{**vars(each), "release_holds": True}))
            return server, first, released

    server, first, released = asyncio.run(main())
    assert first.summary["cost"]["held"] > 0
    assert first.summary["cost"]["settled"] + first.summary["cost"]["held"] >= server.total_cost
    assert released.summary["cost"]["held"] == 0
    assert released.summary["cost"]["settled"] == first.summary["cost"]["settled"]


def test_a_bill_above_its_bound_is_said_loudly(data, tmp_path):
    said: list[str] = []

    def heavy(ask, text):
        from providers import Usage

        return Usage(input_tokens=50_000, output_tokens=10)

    async def main():
        async with LoopbackServer(ask_by_looks, usage=heavy) as server:
            each = config(server, data, tmp_path / "run", datasets=("QD",), limit=3, **OPTIONS)
            return await evaluate(each, progress=Progress(say=said.append))

    assert asyncio.run(main()).exit_code == 0
    assert any(sentence.startswith("WARNING") for sentence in said)


def test_budget_stops_are_counted_and_owed(data, tmp_path):
    async def main():
        async with bank() as server:
            each = config(server, data, tmp_path / "run", max_cost=Decimal("0.1"), **OPTIONS)
            stopped = await evaluate(each)
            more = await evaluate(RunConfig(**{**vars(each), "max_cost": None}))
            return server, stopped, more

    server, stopped, more = asyncio.run(main())
    assert stopped.exit_code == 3
    assert sum(stopped.outcomes.values()) == 210
    assert more.exit_code == 0
    assert len({served.key for served in server.served}) == server.calls  # nothing was bought twice
    assert len(lines(tmp_path / "run")) == 210


@pytest.mark.parametrize("harm", ["empty", "half", "foreign", "no episodes either"])
def test_a_ledger_that_has_lost_bills_lets_nothing_be_bought(data, tmp_path, harm):
    def play(server, name, **more):
        options = {**OPTIONS, "concurrency": 1, "wire": "direct", "limit": 2, **more}
        return evaluate(config(server, data, tmp_path / name, **options))

    async def main():
        async with bank() as server:
            await play(server, "other", max_cost=Decimal("0.05"), seed=5)
            await play(server, "run", max_cost=Decimal("0.05"))
            ledger, before = tmp_path / "run" / "ledger.jsonl", server.calls
            if harm == "half":
                lines = ledger.read_bytes().splitlines(keepends=True)
                ledger.write_bytes(b"".join(lines[: len(lines) // 2]))
            else:
                foreign = (tmp_path / "other" / "ledger.jsonl").read_bytes()
                ledger.write_bytes(foreign if harm == "foreign" else b"")
            if harm == "no episodes either":
                (tmp_path / "run" / "episodes.jsonl").write_bytes(b"")
            with pytest.raises((InputError, RunBroken), match=r"ledger\.jsonl does not hold the bill of"):
                await play(server, "run", max_cost=Decimal("0.05"))
            assert server.calls == before

    asyncio.run(main())
