"""Open-ended episodes of several turns: the judge's verdict is what happens next."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback_faults import Fault, LoopbackServer
from proactivebench.environment import get_environment
from test_pbclient_open_ended import config, lines_of, number

from pbclient import evaluate
from pbclient.benchmark.open_ended import listed, means, turn_suggestions
from pbclient.benchmark.package import STEMS
from pbclient.config import JudgeConfig, RunConfig
from pbclient.data.folder import open_data
from pbclient.episodes.judge import Judge
from pbclient.episodes.players import View
from pbclient.episodes.rules import Rules
from pbclient.episodes.turns import TurnsEpisode
from pbclient.errors import InputError
from pbclient.forecast.estimate import estimate
from pbclient.money.books import Books
from pbclient.scheduler.rejudge import rejudge
from pbclient.scores.rescore import rescore, rescore_run
from providers import Request, Response

# How many suggestions the package's parser reads off the front of a verdict.
COUNTS = {"ROD": 2, "VSOD": 3, "MVP-N": 2, "IN-C": 1, "QD": 1, "CIT": 2, "COCO": 2}


@cache
def rows(folder) -> list:
    with open_data(folder) as data:
        return [(sample, data.row(sample)) for found in data.samples.values() for sample in found]


def valid_in(text: str) -> list[str]:
    (line,) = [each for each in text.splitlines() if each.startswith("['")]
    return json.loads(line.replace("'", '"'))


class Says:
    """A model that says anything."""

    async def answer(self, view: View) -> Response:
        return Response(f"answer {view.turn}", "stop", key="0")


class Marks:
    """A judge whose verdicts come from a script of lists of truths, each read off the front."""

    def __init__(self, script) -> None:
        self.script, self.shown = script, []

    async def complete(self, request: Request) -> Response:
        valid = valid_in(request.messages[1].parts[0])
        marks = self.script[len(self.shown) % len(self.script)]
        self.shown.append(valid)
        return Response(
            "Thinking 1,1.\n" + ",".join(str(int(marks[at % len(marks)])) for at in range(len(valid))),
            "stop",
            key="0",
        )


def play(sample, row, script, seed: int = 0) -> tuple[dict, list]:
    judge = Marks(script)
    rules = Rules(seed=seed, turns="many")
    episode = TurnsEpisode(
        sample, 0, rules, Says(), Books(), judge=Judge("j", judge, {"max_tokens": 9}, Books())
    )
    return json.loads(json.dumps(asyncio.run(episode.play(row)))), judge.shown


MARKS = st.lists(st.lists(st.booleans(), min_size=1, max_size=4), min_size=1, max_size=5)


@settings(max_examples=300)
@given(data=st.data(), script=MARKS, seed=st.integers(0, 3))
def test_an_episode_is_what_its_verdicts_make_of_the_environment(samples, data, script, seed):
    sample, row = data.draw(st.sampled_from(rows(samples)))
    line, shown = play(sample, row, script, seed)
    count = COUNTS[sample.dataset]
    env = get_environment(STEMS[sample.dataset])(row, "")
    assert line["outcome"] == "resolved"
    for turn, valid, each in zip(line["turns"], shown, line["verdict"]["each"], strict=True):
        assert not env.stop
        state = env.get_state()
        assert (turn["prompt"], turn["image"]) == (state["prompt"], state["image_path"])
        _, categories = get_environment(STEMS[sample.dataset])._get_correct_options_and_categories(env)
        assert valid[count:] == [category.replace(".", "") for category in categories]
        possible = [option for option in env.correct_options if option in state["options"]]
        if each["category_prediction"]:
            assert turn["given"] == row["answer"]
        elif each["proactive_suggestion"] and possible:
            assert turn["given"] in possible
        else:
            assert turn["given"] == ""
        env.evaluate_generated_answer(turn["given"])
        assert (turn["action"], turn["category"]) == (
            env.action_evaluation_history[-1],
            env.category_evaluation_history[-1],
        )
    assert env.stop
    statistics = env.get_statistics()
    assert line["correct"] == statistics["correct_prediction"]
    assert line["suggestions"] == statistics["num_turns"] - 1
    assert rescore(line, "oeg") == line
    assert play(sample, row, script, seed)[0] == line


def test_the_first_list_is_the_packages_own_where_a_category_may_be_named(samples):
    for sample, row in rows(samples):
        env = get_environment(STEMS[sample.dataset])(row, "")
        own = [each.strip() for each in env.get_open_ended_gen_answers().replace(".", "").split(",")]
        env = get_environment(STEMS[sample.dataset])(row, "")
        shown = [
            each.strip() for each in listed(turn_suggestions(sample.dataset, env), env).rstrip(".").split(",")
        ]
        if sample.dataset == "MVP-N":
            own += [row["answer"].replace(".", "")]
        if sample.dataset == "CIT" and own.count("Rewind the video") > 1:
            own.remove("Rewind the video")  # which the package names twice inside a film
        assert sorted(shown) == sorted(own)
        assert len(turn_suggestions(sample.dataset, env)) == COUNTS[sample.dataset]


def test_a_suggestion_that_can_be_carried_out_is_and_another_is_drawn(samples):
    """VSOD: waiting and rewinding can be, moving the camera cannot."""
    drawn = Counter()
    for sample, row in rows(samples):
        if sample.dataset != "VSOD":
            continue
        env = get_environment(STEMS["VSOD"])(row, "")
        for at, wanted in enumerate(("wait for the", "rewind the video.")):
            marks = [[number == at for number in range(4)], [False]]
            line, _ = play(sample, row, marks)
            assert wanted in line["turns"][0]["given"].lower()
            assert line["suggestions"] == 1
            # Of two the first.
            line, _ = play(sample, row, [[number >= at and number < 3 for number in range(4)], [False]])
            assert wanted in line["turns"][0]["given"].lower()
        assert means(env, "Move the camera") == set()
        for seed in range(8):
            line, _ = play(sample, row, [[False, False, True, False], [False]], seed)
            drawn[line["turns"][0]["given"]] += 1
    assert len(drawn) == 2


# Over HTTP.


def policy(ask) -> str:
    if ask.model == "glance":
        return f"I think {number(ask.question, str(ask.images[0])) % 7}."
    valid = valid_in(ask.body["messages"][1]["content"])
    seen = number(ask.model, ask.body["messages"][1]["content"])
    return ",".join("1" if seen >> at & 3 == 0 or (at == 0 and seen % 3) else "0" for at in range(len(valid)))


def test_a_run_is_bracketed_paid_once_continued_and_scored_again(samples, tmp_path):
    async def main():
        async with LoopbackServer(policy, keep_asks=True) as server:
            asked = config(tmp_path, samples, server, turns="many")
            foreseen = await asyncio.to_thread(estimate, asked, tmp_path / "none")
            first = await evaluate(asked)
            calls = server.calls
            after = await asyncio.to_thread(
                estimate, config(tmp_path, samples, server, turns="many", out=tmp_path / "2")
            )
            again = await evaluate(config(tmp_path, samples, server, turns="many", out=tmp_path / "3"))
            lines = (tmp_path / "run" / "episodes.jsonl").read_bytes().splitlines(keepends=True)
            (tmp_path / "run" / "episodes.jsonl").write_bytes(b"".join(lines[:5]) + lines[5][:40])
            continued = await evaluate(asked)
            one = await evaluate(config(tmp_path, samples, server, out=tmp_path / "one"))
            return foreseen, first, calls, after, again, continued, one, server

    foreseen, first, calls, after, again, continued, one, server = asyncio.run(main())
    assert first.exit_code == 0
    lines = lines_of(tmp_path).values()
    assert max(len(line["turns"]) for line in lines) > 2
    assert 0 < first.summary["average"]["acc"] < 100
    for name, figures in first.summary["datasets"].items():
        counts = [line["suggestions"] for line in lines if line["dataset"] == name]
        assert figures["psr"] == pytest.approx(sum(counts) / len(counts), abs=1e-6)
    assert foreseen.total.calls.least <= calls <= foreseen.total.calls.most
    settled = first.summary["cost"]["settled"]
    assert foreseen.total.cost.least <= settled <= foreseen.total.cost.most
    assert (after.total.calls.most, after.total.stored) == (0, len(lines))
    assert again.summary["calls"]["wire"] == 0
    assert continued.summary["average"] == first.summary["average"]
    assert continued.summary["cost"]["settled"] == settled
    # All model's answers of a run of one turn are there, and all verdicts but those on MVP-N.
    assert Counter(each.ask.model for each in list(server.served)[calls:]).keys() <= {"judge"}
    assert one.summary["calls"]["wire"] <= sum(line["dataset"] == "MVP-N" for line in lines)
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    assert manifest["config"]["turns"] == "many"
    assert rescore_run(tmp_path / "run") == continued.summary


def test_another_judge_is_followed_until_its_verdicts_part(samples, tmp_path):
    def judging(name: str, **more) -> JudgeConfig:
        return JudgeConfig(
            judge_provider="openai",
            judge_model=name,
            judge_price="3,4",
            cache_dir=tmp_path / "answers",
            **more,
        )

    async def main():
        # `twin` agrees always, `other` judges by its own lights.
        def of_all(ask):
            twin = replace(ask, model="judge") if ask.model == "twin" else ask
            return policy(twin)

        async with LoopbackServer(of_all) as server:
            run = await evaluate(config(tmp_path, samples, server, turns="many", max_cost=None))
            with pytest.raises(InputError, match="the same `pbclient run` command asks it again"):
                await rejudge(tmp_path / "run", judging("judge", judge_base_url=server.url))
            twin = await rejudge(tmp_path / "run", judging("twin", judge_base_url=server.url))
            other = await rejudge(tmp_path / "run", judging("other", judge_base_url=server.url))
            return run, twin, other

    run, twin, other = asyncio.run(main())
    assert twin.exit_code == 0
    own = twin.summary["judges"]
    (agreement,) = own.values()
    assert (agreement["raw"], agreement["average"]["psr"]) == (100, run.summary["average"]["psr"])
    assert other.exit_code == 4
    assert set(other.outcomes) == {"resolved", "judge_failed"}
    path = next(each for each in (tmp_path / "run" / "judges").iterdir() if "other" in each.name)
    recorded = lines_of(tmp_path)
    for line in map(json.loads, path.read_text().splitlines()):
        assert len(line["verdict"]["each"]) <= len(recorded[line["dataset"], line["sample"]]["turns"])
        if line["outcome"] == "judge_failed":
            assert "has no answers" in line["error"]
    assert rescore_run(tmp_path / "run") == other.summary


def test_a_verdict_that_is_missing_ends_the_episode_without_a_score(samples, tmp_path):
    def faults(ask, attempt):
        bad = ask.model == "judge" and number(ask.body["messages"][1]["content"]) % 4 == 0
        return Fault("length", text="1,1") if bad else None

    async def main():
        async with LoopbackServer(policy, faults=faults) as server:
            return await evaluate(config(tmp_path, samples, server, turns="many", max_cost=None))

    result = asyncio.run(main())
    assert result.exit_code == 4
    failed = [line for line in lines_of(tmp_path).values() if line["outcome"] == "judge_failed"]
    assert failed
    for line in failed:
        assert line["verdict"]["aggregate"] is None
        assert "given" not in line["turns"][-1]
    assert rescore_run(tmp_path / "run") == result.summary


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"turns": "many"}, "--mode oeg"),
        ({"turns": "many", "mode": "oeg", "judge": "none"}, "needs a judge"),
        ({"turns": "several", "mode": "oeg", "judge": "none"}, "one or many"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(options, words):
    with pytest.raises(InputError, match=words):
        RunConfig(provider="openai", **options)
