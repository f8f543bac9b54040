"""The conditions of the paper: what goes over the wire, and what the benchmark makes of the answers."""

from __future__ import annotations

import asyncio
import json
import random
import runpy
import shutil
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback_faults import LoopbackServer
from package_loop import by_conversation, heard, package_conditions, talk_by_conversation

from pbclient import RunConfig, evaluate
from pbclient.benchmark.package import DATA_SETS, environment_class
from pbclient.cli.app import main
from pbclient.data.folder import open_data
from pbclient.episodes.players import abstention
from pbclient.episodes.random_options import ForeignOptions
from pbclient.episodes.rules import Examples, Rules
from pbclient.errors import InputError
from pbclient.images.pictures import Pictures

BASELINE = ["run", "--provider", "baseline", "--model", "oracle"]
NAMES = tuple(each.acronym for each in DATA_SETS)
WITH_EXAMPLES = ("ROD", "MVP-N")


def config(out: Path, data: Path, server: LoopbackServer, provider: str = "openai", **options) -> RunConfig:
    fixed = {
        "provider": provider,
        "model": "glance" if provider == "openai" else "claude-haiku-5-5",
        "base_url": server.url if provider == "openai" else server.root,
        "price": "1,2",
        "max_cost": Decimal(50),
        "data": data,
        "cache_dir": out.parent / "answers",
        "out": out,
    }
    return RunConfig(**{**fixed, **options})


def episodes(out: Path) -> dict[tuple[str, str], dict]:
    lines = map(json.loads, (out / "episodes.jsonl").read_text().splitlines())
    return {(line["dataset"], line["sample"]): line for line in lines}


def play(out: Path, data: Path, policy=talk_by_conversation, provider="openai", **options):
    """The episodes, and how many calls the same run makes again in another folder."""

    async def main():
        async with LoopbackServer(policy) as server:
            first = await evaluate(config(out / "first", data, server, provider, **options))
            assert first.exit_code == 0, first
            bought = server.calls
            again = await evaluate(config(out / "again", data, server, provider, **options))
            assert again.summary["calls"]["wire"] == server.calls - bought
            return server.calls - bought

    repeated = asyncio.run(main())
    return episodes(out / "first"), repeated


@pytest.mark.parametrize(
    ("provider", "options"),
    [
        ("openai", {"history": True}),
        ("openai", {"history": True, "concurrency": 1}),
        ("anthropic", {"history": True, "hint": True}),
        ("openai", {"history": True, "resize": True, "datasets": ("ROD", "QD", "COCO")}),
        ("openai", {"options": "random"}),
        ("openai", {"options": "random", "concurrency": 1, "seed": 5}),
        ("anthropic", {"options": "random", "history": True, "hint": True, "seed": 9}),
        ("openai", {"shots": 1, "datasets": WITH_EXAMPLES, "wire": "direct"}),
        ("openai", {"shots": 3, "cot": True, "datasets": WITH_EXAMPLES, "concurrency": 1}),
        ("anthropic", {"shots": 2, "history": True, "hint": True, "resize": True, "datasets": WITH_EXAMPLES}),
    ],
)
def test_every_episode_equals_the_packages_own(samples, tmp_path, monkeypatch, provider, options):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")
    conditions = {name: value for name, value in options.items() if name not in ("concurrency", "wire")}
    expected = package_conditions(samples, by_conversation, **conditions)
    found, repeated = play(tmp_path, samples, provider=provider, **options)
    assert repeated == 0
    assert found.keys() == expected.keys()
    for which, statistics in expected.items():
        turns = found[which]["turns"]
        assert [turn["answer"] for turn in turns] == statistics["generated_answers"], which
        assert [turn["action"] for turn in turns] == statistics["action_evaluations"], which
        assert [turn["category"] for turn in turns] == statistics["category_evaluations"], which
        assert found[which]["correct"] == statistics["correct_prediction"]
        assert found[which]["suggestions"] == statistics["num_turns"] - 1
    assert max(len(line["turns"]) for line in found.values()) > 2


def test_history_changes_what_is_asked_and_not_how_it_is_evaluated(samples, tmp_path):
    """The same answers, whatever stands before the question: the same episodes."""

    def last_only(ask) -> str:
        return by_conversation(heard(ask)[-1:])

    alone, _ = play(tmp_path / "alone", samples, last_only)
    kept, _ = play(tmp_path / "kept", samples, last_only, history=True)
    fields = ("answer", "action", "category", "image", "prompt", "options")
    for which, line in alone.items():
        assert kept[which]["correct"] == line["correct"]
        for turn, same in zip(line["turns"], kept[which]["turns"], strict=True):
            assert [turn[field] for field in fields] == [same[field] for field in fields]


# What is sent, word for word: docs/conversations.md is written from what arrives.

WRITER = runpy.run_path(str(Path(__file__).parent.parent / "docs" / "write_conversations.py"))


def test_the_page_of_conversations_is_what_goes_over_the_wire(samples, tmp_path):
    page = WRITER["page"](samples, tmp_path)
    assert page == WRITER["PAGE"].read_text(encoding="utf-8"), (
        "run: uv run python docs/write_conversations.py"
    )


# Drawn options and examples


@pytest.fixture(scope="module")
def opened(samples):
    with open_data(samples) as data:
        yield data


@pytest.fixture(scope="module")
def foreign(opened) -> ForeignOptions:
    return ForeignOptions.of(opened, 0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(), name=st.sampled_from(NAMES))
def test_foreign_options_take_the_places_of_suggestions(opened, foreign, seed, name):
    own = {text for each in opened.samples[name] for text in opened.row(each)["options"]}
    for sample in opened.samples[name]:
        row = opened.row(sample)
        drawn = ForeignOptions(foreign.foreign, seed).put_into(name, row)
        assert drawn == ForeignOptions(foreign.foreign, seed).put_into(name, row)
        assert {**drawn, "options": row["options"]} == row
        assert len(set(drawn["options"])) == len(row["options"])
        for before, after in zip(row["options"], drawn["options"], strict=True):
            assert before == after if abstention(before) else after not in own


def test_what_would_help_here_too_is_not_foreign(opened, foreign):
    foreign = foreign.foreign
    assert {"Rewind the video.", "Wait for the object to appear."}.isdisjoint(foreign["VSOD"])
    assert "Wait for the person to walk on." not in foreign["CIT"]
    assert "Move the camera to the left." not in foreign["ROD"]
    assert "Move the blocks to the left." in foreign["QD"]
    assert all(len(texts) > 5 for texts in foreign.values())


def test_the_pool_tells_experiments_apart(samples, opened, tmp_path):
    whole = ForeignOptions.of(opened, 0).digest
    shutil.copytree(samples, tmp_path / "fewer")
    (tmp_path / "fewer" / "ChangeIt_preprocessed.jsonl").unlink()
    with open_data(tmp_path / "fewer") as fewer:
        assert ForeignOptions.of(fewer, 0).digest != whole
    (tmp_path / "two").mkdir()
    for name in ("ChangeIt", "OcclusionDataSet-MM20"):
        shutil.copy(samples / f"{name}_preprocessed.jsonl", tmp_path / "two")
    with open_data(tmp_path / "two") as two, pytest.raises(InputError, match="needs 2 suggestions that VSOD"):
        ForeignOptions.of(two, 0)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    place=st.integers(0, 5),
    seed=st.integers(0, 99),
    repeat=st.integers(0, 2),
    choices=st.lists(st.integers(0, 9), min_size=30, max_size=30),
)
def test_random_episodes_end_and_every_frame_of_them_can_be_shown(
    opened, foreign, name, place, seed, repeat, choices
):
    """Also for the environments without an end of their own there: CIT leaves the film, COCO the picture."""
    sample = opened.samples[name][place]
    rules = Rules(random_options=True, seed=seed)
    row = ForeignOptions(foreign.foreign, seed).put_into(name, opened.row(sample))
    environment = rules.environment(sample, row)
    package = environment_class(name)(row, "", random=True)

    async def shown(state) -> None:
        with Pictures(opened.frames) as pictures:
            picture = await pictures.open(state["image_path"], state["transform"])
            assert await picture.encode()

    for turn, choice in enumerate(choices):
        asyncio.run(shown(rules.state(environment)))
        offered = [text for text in rules.state(environment)["options"] if not abstention(text)]
        answer = offered[choice % len(offered)]
        before = random.getstate()
        rules.evaluate(environment, sample, repeat, answer)
        assert random.getstate() == before
        random.seed(f"{seed}/{name}/{sample.id}/{repeat}/{turn}")
        package.evaluate_generated_answer(answer)
        assert environment.get_statistics() == package.get_statistics()
        if environment.stop:
            break
    assert environment.stop
    assert environment.num_turns <= environment.max_steps


def test_in_c_takes_any_foreign_suggestion_at_random_and_its_own_alone_otherwise(opened):
    sample = opened.samples["IN-C"][0]
    row = opened.row(sample)
    assert Rules().environment(sample, row).correct_options == [row["quality_answer"]]
    drawn = ForeignOptions.of(opened, 0).put_into("IN-C", row)
    environment = Rules(random_options=True).environment(sample, drawn)
    assert environment.correct_options == [text for text in drawn["options"] if not abstention(text)]


def test_examples_are_other_samples_the_same_for_every_repeat(opened):
    examples = Examples(Rules(shots=3, seed=4), opened)
    for name in WITH_EXAMPLES:
        for sample in opened.samples[name]:
            drawn = examples.of(sample)
            ids = [each.id for each, _ in drawn]
            assert len(set(ids)) == 3
            assert sample.id not in ids
            assert [each.id for each, _ in examples.of(sample)] == ids
            assert all(len(exchanges) >= 2 for _, exchanges in drawn)
    some = [tuple(each.id for each, _ in examples.of(sample)) for sample in opened.samples["ROD"]]
    assert len(set(some)) > 1


def test_examples_are_recorded_and_limits_do_not_change_them(samples, tmp_path):
    options = {"shots": 2, "datasets": WITH_EXAMPLES}
    whole, _ = play(tmp_path / "whole", samples, **options)
    part, _ = play(tmp_path / "part", samples, limit=2, **options)
    for which, line in part.items():
        assert line["examples"] == whole[which]["examples"]
        assert len(line["examples"]) == 2


def test_coco_is_not_resized_and_nothing_is_printed(samples, tmp_path, capfd):
    """The package prints a line for each sample there, which a script that reads JSON could not stand."""
    out = tmp_path / "run"
    result = CliRunner().invoke(
        main,
        [*BASELINE, "--data", str(samples), "--out", str(out), "--resize", "--json"],
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["datasets"]["COCO"]["n"] == 6
    assert "Warning" not in capfd.readouterr().out


# Conditions that do not go together

OPENAI = ["run", "--provider", "openai", "--base-url", "http://127.0.0.1:9/v1", "--price", "1,2"]
SHOTS = ["--dataset", "ROD", "--dataset", "MVP-N", "--shots", "2"]
OPEN = ["--mode", "oeg", "--judge", "none"]
REFUSED = {
    "examples for all data sets": (["--shots", "1"], "makes examples for ROD and MVP-N only, not for VSOD"),
    "examples for others": (["--dataset", "QD", "--shots", "1"], "not for QD"),
    "more examples than samples": (["--dataset", "ROD", "--shots", "6"], "there are 5"),
    "fewer than no examples": (["--dataset", "ROD", "--shots", "-1"], "--shots"),
    "reasoning in no example": (["--cot"], "--shots N"),
    "examples for the reference": ([*SHOTS, "--reference"], "leave --shots or it out"),
    "foreign options and the reference": (["--options", "random", "--reference"], "leave it or --options"),
    "foreign options and examples": ([*SHOTS, "--options", "random"], "leave --shots or --options random"),
    "unknown options": (["--options", "wild"], "--options"),
    "history in open-ended answers": ([*OPEN, "--history"], "--history belongs to multiple choice"),
    "examples in open-ended answers": ([*OPEN, *SHOTS], "--shots belongs to multiple choice"),
    "reasoning in open-ended answers": ([*OPEN, "--cot"], "--cot belongs to multiple choice"),
    "foreign options in open-ended answers": ([*OPEN, "--options", "random"], "belongs to multiple choice"),
    "the reference in open-ended answers": ([*OPEN, "--reference"], "leave --reference out"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_go_together_is_refused_in_one_sentence(samples, tmp_path, monkeypatch, name):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.chdir(tmp_path)
    more, says = REFUSED[name]
    for command in ("run", "estimate"):
        result = CliRunner().invoke(main, [command, *OPENAI[1:], "--data", str(samples), *more])
        assert result.exit_code == 2, result.output
        assert isinstance(result.exception, SystemExit)
        [sentence] = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
        assert says in sentence
        assert "Traceback" not in result.output
        assert not list(tmp_path.iterdir())
