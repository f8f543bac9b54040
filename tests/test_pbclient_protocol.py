"""`--protocol paper`: every answer that came is scored as the published example's own loop scores it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import re
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from pathlib import Path

import proactivebench
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback_faults import Fault, LoopbackServer
from package_loop import by_looks, package_loop
from package_oeg import package_oeg
from PIL import Image
from proactivebench.environment import get_environment

from pbclient import RunConfig, evaluate
from pbclient.benchmark.package import STEMS
from pbclient.benchmark.protocol import NEW_TOKENS, PAPER
from pbclient.compare.recorded import config_differences, read_runs
from pbclient.data.folder import open_data
from pbclient.episodes.episode import Episode
from pbclient.episodes.players import View
from pbclient.episodes.rules import Rules
from pbclient.money.books import Books
from pbclient.scores.rescore import recorded_rewards, rescore, rescore_run
from pbclient.scores.summary import Tally
from providers import ImageRejected, RequestRefused, Response, ServerFault
from runs import Balance

EXAMPLES = Path(proactivebench.__file__).parent / "tests"


@pytest.mark.parametrize(("mode", "limit"), [("mcqa", "50"), ("oeg", "2**15")])
def test_the_limits_are_those_of_the_published_examples(mode, limit):
    source = (EXAMPLES / f"{mode}.py").read_text()
    said = re.findall(r"max_new_tokens=([\d*]+)", source)
    assert set(said) == {limit}
    assert NEW_TOKENS[mode] == eval(limit)
    assert source.count("do_sample=True") == (len(said) if mode == "oeg" else 0)


@cache
def rows(folder) -> list:
    with open_data(folder) as data:
        return [(sample, data.row(sample)) for found in data.samples.values() for sample in found]


@dataclass
class Scripted:
    """Says what stands in its script; an error in it is raised."""

    script: list
    said: list[str] = field(default_factory=list)

    async def answer(self, view: View) -> Response:
        found = self.script[len(self.said) % len(self.script)]
        if isinstance(found, Exception):
            raise found
        form, finish = found
        options = view.state["options"]
        at = len(form) % len(options)
        text = form.format(letter=chr(65 + at), text=options[at], first=options[0])
        self.said.append(text)
        return Response(text, finish, key="0")


FORMS = [
    "",
    " \n",
    "A",
    "{letter}",
    "{first}",
    "I would say {letter}. {text}",
    "{text} because I see it",
    "{letter}) {text}",
]
FORMS += ["{first} " * 9, "{letter}. {text}", "Sorry, I cannot help.", "{first}"]
ANSWERS = st.tuples(
    st.sampled_from(FORMS) | st.text(alphabet=st.characters(exclude_characters="{}"), max_size=30),
    st.sampled_from(["stop", "length", "refusal"]),
)
SCRIPTS = st.lists(ANSWERS | st.just(ImageRejected("too small")), min_size=1, max_size=6)


def example_loop(sample, row, script) -> dict:
    """The published loop, with its `break` for a picture that the processor does not take."""
    env = get_environment(STEMS[sample.dataset])(entry=row, data_dir="")
    said = 0
    while not env.stop:
        state = env.get_state(hint=False)
        found = script[said % len(script)]
        if isinstance(found, Exception):
            break
        options = state["options"]
        at = len(found[0]) % len(options)
        env.evaluate_generated_answer(
            found[0].format(letter=chr(65 + at), text=options[at], first=options[0])
        )
        said += 1
    return env.get_statistics()


@settings(max_examples=300)
@given(data=st.data(), script=SCRIPTS)
def test_every_episode_is_that_of_the_example(samples, data, script):
    sample, row = data.draw(st.sampled_from(rows(samples)))
    line = asyncio.run(Episode(sample, 0, Rules(protocol=PAPER), Scripted(script), Books()).play(row))
    expected = example_loop(sample, row, script)
    assert line["outcome"] == "resolved"
    assert [turn["answer"] for turn in line["turns"]] == expected["generated_answers"]
    assert [turn["action"] for turn in line["turns"]] == expected["action_evaluations"]
    assert [turn["category"] for turn in line["turns"]] == expected["category_evaluations"]
    assert line["correct"] == expected["correct_prediction"]
    assert line["suggestions"] == expected["num_turns"] - 1
    line = json.loads(json.dumps(line))
    assert rescore(line) == line
    tally = Tally({"config": {}})
    tally.add(line)
    figures = tally.summary(Balance())["datasets"][sample.dataset]
    assert (figures["acc"], figures["ps"]) == (100.0 * line["correct"], expected["num_turns"] - 1)


@pytest.mark.parametrize(
    ("error", "outcome"), [(ServerFault("It failed."), "failed"), (RequestRefused("A filter."), "refused")]
)
def test_what_is_no_answer_stays_none(samples, error, outcome):
    sample, row = rows(samples)[0]
    line = asyncio.run(Episode(sample, 0, Rules(protocol=PAPER), Scripted([error]), Books()).play(row))
    assert (line["outcome"], line["error"]) == (outcome, str(error))


def test_a_picture_that_is_not_taken_is_a_failure_in_strict(samples):
    sample, row = rows(samples)[0]
    line = asyncio.run(Episode(sample, 0, Rules(), Scripted([ImageRejected("too small")]), Books()).play(row))
    assert (line["outcome"], line["error"]) == ("failed", "too small")


# Over HTTP: a model that is cut off, says nothing, declines, or wraps the option in words.

KINDS = (None, "length", "empty_text", "refusal", None, None, "length")


def ending(prompt: str, picture: Image.Image) -> str | None:
    seen = hashlib.sha256(b"how" + prompt.encode() + repr(picture.size).encode() + picture.tobytes()).digest()
    return KINDS[seen[0] % len(KINDS)]


def said(prompt: str, picture: Image.Image) -> str:
    if ending(prompt, picture) == "empty_text":
        return ""
    return by_looks(prompt, picture) if "\nA. " in prompt else f"I see {picture.size}."


def seen(ask) -> tuple[str, Image.Image]:
    ((_, data),) = ask.images
    return ask.question, Image.open(io.BytesIO(data)).convert("RGB")


def faulty(ask, attempt) -> Fault | None:
    kind = ending(*seen(ask))
    return Fault(kind, text=said(*seen(ask))) if kind else None


def config(folder: Path, data: Path, server: LoopbackServer, **options) -> RunConfig:
    fields = {
        "provider": "openai",
        "model": "glance",
        "base_url": server.url,
        "price": "1,2",
        "max_cost": Decimal(50),
        "wire": "direct",
        "protocol": "paper",
        "data": data,
        "cache_dir": folder / "answers",
        "out": folder / "run",
    }
    return RunConfig(**{**fields, **options})


def test_a_whole_run_equals_the_packages_loop_and_is_paid_once(samples, tmp_path):
    async def main():
        async with LoopbackServer(lambda ask: said(*seen(ask)), faults=faulty, keep_asks=True) as server:
            first = await evaluate(config(tmp_path, samples, server))
            calls = server.calls
            again = await evaluate(config(tmp_path, samples, server, out=tmp_path / "again"))
            # The same requests under the other protocol: the same answers, which are then none.
            strict = {"protocol": "strict", "max_tokens": 50, "temperature": None, "out": tmp_path / "strict"}
            strictly = await evaluate(config(tmp_path, samples, server, **strict))
            return first, again, strictly, calls, server

    first, again, strictly, calls, server = asyncio.run(main())
    expected = package_loop(samples, said)
    lines = map(json.loads, (tmp_path / "run" / "episodes.jsonl").read_text().splitlines())
    episodes = {(line["dataset"], line["sample"]): line for line in lines}
    assert episodes.keys() == expected.keys()
    for which, statistics in expected.items():
        line = episodes[which]
        assert line["outcome"] == "resolved"
        assert [turn["answer"] for turn in line["turns"]] == statistics["generated_answers"]
        assert [turn["action"] for turn in line["turns"]] == statistics["action_evaluations"]
        assert (line["correct"], line["suggestions"]) == (
            statistics["correct_prediction"],
            statistics["num_turns"] - 1,
        )
    endings = {turn.get("finish", "stop") for line in episodes.values() for turn in line["turns"]}
    assert endings == {"stop", "length", "refusal"}
    assert {served.ask.body.get("temperature") for served in server.served} == {None}
    assert {served.ask.max_tokens for served in server.served} == {50}
    assert (first.exit_code, again.exit_code) == (0, 0)
    assert again.summary["calls"]["wire"] == 0
    assert strictly.exit_code == 4
    assert {"truncated", "refused"} <= strictly.outcomes.keys()
    assert server.calls == calls
    written = (tmp_path / "run" / "summary.json").read_bytes()
    assert rescore_run(tmp_path / "run") == first.summary
    assert (tmp_path / "run" / "summary.json").read_bytes() == written
    assert recorded_rewards(tmp_path / "run")["average"]["per_turn"] is not None
    differences = config_differences(read_runs([tmp_path / "run", tmp_path / "strict"]))
    assert differences == {"protocol": ["paper", "strict"]}


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({}, {"max_tokens": 1024, "temperature": 0.0}),
        ({"protocol": "paper"}, {"max_tokens": 50}),
        ({"protocol": "paper", "max_tokens": 400}, {"max_tokens": 400}),
        ({"protocol": "paper", "temperature": 0.3}, {"max_tokens": 50, "temperature": 0.3}),
        ({"protocol": "paper", "mode": "oeg", "judge": "none"}, {"max_tokens": 2**15}),
        # What the price list says that it can give.
        ({"protocol": "paper", "mode": "oeg", "judge": "none", "model": "gpt-4o"}, {"max_tokens": 2**14}),
    ],
)
def test_what_is_said_takes_the_place_of_the_protocols_own(options, sent, monkeypatch):
    from pbclient.models.model import resolve

    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    choice = RunConfig(**{"provider": "openai", "model": "gpt-4.1", **options}).model_choice
    assert resolve(choice, lambda said: None).params == sent


def test_open_ended_the_judges_first_word_counts_as_the_example_counts_it(samples, tmp_path):
    """A judge that is cut off and rambles: what the package reads is what is scored."""
    judged = {0: "1,0", 1: "No idea.", 2: "1"}

    def verdict(text: str) -> str:
        return judged[hashlib.sha256(text.encode()).digest()[0] % 3]

    def policy(ask) -> str:
        if ask.model == "judge":
            return verdict(ask.body["messages"][1]["content"])
        return said(*seen(ask))

    def faults(ask, attempt) -> Fault | None:
        if ask.model == "judge":
            return Fault("length", text=policy(ask)) if "1" in policy(ask) else None
        return faulty(ask, attempt)

    async def main():
        async with LoopbackServer(policy, faults=faults, keep_asks=True) as server:
            judge = {"judge_provider": "openai", "judge_model": "judge", "judge_base_url": server.url}
            options = {"mode": "oeg", "judge_price": "1,2", "max_cost": None, **judge}
            result = await evaluate(config(tmp_path, samples, server, **options))
            return result, [each.ask for each in server.served]

    result, asks = asyncio.run(main())
    assert result.exit_code == 0
    assert {ask.max_tokens for ask in asks} == {2**15}
    expected = package_oeg(samples, said, lambda messages: verdict(messages[1]["content"]))
    lines = map(json.loads, (tmp_path / "run" / "episodes.jsonl").read_text().splitlines())
    for line in lines:
        figures = expected[line["dataset"], line["sample"]]["result"]
        assert {name: line["verdict"][name] for name in figures} == figures
        assert len(line["verdict"]["turns"]) == 1
    assert rescore_run(tmp_path / "run") == result.summary
