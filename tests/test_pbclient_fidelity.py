"""Same answers in, same result out as the package's own loop, over real HTTP and both wires."""

from __future__ import annotations

import asyncio
import json
import shutil
import zipfile
from decimal import Decimal
from pathlib import Path

import pytest
from loopback_faults import LoopbackServer
from package_loop import ask_by_looks, by_looks, package_loop

from pbclient import RunConfig, evaluate


@pytest.fixture(scope="module")
def zipped(samples, tmp_path_factory) -> Path:
    """The same data with its images still in archives: one for two data sets, one for the rest."""
    folder = tmp_path_factory.mktemp("zipped")
    for path in samples.glob("*.jsonl"):
        shutil.copy(path, folder)
    folders = sorted(path for path in samples.iterdir() if path.is_dir())
    for name, part in (("first.zip", folders[:2]), ("others.zip", folders[2:])):
        with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for each in part:
                for path in sorted(each.rglob("*")):
                    archive.write(path, path.relative_to(samples))
    return folder


def play(data: Path, out: Path, provider: str, **options) -> tuple[dict, dict]:
    async def main():
        async with LoopbackServer(ask_by_looks) as server:
            url = server.url if provider == "openai" else server.root
            config = RunConfig(
                provider=provider,
                model="glance" if provider == "openai" else "claude-haiku-5-5",
                base_url=url,
                price="1,2",
                max_cost=Decimal(50),
                data=data,
                cache_dir=out / "answers",
                out=out / "run",
                **options,
            )
            return await evaluate(config)

    result = asyncio.run(main())
    assert result.exit_code == 0, result.outcomes
    lines = [json.loads(line) for line in (out / "run" / "episodes.jsonl").read_text().splitlines()]
    return {(line["dataset"], line["sample"]): line for line in lines}, result.summary


@pytest.mark.parametrize(
    ("provider", "wire", "concurrency", "archived", "options"),
    [
        ("openai", "litellm", 64, False, {}),
        ("openai", "direct", 64, False, {}),
        ("openai", "direct", 1, True, {}),
        ("openai", "direct", 64, True, {"hint": True}),
        ("openai", "direct", 64, False, {"reference": True}),
        ("anthropic", "litellm", 64, True, {}),
        ("anthropic", "direct", 64, True, {}),
        ("anthropic", "direct", 64, False, {"hint": True, "reference": True}),
    ],
)
def test_every_episode_equals_the_packages_own(
    samples, zipped, tmp_path, monkeypatch, provider, wire, concurrency, archived, options
):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")
    expected = package_loop(samples, by_looks, **options)
    data = zipped if archived else samples
    episodes, summary = play(data, tmp_path, provider, wire=wire, concurrency=concurrency, **options)
    assert episodes.keys() == expected.keys()
    for which, statistics in expected.items():
        turns = episodes[which]["turns"]
        assert [turn["answer"] for turn in turns] == statistics["generated_answers"], which
        assert [turn["action"] for turn in turns] == statistics["action_evaluations"], which
        assert [turn["category"] for turn in turns] == statistics["category_evaluations"], which
        assert len(turns) == statistics["num_turns"]
        assert episodes[which]["correct"] == statistics["correct_prediction"]
        assert episodes[which]["suggestions"] == statistics["num_turns"] - 1
    for name, figures in summary["datasets"].items():
        ends = [statistics for (dataset, _), statistics in expected.items() if dataset == name]
        acc = 100 * sum(end["correct_prediction"] for end in ends) / len(ends)
        ps = sum(end["num_turns"] - 1 for end in ends) / len(ends)
        assert (figures["acc"], figures["ps"]) == (pytest.approx(acc, abs=1e-6), pytest.approx(ps, abs=1e-6))
