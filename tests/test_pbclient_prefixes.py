"""Repeated prefixes at Anthropic: marked where later turns repeat them, bought for less, within the hold."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from hashlib import sha256

import pytest
from loopback_faults import Ask, LoopbackServer

from pbclient import RunConfig, evaluate
from pbclient.calls.key import KeyWriter
from providers import Message, Request
from providers.types import Usage

MODEL = "claude-haiku-4-5"
PICTURE = 1300  # tokens
SHORTEST = 1024  # tokens of a prompt that is kept
BACK = 20  # blocks before a mark that are looked at


def blocks(ask: Ask) -> list[tuple[str, int, bool]]:
    """Each content block: what it is without its mark, its tokens, whether it is marked."""
    found = []
    for message in ask.body["messages"]:
        for block in message["content"]:
            bare = {name: value for name, value in block.items() if name != "cache_control"}
            tokens = PICTURE if block["type"] == "image" else len(block["text"]) // 4 + 1
            spelled = json.dumps([message["role"], bare], sort_keys=True)
            found.append((spelled, tokens, "cache_control" in block))
    return found


class Bill:
    """Counts as Anthropic does: what was kept at a mark is read, the rest until the last mark written."""

    def __init__(self) -> None:
        self.kept: set[str] = set()
        self.asks: list[list[tuple[str, int, bool]]] = []

    def __call__(self, ask: Ask, text: str) -> Usage:
        asked = blocks(ask)
        self.asks.append(asked)
        ends, read, written = [], 0, 0
        so_far, tokens, prefixes = sha256(), 0, []
        for spelled, size, marked in asked:
            so_far.update(spelled.encode())
            tokens += size
            prefixes.append((so_far.hexdigest(), tokens))
            if marked and tokens >= SHORTEST:
                ends.append(len(prefixes))
        for end in ends:
            hits = [size for digest, size in prefixes[max(0, end - BACK) : end] if digest in self.kept]
            read = max([read, *hits])
        if ends:
            written = max(0, prefixes[ends[-1] - 1][1] - read)
            self.kept |= {prefixes[end - 1][0] for end in ends}
        return Usage(tokens, 2, cached_input_tokens=read, cache_write_tokens=written)


def always_ask(ask: Ask) -> str:
    """The first suggestion on the screen, or else what ends the episode."""
    options = [line[3:] for line in ask.question.splitlines() if line[1:3] == ". "]
    return options[1] if len(options) > 1 else "A"


def play(samples, out, *, wire="direct", policy=always_ask, **conditions):
    async def main():
        bill = Bill()
        async with LoopbackServer(policy, usage=bill) as server:
            config = RunConfig(
                provider="anthropic",
                model=MODEL,
                base_url=server.root,
                wire=wire,
                data=samples,
                cache_dir=out / "answers",
                out=out / "run",
                max_cost=Decimal(5),
                **conditions,
            )
            result = await evaluate(config)
            return result, bill

    return asyncio.run(main())


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")


def turns(out):
    lines = (out / "run" / "episodes.jsonl").read_text().splitlines()
    return [turn for line in lines for turn in json.loads(line)["turns"]]


@pytest.mark.parametrize("wire", ["direct", "litellm"])
def test_what_a_later_turn_repeats_is_marked_and_costs_less(samples, tmp_path, wire):
    result, bill = play(samples, tmp_path, wire=wire, datasets=("ROD", "QD"), history=True)
    assert result.exit_code == 0
    assert any(len(asked) > 6 for asked in bill.asks)
    for asked in bill.asks:
        marked = [number for number, (_, _, mark) in enumerate(asked) if mark]
        # After the last answer: the new question of two blocks stands behind it.
        assert marked == ([len(asked) - 3] if len(asked) > 2 else [])
    cost = result.summary["cost"]
    assert cost["settled"] + cost["held"] <= 5
    assert cost["saved_by_prefix"] == pytest.approx(
        sum(turn.get("saved_by_prefix", 0) for turn in turns(tmp_path))
    )
    usages = [turn["usage"] for turn in turns(tmp_path)]
    assert any(usage["cached_input_tokens"] for usage in usages)


def test_the_end_of_the_examples_is_marked_too(samples, tmp_path):
    first, bill = play(samples, tmp_path, datasets=("ROD",), shots=1, history=True)
    assert first.exit_code == 0
    marks = {sum(mark for _, _, mark in asked) for asked in bill.asks}
    assert marks == {1, 2}  # at the first turn the examples' end; later the last answer's too


def test_a_stated_price_says_nothing_of_prefixes_so_none_is_marked(samples, tmp_path):
    result, bill = play(samples, tmp_path, datasets=("ROD",), history=True, price="1,5")
    assert {mark for asked in bill.asks for _, _, mark in asked} == {False}
    assert "saved_by_prefix" not in result.summary["cost"]


def test_a_mark_is_no_part_of_a_key():
    write = KeyWriter({"provider": "anthropic", "model": MODEL})
    plain, marked = (
        Request((Message("user", ("q",)), Message("assistant", ("a",), mark)), {"max_tokens": 8})
        for mark in (False, True)
    )
    assert write(plain) == write(marked)


def test_a_single_question_carries_no_mark(samples, tmp_path):
    _, bill = play(samples, tmp_path, datasets=("ROD",))
    assert {mark for asked in bill.asks for _, _, mark in asked} == {False}
