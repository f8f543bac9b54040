"""Open-ended answers and their judge, over real HTTP, against the package's own example."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import shutil
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
from loopback_faults import Fault, LoopbackServer
from package_oeg import HINT, package_oeg
from PIL import Image

from pbclient import RunConfig, evaluate
from pbclient.benchmark.open_ended import hint, subset
from pbclient.benchmark.package import DATA_SETS, kept_ids
from pbclient.calls.retrying import RetryPolicy
from pbclient.config import JudgeConfig
from pbclient.errors import InputError
from pbclient.scheduler.rejudge import rejudge
from pbclient.scores.rescore import rescore_run

FORMS = (
    "{list}",
    "Thinking.\n\n{spaced}\n",
    "<think>1,1,1,1</think>\n{list}",
    "So: {list}.",
    "1",
    "No idea.",
    "{list},1",
)


def number(*texts: str) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(texts).encode()).digest()[:4])


def answer(prompt: str, picture: Image.Image) -> str:
    seen = hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).hexdigest()
    return f"I would {['wait', 'move the camera', 'say it is a cat'][number(prompt, seen) % 3]}: {seen[:6]}."


def verdict(messages: list[dict[str, str]]) -> str:
    """A judge that speaks in every form judges do, and sometimes says nothing of use."""
    (listed,) = [line for line in messages[1]["content"].splitlines() if line.startswith("['")]
    seen = number(messages[1]["content"])
    values = [str(seen >> place & 1) for place in range(len(json.loads(listed.replace("'", '"'))))]
    return FORMS[seen % len(FORMS)].format(list=",".join(values), spaced=" , ".join(values))


def in_turn(ask) -> str:
    """The model and the judge behind one server, told apart by their names."""
    if ask.model == "judge":
        messages = [{"role": each["role"], "content": each["content"]} for each in ask.body["messages"]]
        return verdict(messages)
    ((_, data),) = ask.images
    return answer(ask.question, Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.fixture(scope="module")
def many(samples, tmp_path_factory) -> Path:
    """Three data sets of more rows than the example takes; the pictures are those of the samples."""
    folder = tmp_path_factory.mktemp("many")
    for dataset in DATA_SETS:
        lines = (samples / dataset.file_name).read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        rows = [row for row in rows if row.get("strong_occlusions") is not False]
        ids = sorted(kept_ids(dataset.acronym), key=str)[:130]
        with (folder / dataset.file_name).open("w", encoding="utf-8") as file:
            for place, which in enumerate(ids):
                file.write(json.dumps({**rows[place % len(rows)], "id": which}) + "\n")
    for path in samples.iterdir():
        if path.is_dir():
            shutil.copytree(path, folder / path.name, copy_function=os.link)
    return folder


def config(folder: Path, data: Path, server: LoopbackServer, **options) -> RunConfig:
    fields = {
        "provider": "openai",
        "model": "glance",
        "base_url": server.url,
        "price": "1,2",
        "max_cost": Decimal(50),
        "mode": "oeg",
        "judge_provider": "openai",
        "judge_model": "judge",
        "judge_base_url": server.url,
        "judge_price": "3,4",
        "data": data,
        "cache_dir": folder / "answers",
        "out": folder / "run",
    }
    if options.get("judge"):
        fields = {name: value for name, value in fields.items() if not name.startswith("judge_")}
    return RunConfig(**{**fields, **options})


def lines_of(out: Path) -> dict[tuple[str, str], dict]:
    lines = map(json.loads, (out / "run" / "episodes.jsonl").read_text().splitlines())
    return {(line["dataset"], line["sample"]): line for line in lines}


@pytest.mark.parametrize(("datasets", "options"), [(("CIT", "IN-C"), {}), ((), {"hint": True, "limit": 12})])
def test_every_sample_equals_the_packages_example(many, tmp_path, datasets, options):
    async def main():
        async with LoopbackServer(in_turn, keep_asks=True) as server:
            result = await evaluate(config(tmp_path, many, server, datasets=datasets, **options))
            again = await evaluate(
                config(
                    tmp_path,
                    many,
                    server,
                    datasets=datasets,
                    **options,
                    max_cost=None,
                    out=tmp_path / "again",
                )
            )
            return result, again, [each.ask for each in server.served if each.ask.model == "judge"]

    result, again, asked = asyncio.run(main())
    expected = package_oeg(
        many, answer, verdict, hint=options.get("hint", False), count=options.get("limit", 100)
    )
    expected = {which: each for which, each in expected.items() if not datasets or which[0] in datasets}
    lines = lines_of(tmp_path)
    assert lines.keys() == expected.keys()
    for which, sample in expected.items():
        (turn,) = lines[which]["turns"]
        assert (turn["prompt"], turn["answer"]) == (sample["prompt"], sample["answer"])
        assert lines[which]["verdict"]["official"] == sample["result"], which
    messages = {json.dumps(each.body["messages"], sort_keys=True) for each in asked}
    assert messages == {json.dumps(sample["messages"], sort_keys=True) for sample in expected.values()}
    for name, figures in result.summary["datasets"].items():
        results = [sample["result"] for (dataset, _), sample in expected.items() if dataset == name]
        official = {
            short: pytest.approx(100 * sum(each[name] for each in results) / len(results), abs=1e-6)
            for short, name in (
                ("acc", "category_prediction"),
                ("ps", "proactive_suggestion"),
                ("agg", "aggregate"),
            )
        }
        assert figures["official"] == official
    assert again.summary["calls"]["wire"] == 0
    assert again.outcomes == result.outcomes


def test_only_verdicts_that_parse_are_scores(many, tmp_path):
    async def main():
        async with LoopbackServer(in_turn, keep_asks=True) as server:
            result = await evaluate(config(tmp_path, many, server, datasets=("ROD", "COCO")))
            return result, Counter(each.ask.text for each in server.served if each.ask.model == "judge")

    result, asked = asyncio.run(main())
    assert result.exit_code == 4
    for line in lines_of(tmp_path).values():
        assert (line["outcome"] == "judge_failed") == (line["verdict"]["aggregate"] is None)
        # Without a verdict it is asked once more, as another draw, which this judge answers alike.
        assert len(line["verdict"]["turns"]) == (2 if line["outcome"] == "judge_failed" else 1)
    assert set(asked.values()) == {1, 2}
    assert result.outcomes["judge_failed"] == sum(
        line["outcome"] == "judge_failed" for line in lines_of(tmp_path).values()
    )


BAD = {
    "times out": ("hang", None),
    "refuses": ("refusal", None),
    "is filtered": ("content_filter", None),
    "rambles": (None, "Well, who can say what this is."),
    "counts wrong": (None, "1,0,1,0,1,0,1"),
    "is cut off": ("length", None),
    "is rejected": ("bad_request", None),
}


@pytest.mark.parametrize("how", BAD)
def test_a_judge_that_fails_is_counted_and_repaired_without_touching_the_rest(
    samples, tmp_path, monkeypatch, how
):
    # Two attempts and next to no wait between them.
    monkeypatch.setattr(RetryPolicy.__init__, "__defaults__", (2, 2, 0.01, 0.02, 900.0))
    kind, said = BAD[how]
    bad = True

    def policy(ask) -> str:
        if ask.model != "judge":
            return in_turn(ask)
        if bad and said and number(ask.text) % 2:
            return said
        return "1,1" if "ove the" in ask.text.split("### Correct Answers")[1] else "1"

    def faults(ask, attempt) -> Fault | None:
        failing = bad and kind and ask.model == "judge" and number(ask.text) % 2
        return Fault(kind) if failing else None

    async def main():
        nonlocal bad
        async with LoopbackServer(policy, faults=faults, keep_asks=True) as server:
            options = (
                {"datasets": ("ROD", "MVP-N"), "timeout": 0.3}
                if kind == "hang"
                else {"datasets": ("ROD", "MVP-N")}
            )
            first = await evaluate(config(tmp_path, samples, server, **options))
            before = (tmp_path / "run" / "episodes.jsonl").read_bytes().splitlines()
            bad, calls = False, server.calls
            second = await rejudge(
                tmp_path / "run",
                JudgeConfig(only_failed=True, judge_price="3,4", cache_dir=tmp_path / "answers"),
            )
            return first, before, second, server.calls - calls

    first, before, second, calls = asyncio.run(main())
    failed = first.outcomes["judge_failed"]
    assert failed
    assert first.exit_code == 4
    assert second.exit_code == 0
    assert second.planned == failed
    assert calls <= failed
    after = (tmp_path / "run" / "episodes.jsonl").read_bytes().splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == failed
    assert all(json.loads(old)["outcome"] == "judge_failed" for old, _ in changed)
    assert all(json.loads(new)["outcome"] == "resolved" for _, new in changed)
    summary = (tmp_path / "run" / "summary.json").read_bytes()
    rescore_run(tmp_path / "run")
    assert (tmp_path / "run" / "summary.json").read_bytes() == summary


def test_recorded_answers_are_judged_later_and_by_others_side_by_side(samples, tmp_path):
    judges = {"judge": lambda ask: "1,0", "other": lambda ask: "0,0" if number(ask.text) % 2 else "1,0"}

    async def main():
        async with LoopbackServer(lambda ask: judges.get(ask.model, in_turn)(ask), keep_asks=True) as server:
            recorded = await evaluate(
                config(tmp_path, samples, server, judge="none", datasets=("ROD", "MVP-N"))
            )
            calls = server.calls
            found = []
            for name in ("judge", "other", "other"):
                options = JudgeConfig(
                    judge_provider="openai",
                    judge_model=name,
                    judge_base_url=server.url,
                    judge_price="3,4",
                    cache_dir=tmp_path / "answers",
                )
                found.append(await rejudge(tmp_path / "run", options))
            return recorded, found, [each.ask.model for each in list(server.served)[calls:]]

    recorded, found, asked = asyncio.run(main())
    assert recorded.exit_code == 0
    assert recorded.summary["average"]["acc"] is None
    answers = sum(recorded.outcomes.values())
    assert Counter(asked)["glance"] == 0
    # Equal messages are judged once, and not again the second time.
    assert Counter(asked)["other"] <= answers
    own, other, again = (each.summary for each in found)
    assert own["average"]["ps"] == 100
    assert all(line["verdict"]["judge"] == "openai/judge" for line in lines_of(tmp_path).values())
    assert other["average"] == own["average"]
    (agreement,) = other["judges"].values()
    assert agreement["average"]["ps"] < own["average"]["ps"]
    assert 0 < agreement["raw"] < 100
    assert agreement == next(iter(again["judges"].values()))
    assert len(list((tmp_path / "run" / "judges").iterdir())) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "oeg"}, "--judge-provider"),
        ({"mode": "oeg", "judge": "none", "judge_model": "x"}, "--judge-model"),
        ({"judge_provider": "openai"}, "--mode oeg"),
        ({"judge": "none"}, "--mode oeg"),
        ({"mode": "both"}, "mcqa or oeg"),
        ({"judge": "openai", "mode": "oeg"}, "--judge-provider"),
    ],
)
def test_options_that_contradict_each_other_are_refused_in_a_sentence(options, words):
    with pytest.raises(InputError, match=words):
        RunConfig(provider="openai", **options)


def test_the_judge_counts_against_the_limit(samples, tmp_path):
    async def main():
        bill = {"cost": lambda ask, usage: 0.01 if ask.model == "judge" else 0.001, "tells_cost": True}
        async with LoopbackServer(in_turn, **bill) as server:
            options = {"price": "1,1", "judge_price": "1,1", "judge_max_tokens": 10_000, "max_tokens": 100}
            result = await evaluate(config(tmp_path, samples, server, max_cost=Decimal("0.2"), **options))
            return result, server.total_cost

    result, billed = asyncio.run(main())
    assert result.exit_code == 3
    assert billed <= 0.2
    judged = [line for line in lines_of(tmp_path).values() if line["outcome"] in ("resolved", "judge_failed")]
    assert judged
    assert result.summary["cost"]["settled"] == pytest.approx(billed)


def test_the_hint_and_the_subset_are_the_packages():
    assert hint() == HINT
    assert len(subset(range(500), None)) == 100
    assert subset(range(500), 12) == subset(range(500), None)[:12]
