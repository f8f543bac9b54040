"""What is estimated, held against what runs over real HTTP then cost."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import shutil
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner
from loopback_faults import LoopbackServer, full_usage, rough_usage
from package_loop import by_conversation, heard
from PIL import Image

from pbclient import RunConfig, evaluate
from pbclient.benchmark.package import multiple_choice
from pbclient.cli.app import main
from pbclient.episodes.episode import Episode
from pbclient.episodes.players import baselines
from pbclient.forecast.costs import Range
from pbclient.forecast.estimate import Estimate, Figures, Reach, estimate
from pbclient.images.pictures import Pictures
from pbclient.money.books import Books
from pbclient.report.tables import of_estimate
from pbclient.report.terminal import plain
from pbclient.scheduler.plan import prepare
from providers import Response, Usage
from providers.catalog.tokens import image_bound
from runs import ConfigDiffers

NOTHING = {"least": 0, "expected": 0, "most": 0, "likely": 0}
POLICIES = ("always-ask", "always-abstain", "oracle")


def config(out: Path, data: Path, **options) -> RunConfig:
    """As the estimate sees it; the server's address is put in by `play`."""
    fixed = {
        "provider": "openai",
        "model": "glance",
        "base_url": "http://127.0.0.1:1/v1",
        "price": "1,2",
        "max_cost": Decimal(50),
        "max_tokens": 100,
        "data": data,
        "limit": 2,
        "cache_dir": out.parent / "answers",
        "out": out,
    }
    return RunConfig(**{**fixed, **options})


def changed(config: RunConfig, **options) -> RunConfig:
    return RunConfig(**{**vars(config), **options})


class Scripted:
    """Plays a baseline and writes down what it answers to which question about which picture."""

    def __init__(self, policy, pictures: Pictures) -> None:
        self.policy = policy
        self.pictures = pictures
        self.script: dict[tuple[str, str], str] = {}

    async def answer(self, view) -> Response:
        picture = await self.pictures.open(view.state["image_path"], view.state["transform"])
        data = (await picture.encode()).data
        question = multiple_choice(view.state["prompt"], view.state["options"])
        answer = self.policy(view)
        self.script[question, hashlib.sha256(data).hexdigest()] = answer
        return Response(answer, "stop")


@pytest.fixture(scope="module")
def scripts(samples) -> dict[str, dict[tuple[str, str], str]]:
    """What each baseline would say, for a server that sees questions and pictures only."""

    async def write(plan, name):
        with Pictures(plan.data.frames) as pictures:
            player = Scripted(baselines(0)[name], pictures)
            for sample, repeat in plan.order:
                await Episode(sample, repeat, plan.rules, player, Books()).play(plan.data.row(sample))
            return player.script

    with prepare(config(Path("unused"), samples, limit=4), print) as plan:
        return {name: asyncio.run(write(plan, name)) for name in POLICIES}


def answering(script):
    def policy(ask) -> str:
        ((_, data),) = ask.images
        return script[ask.question, hashlib.sha256(data).hexdigest()]

    return policy


def play(config: RunConfig, script, usage=rough_usage, **server) -> tuple[RunConfig, dict, list[dict]]:
    """The configuration as played, its summary and its episodes."""

    async def run():
        async with LoopbackServer(answering(script), usage=usage, **server) as loopback:
            # The key holds the address: later runs and estimates must name the same.
            played = config if config.offline else changed(config, base_url=loopback.url)
            return played, await evaluate(played)

    played, result = asyncio.run(run())
    assert result.exit_code == 0, result
    episodes = [json.loads(line) for line in (config.out / "episodes.jsonl").read_text().splitlines()]
    return played, result.summary, episodes


def brackets(figures: dict, calls: int, cost: float) -> bool:
    within = [
        figures[name]["least"] <= value <= figures[name]["most"]
        for name, value in (("calls", calls), ("cost", cost))
    ]
    ordered = [
        figures[name]["least"] <= figures[name]["expected"] <= figures[name]["most"]
        for name in ("calls", "cost")
    ]
    return all(within + ordered)


def bought(episodes: list[dict]) -> tuple[Counter[str], Counter[str]]:
    """Calls and dollars by data set."""
    calls, cost = Counter(), Counter()
    for episode in episodes:
        for turn in episode["turns"]:
            calls[episode["dataset"]] += not turn["cached"]
            cost[episode["dataset"]] += turn["cost"]
    return calls, cost


def look(config: RunConfig, results: Path | None = None) -> dict:
    return estimate(config, results or config.out.parent / "no-results").to_json()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("usage", [rough_usage, full_usage])
def test_a_run_costs_no_less_than_the_least_and_no_more_than_the_most(
    samples, scripts, tmp_path, policy, usage
):
    asked = config(tmp_path / "run", samples)
    cold = look(asked)
    assert not (tmp_path / "run").exists()
    assert not asked.cache_dir.exists()
    played, summary, episodes = play(asked, scripts[policy], usage)
    assert brackets(cold["total"], summary["calls"]["wire"], summary["cost"]["settled"])
    calls, cost = bought(episodes)
    for name, figures in cold["datasets"].items():
        assert brackets(figures, calls[name], cost[name]), name
    if policy == "always-ask":
        # A film that is rewound shows the same frame again, which costs nothing.
        assert summary["calls"]["wire"] + summary["calls"]["hits"] == cold["total"]["calls"]["most"]
    if policy == "always-abstain":
        assert summary["calls"]["wire"] == cold["total"]["calls"]["least"]

    # The same again, and from the same cache into another folder: there is nothing left to buy.
    for warm in (played, changed(played, out=tmp_path / "other")):
        found = look(warm)
        for figures in (found["total"], *found["datasets"].values()):
            assert (figures["calls"], figures["cost"]) == (NOTHING, NOTHING)
            assert figures["stored"] == figures["episodes"] > 0
            assert figures["buys"] == figures["buys_at_worst"]


def test_the_likely_worst_lies_far_below_the_most_and_says_why(samples, tmp_path):
    asked = config(tmp_path / "run", samples, history=True, max_tokens=4000)
    found = look(asked)
    for figures in (found["total"], *found["datasets"].values()):
        cost = figures["cost"]
        assert cost["least"] <= cost["expected"] <= cost["likely"] <= cost["most"]
    assert found["total"]["cost"]["likely"] < found["total"]["cost"]["most"] / 5
    [sentence] = [line for line in found["assumptions"] if line.startswith("Likely at worst")]
    assert "at their holds" in sentence
    assert look(asked) == found


def test_runs_under_other_conditions_teach_how_long_answers_are(samples, scripts, tmp_path):
    cold = look(config(tmp_path / "run", samples, hint=True))
    play(config(tmp_path / "results" / "plain", samples), scripts["always-ask"], full_usage)
    asked = config(tmp_path / "run", samples, hint=True, cache_dir=tmp_path / "empty")
    # A model that fills its limit is dearer than one of which nothing is known.
    assert look(asked, tmp_path / "results")["total"]["cost"]["expected"] > cold["total"]["cost"]["expected"]


def test_a_half_warm_cache_is_taken_off(samples, scripts, tmp_path):
    script = scripts["always-ask"]

    async def main():
        async with LoopbackServer(answering(script)) as server:
            asked = config(tmp_path / "run", samples, base_url=server.url)
            await evaluate(asked)
            more = changed(asked, out=tmp_path / "more", limit=4)
            half, cold = look(more), look(changed(more, cache_dir=tmp_path / "empty"))
            before = server.calls
            result = await evaluate(more)
            return half, cold, server.calls - before, result.summary["cost"]["settled"]

    half, cold, calls, cost = asyncio.run(main())
    assert 0 < half["total"]["calls"]["most"] < cold["total"]["calls"]["most"]
    assert half["total"]["cost"]["most"] < cold["total"]["cost"]["most"]
    assert half["total"]["stored"] == 14
    assert calls <= half["total"]["calls"]["most"]
    assert brackets(half["total"], calls, cost)
    assert any("they complete 14 of 28 episodes" in line for line in half["assumptions"])


def test_an_episode_goes_on_from_where_the_cache_ends(samples, scripts, tmp_path):
    """A run that was stopped by its limit leaves episodes half answered."""

    async def main():
        async with LoopbackServer(answering(scripts["always-ask"]), usage=full_usage) as server:
            asked = config(
                tmp_path / "run", samples, base_url=server.url, datasets=("ROD",), max_cost=Decimal("0.012")
            )
            first = await evaluate(asked)
            rest = changed(asked, max_cost=Decimal(1))
            found = look(rest)
            before = server.calls
            last = await evaluate(rest)
            return first, found, server.calls - before, last

    first, found, calls, last = asyncio.run(main())
    assert first.exit_code == 3
    assert 1 < first.summary["calls"]["wire"] < 27
    assert found["total"]["calls"]["most"] == calls == 28 - first.summary["calls"]["wire"]
    spent = last.summary["cost"]["settled"] - first.summary["cost"]["settled"]
    assert brackets(found["total"], calls, spent)
    assert any(line.startswith("Continued:") for line in found["assumptions"])


def test_earlier_runs_teach_what_to_expect(samples, scripts, tmp_path):
    results = tmp_path / "results"
    asked = config(results / "one", samples)
    before = look(changed(asked, out=tmp_path / "new"), results)
    played, summary, _ = play(asked, scripts["always-ask"])
    later = changed(played, out=tmp_path / "new", cache_dir=tmp_path / "empty")
    after = look(later, results)
    # Nothing of what is certain has moved; what is expected is near what was seen.
    assert after["total"]["calls"]["most"] == before["total"]["calls"]["most"]
    calls, cost = summary["calls"], summary["cost"]
    turns = calls["wire"] + calls["hits"]
    assert after["total"]["calls"]["expected"] == pytest.approx(turns, rel=0.05)
    spent = cost["settled"] + cost["saved_by_cache"]
    assert after["total"]["cost"]["expected"] == pytest.approx(spent, rel=0.05)
    assert before["total"]["calls"]["expected"] < turns / 3
    said = "\n".join(after["assumptions"])
    assert "Turns an episode: ROD 14.00, VSOD 12.00" in said
    assert "learned from 14 episodes of 1 earlier run in ./results with this model" in said
    assert "Correct: ROD 33 %" in said
    assert "1.6 assumed for ROD" in "\n".join(before["assumptions"])

    # Another model: the turns are all there is to go by. Another question: nothing is.
    other = look(changed(later, model="other"), results)
    assert other["total"]["calls"]["expected"] == after["total"]["calls"]["expected"]
    assert "with other models" in "\n".join(other["assumptions"])
    assert "Tokens a call: assumed for ROD" in "\n".join(other["assumptions"])
    hinted = look(changed(later, hint=True), results)
    assert "1.6 assumed for ROD" in "\n".join(hinted["assumptions"])


def test_other_data_and_baselines_teach_nothing(samples, scripts, tmp_path):
    results = tmp_path / "results"
    moved = tmp_path / "moved"
    shutil.copytree(samples, moved)
    for path in moved.glob("*.jsonl"):
        path.write_text(path.read_text().replace('"prompt": "', '"prompt": "Look closely. '))
    play(config(results / "one", samples), scripts["always-ask"])
    asyncio.run(evaluate(RunConfig(provider="baseline", model="always-ask", data=moved, out=results / "two")))
    found = look(config(tmp_path / "new", moved), results)
    assert "1.6 assumed for ROD, VSOD, MVP-N, IN-C, QD, CIT, COCO" in "\n".join(found["assumptions"])


def test_broken_runs_are_passed_over(samples, scripts, tmp_path):
    results = tmp_path / "results"
    play(config(results / "good", samples, datasets=("QD",)), scripts["oracle"])
    for name in ("no manifest", "torn manifest", "torn episodes", "odd episodes"):
        shutil.copytree(results / "good", results / name)
    (results / "no manifest" / "run.json").unlink()
    (results / "torn manifest" / "run.json").write_text('{"schema": 1, "config"')
    whole = (results / "good" / "episodes.jsonl").read_text()
    (results / "torn episodes" / "episodes.jsonl").write_text(whole[:-40])
    odd = [json.loads(line) for line in whole.splitlines()]
    # A file with nonsense in it is passed over whole.
    odd[1]["turns"] = [{"usage": "many"}]
    (results / "odd episodes" / "episodes.jsonl").write_text("".join(json.dumps(o) + "\n" for o in odd))
    (results / "a file").write_text("")
    found = look(config(tmp_path / "new", samples, cache_dir=tmp_path / "empty"), results)
    said = "\n".join(found["assumptions"])
    assert "learned from 3 episodes of 2 earlier runs" in said
    assert "Run folders in ./results that cannot be read: 2, passed over." in said


def test_what_the_limit_buys(samples, tmp_path):
    asked = config(tmp_path / "run", samples, limit=6)
    whole = look(changed(asked, max_cost=None))
    assert whole["limit"] is None
    assert whole["total"]["buys"]["episodes"] == whole["total"]["buys_at_worst"]["episodes"] == 42
    price = whole["total"]["cost"]["expected"]
    assert price > 0
    some = look(changed(asked, max_cost=Decimal(str(price / 2))))["total"]
    assert 15 <= some["buys"]["episodes"] <= 27
    assert 0 < some["buys_at_worst"]["episodes"] < some["buys"]["episodes"]
    assert some["buys"]["acc_half_width"] > whole["total"]["buys"]["acc_half_width"]
    assert some["buys"]["detectable"] > whole["total"]["buys"]["detectable"]
    # Less than one hold: no call can be made, however little it would cost.
    none = look(changed(asked, max_cost=Decimal("0.0001")))["total"]
    assert none["buys"] == {"episodes": 0, "acc_half_width": None, "detectable": None}
    assert none["cost"] == whole["total"]["cost"]


def test_repeats_are_bought_and_tell_nothing_more(samples, tmp_path):
    once = look(config(tmp_path / "run", samples))["total"]
    twice = look(config(tmp_path / "run", samples, repeat=2))["total"]
    assert twice["calls"]["most"] == 2 * once["calls"]["most"]
    assert twice["cost"]["most"] == pytest.approx(2 * once["cost"]["most"])
    assert (twice["episodes"], twice["buys"]["episodes"]) == (28, 28)
    assert twice["buys"]["acc_half_width"] == once["buys"]["acc_half_width"]


def test_equal_questions_are_bought_once(samples, tmp_path):
    """Two samples that are the same but for their ids ask the same."""
    row, second = (samples / "QuickDraw_preprocessed.jsonl").read_text().splitlines()[:2]
    twin = {**json.loads(row), "id": json.loads(second)["id"]}
    shutil.copytree(samples, tmp_path / "data")
    (tmp_path / "data" / "QuickDraw_preprocessed.jsonl").write_text(f"{row}\n{json.dumps(twin)}\n")
    found = look(config(tmp_path / "run", tmp_path / "data", datasets=("QD",)))["total"]
    assert (found["episodes"], found["calls"]["least"]) == (2, 1)


def test_offline_costs_nothing_and_says_what_is_missing(samples, scripts, tmp_path):
    played, _, _ = play(config(tmp_path / "run", samples), scripts["oracle"])
    found = look(changed(played, out=tmp_path / "new", offline=True, limit=3))
    assert found["total"]["calls"] == found["total"]["cost"] == NOTHING
    assert found["total"]["stored"] == 14
    assert "--offline asks nobody: 7 episodes will stay unresolved." in found["assumptions"]


def test_frames_that_cannot_be_read_are_said(samples, tmp_path):
    shutil.copytree(samples, tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "rod")
    found = look(config(tmp_path / "run", tmp_path / "data"))
    assert found["datasets"]["ROD"]["calls"] == NOTHING
    assert any(
        line.startswith("2 episodes will fail without a call; the first: ") for line in found["assumptions"]
    )


def test_another_run_in_out_is_refused(samples, scripts, tmp_path):
    played, _, _ = play(config(tmp_path / "run", samples, datasets=("QD",)), scripts["oracle"])
    with pytest.raises(ConfigDiffers, match="temperature"):
        look(changed(played, temperature=0.5))


def test_the_public_price_gives_a_least(samples, tmp_path):
    """At the maker's own endpoint nobody else states a cost."""
    found = look(config(tmp_path / "run", samples, base_url=None, price=None, model="gpt-4o"))
    assert 0 < found["total"]["cost"]["least"] < found["total"]["cost"]["expected"]


# The command line


def cli(*arguments: str):
    return CliRunner().invoke(main, ["estimate", *arguments])


def test_the_command_needs_no_key_and_prints_within_80_columns(samples, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = cli("--provider", "openai", "--data", str(samples), "--cache-dir", "none")
    assert result.exit_code == 0, result.output
    tables, _, assumed = result.output.rpartition("\n\n")
    assert max(map(len, tables.splitlines())) <= 80
    assert "What $5.00 buys in the seeded order, as expected and at worst:" in tables
    for word in ("Price: ", "Most: ", "Least: ", "Turns an episode: ", "Tokens a call: ", "Correct: "):
        assert f"\n{word}" in assumed, word
    assert not list(tmp_path.iterdir())


def test_a_full_size_table_fits_80_columns():
    calls, cost = Range(22_671, 36_273.6, 131_028), Range(1.0, 3_456.78, 123_456.0)
    reach = Reach(22_671, 10.12, 100.0)
    whole = Figures(22_671, 0, calls, cost, reach, reach)
    wide = Estimate({"MVP-N": whole}, whole, limit=12_345.0, assumptions=())
    assert max(map(len, plain(of_estimate(wide)).splitlines())) <= 80


def test_the_command_gives_json(samples, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--provider", "openai", "--model", "glance", "--price", "1,2", "--data", str(samples)]
    result = cli(*options, "--cache-dir", "none", "--dataset", "QD", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert found.keys() == {"datasets", "total", "limit", "assumptions"}
    assert found["datasets"]["QD"] == found["total"]
    assert found["limit"] == 5.0


def test_an_unknown_price_is_refused_as_in_a_run(samples):
    result = cli("--provider", "openai", "--model", "glance", "--data", str(samples))
    assert result.exit_code == 2
    assert "--price" in result.output


def test_a_baseline_costs_nothing(samples, tmp_path):
    found = look(RunConfig(provider="baseline", data=samples, out=tmp_path / "run"))
    assert found["total"]["calls"] == found["total"]["cost"] == NOTHING
    assert found["total"]["buys"]["episodes"] == 42
    assert "Price: none; a baseline makes no call." in found["assumptions"]


# The conditions of the paper


def at_the_bound(ask, text: str) -> Usage:
    """A bill of a token a byte, with images and output at their most."""
    sizes = [Image.open(io.BytesIO(data)).size for _, data in ask.images]
    images = sum(image_bound("openai", "glance", *size) for size in sizes)
    return Usage(len(ask.text.encode()) + images, ask.max_tokens)


def rambling(ask) -> str:
    """Mostly a suggestion, after as many words as may be."""
    return f"{'because ' * 300}{by_conversation(heard(ask))}"


CONDITIONS = {
    "history": {"history": True},
    "history and repeats": {"history": True, "repeat": 2, "limit": 1},
    "examples": {"shots": 2, "datasets": ("ROD", "MVP-N")},
    "examples and history": {"shots": 1, "history": True, "resize": True, "datasets": ("ROD", "MVP-N")},
    "random": {"options": "random"},
    "random, history and repeats": {"options": "random", "history": True, "repeat": 2, "limit": 1},
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_no_condition_costs_more_than_the_most(samples, tmp_path, name):
    asked = config(tmp_path / "run", samples, **CONDITIONS[name])
    cold = look(asked)["total"]

    async def run():
        async with LoopbackServer(rambling, usage=at_the_bound) as server:
            played = changed(asked, base_url=server.url)
            result = await evaluate(played)
            return result, look(changed(played, out=tmp_path / "again"))["total"]

    result, warm = asyncio.run(run())
    assert result.exit_code == 0, result
    assert brackets(cold, result.summary["calls"]["wire"], result.summary["cost"]["settled"])
    assert (warm["calls"], warm["cost"]) == (NOTHING, NOTHING)
    assert warm["stored"] == warm["episodes"]


def test_history_costs_more_for_each_turn(samples, tmp_path):
    plain = look(config(tmp_path / "run", samples, datasets=("ROD",)))
    kept = look(config(tmp_path / "run", samples, datasets=("ROD",), history=True))
    assert kept["total"]["calls"] == plain["total"]["calls"]
    assert kept["total"]["cost"]["most"] > 3 * plain["total"]["cost"]["most"]
    [history] = [line for line in kept["assumptions"] if line.startswith("History: ")]
    assert history.startswith("History: an answer that is kept has 16 tokens, but the most counts ")
    assert history.endswith("makes it so high: --max-tokens lowers it.")
    assert any("its longest way (up to 14 turns)" in line for line in kept["assumptions"])


def test_what_a_model_cannot_read_is_not_billed(samples, tmp_path):
    """With room to think, a kept answer could be longer than the context of any model."""
    options = {"datasets": ("ROD",), "history": True, "base_url": None, "price": None, "max_tokens": 8192}
    found = look(config(tmp_path / "run", samples, model="gpt-4o", **options))["total"]
    dearest = Decimal("2.5") * 128_000 + 10 * 8192
    assert found["cost"]["most"] < float(found["calls"]["most"] * dearest / 10**6)


@pytest.mark.parametrize("first", ["pbclient.scheduler.evaluate", "pbclient.forecast.estimate"])
def test_the_functions_of_the_package_are_not_hidden_by_their_modules(first):
    """Whichever is imported first, and however."""
    names = "p.estimate, p.evaluate, p.run, p.estimate"
    program = f"import {first}; import pbclient as p; assert not any(map(inspect.ismodule, ({names})))"
    subprocess.run([sys.executable, "-c", f"import inspect; {program}"], check=True)


def test_a_kept_conversation_goes_on_from_where_the_cache_ends(samples, tmp_path):
    """What was said in it is read again, and bounded by what it is."""

    def ask_on(ask) -> str:
        return next(line for line in ask.question.splitlines() if "Move the blocks" in line)

    async def main():
        async with LoopbackServer(ask_on, usage=at_the_bound) as server:
            options = {"datasets": ("ROD",), "limit": 1, "history": True, "base_url": server.url}
            asked = config(tmp_path / "run", samples, max_cost=Decimal("0.05"), **options)
            first = await evaluate(asked)
            rest = changed(asked, max_cost=Decimal(50))
            found, cold = look(rest)["total"], look(changed(rest, cache_dir=tmp_path / "none"))["total"]
            last = await evaluate(rest)
            return first.summary, found, cold, last.summary

    first, found, cold, last = asyncio.run(main())
    bought = last["calls"]["wire"] - first["calls"]["wire"]
    assert 1 < first["calls"]["wire"] < 14
    assert found["calls"]["most"] == bought == 14 - first["calls"]["wire"]
    spent = last["cost"]["settled"] - first["cost"]["settled"]
    assert brackets(found, bought, spent)
    assert spent < found["cost"]["most"] < cold["cost"]["most"]
