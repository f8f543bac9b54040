"""Run folders that something has damaged: one sentence or a right result from every reader."""

from __future__ import annotations

import asyncio
import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from loopback_faults import LoopbackServer
from package_loop import ask_by_looks

from pbclient import RunConfig, evaluate
from pbclient.cli.app import main

JUNK = st.sampled_from(
    [None, True, False, 0, -1, 1.5, 10**400, "", "x", "\ud800", [], ["x"], [[]], {}, {"x": 1}, float("nan")]
)
FILES = ("run.json", "episodes.jsonl", "ledger.jsonl")


@pytest.fixture(scope="module")
def whole(samples, tmp_path_factory) -> Path:
    """A run folder of a model, with its cache beside it."""
    place = tmp_path_factory.mktemp("whole")

    async def main() -> None:
        async with LoopbackServer(ask_by_looks) as server:
            config = RunConfig(
                provider="openai", model="glance", base_url=server.url, price="1,2", wire="direct",
                data=samples, datasets=("ROD", "QD"), limit=2, out=place / "run", cache_dir=place / "answers",
            )  # fmt: skip
            await evaluate(config)
            (place / "url").write_text(server.url)

    asyncio.run(main())
    return place


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something can be changed in a JSON value."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def harmed(value: Any, data: st.DataObject) -> Any:
    """The value with one thing in it replaced or taken away."""
    value = copy.deepcopy(value)
    *outer, last = data.draw(st.sampled_from(list(places(value))), label="where")
    inner = value
    for key in outer:
        inner = inner[key]
    if data.draw(st.booleans(), label="replaced"):
        inner[last] = data.draw(JUNK, label="with")
    else:
        del inner[last]
    return value


def harm(folder: Path, data: st.DataObject) -> None:
    """Damage one file of a run folder."""
    file = folder / data.draw(st.sampled_from(FILES), label="file")
    if file.suffix == ".json":
        file.write_text(json.dumps(harmed(json.loads(file.read_text()), data)))
        return
    lines = file.read_text().splitlines()
    number = data.draw(st.integers(0, len(lines) - 1), label="line")
    match data.draw(st.sampled_from(["harm", "cut", "drop", "double", "junk"]), label="how"):
        case "harm":
            lines[number] = json.dumps(harmed(json.loads(lines[number]), data))
        case "cut":
            lines[number] = lines[number][: len(lines[number]) // 2]
        case "drop":
            del lines[number]
        case "double":
            lines.insert(number, lines[number])
        case "junk":
            lines[number] = json.dumps(data.draw(JUNK, label="junk"))
    file.write_text("".join(f"{line}\n" for line in lines))


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # each example is eight commands: none is made smaller
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_no_damage_ends_in_a_traceback(whole, samples, tmp_path, monkeypatch, data):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    place = tmp_path / "place"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(whole, place)
    monkeypatch.chdir(place)
    harm(place / "run", data)
    url = (whole / "url").read_text()
    asks = [
        "--provider", "openai", "--model", "glance", "--base-url", url, "--price", "1,2",
        "--data", samples, "--dataset", "ROD", "--dataset", "QD", "--limit", "2", "--cache-dir", "answers",
        "--out", "run",
    ]  # fmt: skip
    for command in (
        ["score", "run"],
        ["score", "run", "--reward"],
        ["compare", "run", whole / "run"],
        ["runs", "."],
        ["cache", "why", "run", "--cache-dir", "answers"],
        ["judge", "run", "--judge-provider", "openai", "--judge-model", "m", "--judge-price", "0,0"],
        ["estimate", *asks],
        ["run", *asks, "--offline"],
    ):
        result = CliRunner().invoke(main, [str(word) for word in command])
        said = f"{command}: {result.output}"
        assert result.exception is None or isinstance(result.exception, SystemExit), said
        assert result.exit_code in (0, 2, 3, 4), said
        assert "Traceback" not in result.output, said
        if result.exit_code == 2:
            assert len([line for line in result.stderr.splitlines() if line.startswith("Error: ")]) == 1, said
