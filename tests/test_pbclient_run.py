"""Whole runs over real HTTP: nothing paid twice, nothing lost, no failure taken for an answer.

Over the direct wire where LiteLLM is not the point: a process that imports it takes seconds.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from loopback_faults import Fault, LoopbackServer, LoopbackThread
from package_loop import ask_by_looks, by_looks, package_loop

from pbclient import Progress, RunConfig, evaluate
from pbclient.data.samples import write_samples
from runs import ConfigDiffers

BOTH_WIRES = pytest.mark.parametrize("wire", ["direct", "litellm"])
OTHER = {"direct": "litellm", "litellm": "direct"}


def config(server: LoopbackServer, data: Path, out: Path, **options) -> RunConfig:
    fixed = {
        "provider": "openai",
        "model": "glance",
        "base_url": server.url,
        "wire": "direct",
        "price": "1,2",
        "max_cost": Decimal(50),
        "data": data,
        "cache_dir": out.parent / "answers",
        "out": out,
    }
    return RunConfig(**{**fixed, **options})


def lines(out: Path) -> dict[tuple, dict]:
    read = [json.loads(line) for line in (out / "episodes.jsonl").read_text().splitlines()]
    by_identity = {(line["dataset"], line["sample"], line["repeat"]): line for line in read}
    assert len(by_identity) == len(read)
    return by_identity


def calls(server: LoopbackServer, *configs: RunConfig) -> list[int]:
    """How many calls the server saw in each of the runs, one after the other."""

    async def main() -> list[int]:
        seen = []
        async with server:
            for each in configs:
                before = server.calls
                result = await evaluate(RunConfig(**{**vars(each), "base_url": each.base_url or server.url}))
                assert result.exit_code == 0, result
                assert result.summary["calls"]["wire"] == server.calls - before
                seen.append(server.calls - before)
        return seen

    return asyncio.run(main())


BASE = {"provider": "openai", "model": "glance", "wire": "direct", "price": "1,2"}
BASE |= {"datasets": ("QD", "COCO"), "limit": 3}

HITS = {
    "another order of episodes": {"seed": 7},
    "another concurrency": {"concurrency": 1},
    "another deadline": {"timeout": 50.0},
    "another limit of money": {"max_cost": None},
    "another order of options": {"params": {"top_p": 0.5, "seed": 3}},
    "part of the data sets": {"datasets": ("COCO",)},
    "the other wire": {"wire": "litellm"},
}
MISSES = {
    "another model": {"model": "glance-2"},
    "a sampling seed": {"params": {"seed": 4, "top_p": 0.5}},
    "an option that nobody knows": {
        "params": {"seed": 3, "top_p": 0.5, "own_option": {"deep": [1]}},
        "allow_params": ("own_option",),
    },
    "another output limit": {"max_tokens": 77},
    "another temperature": {"temperature": 0.5},
}


def test_only_what_changes_the_answer_is_asked_again(samples, tmp_path):
    params = {"seed": 3, "top_p": 0.5}
    first = {**BASE, "data": samples, "params": params, "cache_dir": tmp_path / "answers", "limit": None}
    variants = {"the same again": {}, **HITS, **MISSES}
    runs = [RunConfig(**first, out=tmp_path / "first")]
    runs += [RunConfig(**{**first, **change}, out=tmp_path / name) for name, change in variants.items()]
    bought, *seen = calls(LoopbackServer(ask_by_looks), *runs)
    assert bought > 12
    again = dict(zip(variants, seen, strict=True))
    assert {name for name, count in again.items() if count == 0} == {"the same again", *HITS}


def test_another_endpoint_image_byte_or_repeat_misses_and_another_place_hits(samples, tmp_path):
    common = {**BASE, "cache_dir": tmp_path / "answers", "datasets": ("ROD",)}
    moved, touched = tmp_path / "data" / "moved", tmp_path / "data" / "touched"
    write_samples(moved)
    write_samples(touched)
    for frame in (touched).rglob("*.jpg"):
        with frame.open("ab") as file:
            file.write(b"\0")  # decoders ignore what follows the end of a JPEG
    server = LoopbackServer(ask_by_looks)

    async def main():
        async with server:
            counts = {}
            for name, change in {
                "first": {"data": samples},
                "moved": {"data": moved},
                "other byte": {"data": touched},
                "endpoint": {"data": samples, "base_url": server.url.replace("127.0.0.1", "localhost")},
                "repeats": {"data": samples, "repeat": 3},
            }.items():
                before = server.calls
                await evaluate(RunConfig(**{**common, "base_url": server.url, **change}, out=tmp_path / name))
                counts[name] = server.calls - before
            return counts

    counts = asyncio.run(main())
    bought = counts["first"]
    assert counts == {
        "first": bought,
        "moved": 0,
        "other byte": bought,
        "endpoint": bought,
        "repeats": 2 * bought,
    }


def test_equal_requests_in_flight_make_one_call(tmp_path):
    data = tmp_path / "data"
    write_samples(data)
    path = data / "QuickDraw_preprocessed.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    twins = [{**rows[0], "id": row["id"]} for row in rows[:5]]
    path.write_text("".join(json.dumps(row) + "\n" for row in twins))
    options = {**BASE, "datasets": ("QD",), "limit": None, "data": data, "cache_dir": tmp_path / "answers"}
    [bought] = calls(LoopbackServer(ask_by_looks, latency=0.05), RunConfig(**options, out=tmp_path / "run"))
    episodes = lines(tmp_path / "run")
    turns = [turn for episode in episodes.values() for turn in episode["turns"]]
    assert len(episodes) == 5
    assert bought == len({turn["key"] for turn in turns}) == len(turns) / 5
    assert sum(not turn["cached"] for turn in turns) == bought


def test_a_run_of_another_default_output_limit_is_continued_under_its_own(samples, tmp_path):
    """`gpt-4o` was given 8,192 tokens by default, and is given 1,024."""
    folders = {"cache_dir": tmp_path / "answers", "out": tmp_path / "run"}
    options = {**BASE, **folders, "model": "gpt-4o", "data": samples}
    server = LoopbackServer(ask_by_looks, keep_asks=True)

    async def main() -> None:
        async with server:
            before = RunConfig(**options, base_url=server.url, max_tokens=8192)
            again = replace(before, max_tokens=None)
            await evaluate(before)
            (tmp_path / "run" / "episodes.jsonl").write_bytes(b"")
            bought = server.calls
            assert (await evaluate(again)).exit_code == 0
            assert server.calls == bought
            with pytest.raises(ConfigDiffers, match=r"8192.*1024"):
                await evaluate(replace(before, max_tokens=1024))
            assert (await evaluate(replace(again, out=tmp_path / "new"))).exit_code == 0
            assert {each.ask.max_tokens for each in list(server.served)[bought:]} == {1024}

    asyncio.run(main())


def test_a_run_out_of_the_cache_keeps_the_seconds_of_its_answers(samples, tmp_path):
    options = {**BASE, "datasets": ("QD",), "data": samples, "cache_dir": tmp_path / "answers"}
    runs = [RunConfig(**options, out=tmp_path / name) for name in ("bought", "cached")]
    assert calls(LoopbackServer(ask_by_looks, latency=0.02), *runs)[1] == 0
    bought, cached = (
        {turn["key"]: turn["seconds"] for each in lines(run.out).values() for turn in each["turns"]}
        for run in runs
    )
    assert bought == cached
    assert min(bought.values()) >= 0.02
    assert all(turn["cached"] for each in lines(tmp_path / "cached").values() for turn in each["turns"])


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_what_one_wire_has_bought_is_a_hit_on_the_other(samples, tmp_path, monkeypatch, provider):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")
    # Of later models LiteLLM itself takes no temperature: without it the question is another one.
    place = {} if provider == "openai" else {"provider": provider, "model": "claude-haiku-4-5"}

    async def main() -> list[int]:
        seen = []
        async with LoopbackServer(ask_by_looks) as server:
            place["base_url"] = server.url if provider == "openai" else server.root
            for part, wire in (("QD", "litellm"), ("COCO", "direct"), ("QD", "direct"), ("COCO", "litellm")):
                options = {**BASE, **place, "data": samples, "datasets": (part,), "wire": wire}
                out = tmp_path / f"{part}-{wire}"
                result = await evaluate(RunConfig(**options, cache_dir=tmp_path / "answers", out=out))
                assert result.exit_code == 0, result
                seen.append(server.calls)
        return seen

    first, both, *again = asyncio.run(main())
    assert 0 < first < both
    assert again == [both, both]


def client(server: LoopbackServer, data: Path, out: Path, *more: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "pbclient", "run", "--provider", "openai", "--base-url", server.url]
    command += ["--model", "glance", "--price", "1,2", "--max-cost", "50", "--data", str(data)]
    command += ["--out", str(out), "--cache-dir", str(out.parent / "answers"), "--json"]
    command += ["--wire", "direct", *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=100)
    return process.returncode, out, err


def wait_for_calls(server: LoopbackServer, count: int) -> None:
    deadline = time.monotonic() + 60
    while server.calls < count:
        assert time.monotonic() < deadline, "the client asks nothing"
        time.sleep(0.002)


def purchases(server: LoopbackServer, after: int = 0) -> Counter[str]:
    """How often each request was answered; the wires write the same JSON, but not the same bytes."""
    asks = [served.ask for served in itertools.islice(server.served, after, None)]
    return Counter(json.dumps(ask.body, sort_keys=True) for ask in asks)


@pytest.mark.slow
@pytest.mark.parametrize("wires", [("direct", "direct"), ("litellm", "direct")], ids="-".join)
def test_two_processes_on_one_cache_never_make_the_same_call(samples, tmp_path, wires):
    with LoopbackThread(LoopbackServer(ask_by_looks, latency=0.1, keep_asks=True)) as server:
        both = []
        for number, wire in enumerate(wires):
            more = ("--concurrency", "4", "--wire", wire)
            both.append(client(server, samples, tmp_path / str(number), *more))
            wait_for_calls(server, 1)
        ends = [finished(process) for process in both]
        assert [code for code, _, _ in ends] == [0, 0], ends
        assert max(purchases(server).values()) == 1
    summaries = [json.loads(out) for _, out, _ in ends]
    assert summaries[0]["datasets"] == summaries[1]["datasets"]
    assert sum(summary["calls"]["wire"] for summary in summaries) == len(server.served)


@pytest.mark.slow
@pytest.mark.parametrize("lives", [("direct",), ("litellm", "direct")], ids="-".join)
def test_a_run_killed_again_and_again_reports_what_an_uninterrupted_one_does(tmp_path, lives):
    rng = random.Random(5)
    data = tmp_path / "data"
    write_samples(data, per_dataset=20)
    wires = itertools.chain(lives, itertools.repeat(lives[-1]))
    with LoopbackThread(LoopbackServer(ask_by_looks, latency=0.02, keep_asks=True)) as server:
        code, whole, err = finished(client(server, data, tmp_path / "whole" / "run"))
        assert code == 0, err
        distinct = server.calls
        kills = 0
        on_the_wire = 0
        goal = server.calls
        while True:
            more = ("--concurrency", "24", "--wire", next(wires))
            process = client(server, data, tmp_path / "killed" / "run", *more)
            goal += rng.randint(distinct // 5, distinct // 2)
            while process.poll() is None and server.calls < goal:
                time.sleep(0.002)
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGKILL)
            finished(process)
            kills += 1
            on_the_wire += 24
        code, again, err = finished(process)
        assert code == 0, err
        assert kills >= 1
        again_and_again = purchases(server, after=distinct)
        assert len(again_and_again) == distinct
        assert again_and_again.total() - distinct <= on_the_wire
    whole, again = json.loads(whole), json.loads(again)
    assert again["datasets"] == whole["datasets"]
    assert again["average"] == whole["average"]
    assert again["calls"] == whole["calls"]
    assert again["cost"]["settled"] == whole["cost"]["settled"]
    assert again["cost"]["saved_by_cache"] == 0.0


FAULTS = [
    Fault("rate_limit", headers={"retry-after": "0.2"}),
    Fault("rate_limit"),
    Fault("server_error"),
    Fault("unavailable"),
    Fault("overloaded"),
    Fault("reset"),
    Fault("html"),
    Fault("empty_body"),
    Fault("empty_text"),
    Fault("torn_json"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("provider", "wire"), [("openai", "direct"), ("anthropic", "litellm")])
def test_a_fifth_of_all_attempts_failing_changes_no_result(samples, tmp_path, monkeypatch, provider, wire):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")
    rng = random.Random(11)
    drips = iter([Fault("drip")])

    def faults(ask, attempt):
        if rng.random() >= 0.2:
            return None
        return next(drips, None) or rng.choice(FAULTS)

    async def main():
        async with LoopbackServer(ask_by_looks, faults=faults) as server:
            url = server.url if provider == "openai" else server.root
            options = {} if provider == "openai" else {"model": "claude-haiku-5-5"}
            options |= {"provider": provider, "base_url": url, "wire": wire, "timeout": 3.0}
            return server, await evaluate(config(server, samples, tmp_path / "run", **options))

    server, result = asyncio.run(main())
    assert result.exit_code == 0, result
    expected = package_loop(samples, by_looks)
    for (dataset, sample, _), episode in lines(tmp_path / "run").items():
        assert [turn["answer"] for turn in episode["turns"]] == expected[dataset, sample]["generated_answers"]
    failed = sum(served.fault is not None for served in server.served)
    assert failed > 5
    assert result.summary["calls"]["retries"] == failed
    assert server.calls == result.summary["calls"]["wire"] + failed


def run_once(samples, tmp_path, fault: Fault, **options):
    async def main():
        async with LoopbackServer(ask_by_looks, faults=lambda ask, attempt: fault) as server:
            each = config(server, samples, tmp_path / "run", datasets=("QD",), **options)
            return server, await evaluate(each)

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (Fault("content_filter"), "refused"),
        (Fault("refusal", text="I will not."), "refused"),
        (Fault("length"), "truncated"),
        (Fault("length", text="A. half an ans"), "truncated"),
    ],
)
def test_what_is_no_answer_is_an_outcome_of_its_own_and_not_bought_again(samples, tmp_path, fault, outcome):
    server, result = run_once(samples, tmp_path, fault)
    assert result.exit_code == 4
    assert result.outcomes == {outcome: 6}
    assert server.calls == 6
    figures = result.summary["datasets"]["QD"]
    assert (figures["acc"], figures["acc_bounds"]) == (None, [0.0, 100.0])
    episodes = lines(tmp_path / "run").values()
    assert all(episode["turns"][-1]["action"] is None for episode in episodes)
    if outcome == "truncated":
        assert all("--max-tokens" in episode["error"] for episode in episodes)


@pytest.mark.parametrize("kind", ["authentication", "permission", "model_not_found", "insufficient_quota"])
def test_an_account_that_cannot_answer_is_asked_once(samples, tmp_path, kind):
    server, result = run_once(samples, tmp_path, Fault(kind))
    assert server.calls == 1
    assert result.exit_code == 2
    assert result.unusable
    assert result.summary["cost"]["settled"] == 0
    assert result.summary["cost"]["held"] == 0


def test_bad_requests_fail_their_episode_alone_and_are_owed(samples, tmp_path):
    server, result = run_once(samples, tmp_path, Fault("bad_request"))
    assert server.calls == 6
    assert result.outcomes == {"failed": 6}

    async def again():
        async with LoopbackServer(ask_by_looks) as server:
            return await evaluate(config(server, samples, tmp_path / "run", datasets=("QD",)))

    with pytest.raises(ConfigDiffers, match="endpoint"):
        asyncio.run(again())  # another port is another endpoint: another run


@BOTH_WIRES
def test_a_rejected_option_is_dropped_said_and_recorded(samples, tmp_path, wire):
    said: list[str] = []

    def faults(ask, attempt):
        return Fault("unsupported_parameter", parameter="temperature") if "temperature" in ask.body else None

    async def main():
        from pbclient import Progress

        async with LoopbackServer(ask_by_looks, faults=faults) as server:
            results = []
            for name, over in (("one", wire), ("two", OTHER[wire])):
                each = config(server, samples, tmp_path / name, datasets=("QD",), wire=over)
                before = server.calls
                await evaluate(each, progress=Progress(say=said.append))
                results.append(server.calls - before)
            return results

    _first, second = asyncio.run(main())
    assert second == 0
    for name in ("one", "two"):
        manifest = json.loads((tmp_path / name / "run.json").read_text())
        assert manifest["dropped"] == {"temperature": None}
    assert any("temperature" in sentence and "dropped" in sentence for sentence in said)
    assert all(episode["outcome"] == "resolved" for episode in lines(tmp_path / "one").values())


def test_a_noted_option_is_said_in_each_run_and_forgotten_with_the_model(samples, tmp_path):
    from click.testing import CliRunner

    from pbclient.cli.app import main as command

    def picky(ask, attempt):
        return Fault("unsupported_parameter") if "temperature" in ask.body else None

    def odd(ask, attempt):
        return (
            Fault("bad_request", message="Unexpected trouble with temperature=0.0") if attempt == 1 else None
        )

    said: dict[str, list[str]] = {}

    async def play(server: LoopbackServer, name: str) -> None:
        each = config(server, samples, tmp_path / name, datasets=("QD",), limit=1)
        await evaluate(each, progress=Progress(say=said.setdefault(name, []).append))

    async def main() -> None:
        async with LoopbackServer(ask_by_looks, faults=picky) as server:
            await play(server, "first")
            await play(server, "second")
            clear = ["cache", "clear", "--yes", "--cache-dir", str(tmp_path / "answers"), "--model", "glance"]
            assert CliRunner().invoke(command, clear).exit_code == 0
            await play(server, "third")
        # An odd refusal that only mentions an option drops nothing.
        async with LoopbackServer(ask_by_looks, faults=odd, keep_asks=True) as server:
            await play(server, "odd")
            assert all("temperature" in served.ask.body for served in server.served)

    asyncio.run(main())
    assert any("is dropped from now on" in each for each in said["first"])
    assert any("has rejected the option temperature before" in each for each in said["second"])
    assert any("is dropped from now on" in each for each in said["third"])
    assert not any("reject" in each for each in said["odd"])


def test_offline_answers_from_the_cache_or_says_what_differs(samples, tmp_path, monkeypatch):
    async def main():
        async with LoopbackServer(ask_by_looks) as server:
            online = config(server, samples, tmp_path / "online", datasets=("QD",), limit=3)
            await evaluate(online)
            url = server.url
        offline = {**vars(online), "offline": True, "base_url": url}
        whole = await evaluate(RunConfig(**{**offline, "out": tmp_path / "offline"}))
        colder = await evaluate(RunConfig(**{**offline, "temperature": 1.0, "out": tmp_path / "other"}))
        return whole, colder

    whole, colder = asyncio.run(main())
    assert whole.exit_code == 0
    assert whole.summary["calls"]["wire"] == 0
    assert whole.summary["calls"]["hits"] > 0
    assert whole.summary["cost"]["settled"] == 0
    assert colder.exit_code == 4
    errors = [episode["error"] for episode in lines(tmp_path / "other").values()]
    assert any("params.temperature" in error for error in errors)


@pytest.mark.slow
@BOTH_WIRES
def test_ctrl_c_finishes_what_is_on_the_wire_and_the_same_command_continues(samples, tmp_path, wire):
    with LoopbackThread(LoopbackServer(ask_by_looks, latency=0.15, keep_asks=True)) as server:
        process = client(server, samples, tmp_path / "run", "--concurrency", "4", "--wire", wire)
        wait_for_calls(server, 9)
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)  # as `uv run` passes it on
        code, out, err = finished(process)
        assert code == 130, err
        assert f"--out {tmp_path / 'run'}" in err
        assert "Traceback" not in err
        partial = json.loads(out)
        assert partial["calls"]["wire"] == server.calls  # what was on the wire was stored and settled
        assert partial["cost"]["held"] == 0
        code, out, err = finished(client(server, samples, tmp_path / "run", "--concurrency", "4"))
        assert code == 0, err
        assert max(purchases(server).values()) == 1
        assert json.loads(out)["calls"]["wire"] == server.calls


@pytest.mark.slow
def test_ctrl_c_twice_stops_at_once_and_keeps_the_holds(samples, tmp_path):
    with LoopbackThread(LoopbackServer(ask_by_looks, faults=lambda ask, n: Fault("hang"))) as server:
        process = client(server, samples, tmp_path / "run")
        wait_for_calls(server, 1)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None
        while process.poll() is None:  # a busy machine may take the second for an echo of the first
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)
        code, out, err = finished(process)
        assert (code, "Traceback" in err) == (130, False), err
        assert json.loads(out)["cost"]["held"] > 0


def test_a_planted_pickle_in_the_cache_is_refused_and_asked_again(samples, tmp_path):
    import pickle
    import sqlite3

    canary = tmp_path / "executed"

    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(canary),))

    async def main():
        async with LoopbackServer(ask_by_looks) as server:
            each = config(server, samples, tmp_path / "one", datasets=("QD",), limit=2)
            await evaluate(each)
            bought = server.calls
            with sqlite3.connect(tmp_path / "answers" / "cache.db") as db:
                db.execute("UPDATE Cache SET mode = 4, value = ?", (pickle.dumps(Bomb()),))
            db.close()
            said = []
            from pbclient import Progress

            second = await evaluate(
                RunConfig(**{**vars(each), "out": tmp_path / "two"}), progress=Progress(say=said.append)
            )
            return bought, server.calls, second, said

    bought, total, second, said = asyncio.run(main())
    assert second.exit_code == 0
    assert total == 2 * bought
    assert not canary.exists()
    assert any("corrupt" in sentence for sentence in said)


@BOTH_WIRES
def test_no_thread_outlives_a_run(samples, tmp_path, wire):
    before = set(threading.enumerate())
    options = {**BASE, "wire": wire, "data": samples, "out": tmp_path / "run", "no_cache": True}
    calls(LoopbackServer(ask_by_looks), RunConfig(**options))
    left = {thread.name for thread in threading.enumerate() if thread not in before}
    # LiteLLM has pools of its own, which grow as they like.
    assert not [name for name in left if not name.startswith(("ThreadPoolExecutor-", "litellm-"))]
    assert (tmp_path / "run" / "answers").is_dir()


def test_a_run_of_repeats_plans_them_all_and_plays_each_once(samples, tmp_path):
    asked = RunConfig(provider="baseline", model="oracle", data=samples, repeat=2, out=tmp_path / "run")
    first = asyncio.run(evaluate(asked))
    episodes = (asked.out / "episodes.jsonl").read_bytes()
    manifest = json.loads((asked.out / "run.json").read_text())
    assert sum(manifest["planned"].values()) == first.planned == len(episodes.splitlines())
    assert asyncio.run(evaluate(asked)).exit_code == 0
    assert (asked.out / "episodes.jsonl").read_bytes() == episodes
