"""What judging will cost, held against what runs over real HTTP then cost."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest
from loopback_faults import LoopbackServer

from pbclient import RunConfig, estimate, evaluate
from providers import Usage

NOTHING = {"least": 0, "expected": 0, "most": 0, "likely": 0}


def config(out: Path, data: Path, **options) -> RunConfig:
    fixed = {
        "provider": "openai",
        "model": "glance",
        "base_url": "http://127.0.0.1:1/v1",
        "price": "1,2",
        "mode": "oeg",
        "judge_provider": "openai",
        "judge_model": "judge",
        "judge_base_url": "http://127.0.0.1:1/v1",
        "judge_price": "30,40",
        "judge_max_tokens": 60,
        "max_cost": Decimal(50),
        "max_tokens": 40,
        "data": data,
        "cache_dir": out.parent / "answers",
        "out": out,
    }
    return RunConfig(**{**fixed, **options})


def changed(config: RunConfig, **options) -> RunConfig:
    return RunConfig(**{**vars(config), **options})


def unjudged(config: RunConfig) -> RunConfig:
    fields = {name: value for name, value in vars(config).items() if not name.startswith("judge")}
    return RunConfig(**fields, judge="none")


def look(config: RunConfig) -> dict:
    return estimate(config, config.out.parent / "no-results").to_json()


def policy(verdicts: list[str]):
    """A model that says much, and a judge that says these in turn."""
    said = iter(verdicts * 10_000)
    return lambda ask: (
        next(said) if ask.model == "judge" else f"Move the camera, {ask.question} {'so ' * 900}"
    )


def at_the_bound(ask, text: str) -> Usage:
    return Usage(len(ask.text.encode()) + 500 * len(ask.images), ask.max_tokens)


def play(asked: RunConfig, verdicts: list[str]):
    """The estimate, the run and the estimate after it."""

    async def run():
        async with LoopbackServer(policy(verdicts), usage=at_the_bound) as server:
            there = changed(asked, base_url=server.url, judge_base_url=server.url)
            before = look(there)
            assert server.calls == 0
            result = await evaluate(there)
            return before, result, look(changed(there, out=asked.out.parent / "again"))

    return asyncio.run(run())


def within(figures: dict, summary: dict) -> None:
    for name, value in (("calls", summary["calls"]["wire"]), ("cost", summary["cost"]["settled"])):
        assert figures[name]["least"] <= value <= figures[name]["most"]
        assert figures[name]["least"] <= figures[name]["expected"] <= figures[name]["most"]


@pytest.mark.parametrize("options", [{}, {"hint": True, "repeat": 2, "limit": 2}, {"judge_price": "0,0"}])
@pytest.mark.parametrize("verdicts", [["1,1,1,1,1", "0,0"], ["I cannot say."]])
def test_a_run_costs_no_more_than_the_most(samples, tmp_path, options, verdicts):
    asked = config(tmp_path / "run", samples, **options)
    before, result, after = play(asked, verdicts)
    within(before["total"], result.summary)
    episodes = before["total"]["episodes"]
    # An answer, and two draws of the judge at most.
    calls = before["total"]["calls"]
    assert (calls["least"], calls["most"]) == (episodes, 3 * episodes)
    # Whatever became of it, no verdict is left to buy: two draws are all there are.
    assert (after["total"]["calls"], after["total"]["cost"]) == (NOTHING, NOTHING)
    assert after["total"]["stored"] == episodes


def test_recorded_answers_leave_the_judge_to_be_paid(samples, tmp_path):
    """Each is bounded by what it says, and not by what it might have said."""
    recorded = unjudged(config(tmp_path / "run", samples, limit=2))

    async def run():
        async with LoopbackServer(policy(["1"]), usage=at_the_bound) as server:
            alone = look(recorded)
            await evaluate(changed(recorded, base_url=server.url))
            judged = config(tmp_path / "judged", samples, limit=2, base_url=server.url)
            found = look(judged), look(changed(judged, cache_dir=tmp_path / "empty"))
            return alone, *found, await evaluate(changed(judged, judge_base_url=server.url))

    alone, judged, cold, result = asyncio.run(run())
    episodes = cold["total"]["episodes"]
    assert alone["total"]["calls"]["most"] == episodes
    # Equal answers to equal questions are judged once.
    assert judged["total"]["calls"]["most"] == 2 * judged["total"]["calls"]["least"] < 2 * episodes
    within(judged["total"], result.summary)
    assert 0 < judged["total"]["cost"]["most"] < cold["total"]["cost"]["most"]
    assert judged["total"]["stored"] == 0
    [said] = [line for line in judged["assumptions"] if line.startswith("Judge: openai/judge")]
    assert "$30 in and $40 out" in said
    assert not any(line.startswith("Turns an episode") for line in judged["assumptions"])


def test_equal_answers_are_judged_once(samples, tmp_path):
    """Repeats of one answer put one question to the judge."""

    async def run():
        async with LoopbackServer(lambda ask: "No idea.", usage=at_the_bound) as server:
            asked = config(
                tmp_path / "run", samples, datasets=("QD",), limit=1, repeat=3, base_url=server.url
            )
            await evaluate(unjudged(asked))
            return look(changed(asked, out=tmp_path / "judged"))

    assert asyncio.run(run())["total"]["calls"] == {"least": 1, "expected": 1, "most": 2, "likely": 1}
