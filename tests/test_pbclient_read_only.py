"""What somebody else has run and only lets us read: scored, compared, looked up, never changed."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from loopback_faults import LoopbackServer
from package_loop import ask_by_looks
from test_runs_files import as_nobody

from pbclient import RunConfig, evaluate
from pbclient.cli.app import main


@pytest.fixture(params=["closed", "left by a kill"])
def theirs(request, samples) -> Iterator[Path]:
    """A run folder and its answers that nobody may write."""
    place = Path(tempfile.mkdtemp())  # pytest's own folders are closed to others

    async def play() -> None:
        async with LoopbackServer(ask_by_looks) as server:
            await evaluate(
                RunConfig(
                    provider="openai", model="glance", base_url=server.url, price="1,2", wire="direct",
                    data=samples, datasets=("QD",), limit=2, out=place / "run", cache_dir=place / "answers",
                )
            )  # fmt: skip

    asyncio.run(play())
    (place / "run" / "summary.json").unlink()
    with sqlite3.connect(place / "answers" / "cache.db") as left:
        if request.param == "left by a kill":
            left.execute("UPDATE Settings SET value = value")  # the log and its memory lie beside the file
            left.commit()
        for path in [place, *place.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        yield place
    left.close()
    for path in [place, *place.rglob("*")]:
        path.chmod(0o755)
    shutil.rmtree(place)


def invoke(*words: object) -> Result:
    with as_nobody():
        return CliRunner().invoke(main, [str(word) for word in words])


def test_what_may_only_be_read_is_scored_and_looked_up(theirs, monkeypatch):
    monkeypatch.chdir(theirs)
    before = {path: path.stat().st_mtime_ns for path in theirs.rglob("*.json*")}
    for command in (["score", "run"], ["score", "run", "--reward"]):
        assert invoke(*command).exit_code == 0
    for command in (["stats"], ["check"], ["why", "run"]):
        result = invoke("cache", command[0], *command[1:], "--cache-dir", "answers")
        assert (result.exit_code, result.stderr) == (0, ""), result.output
    assert {path: path.stat().st_mtime_ns for path in theirs.rglob("*.json*")} == before


def test_what_may_only_be_read_is_not_changed(theirs, monkeypatch, samples):
    monkeypatch.chdir(theirs)
    result = invoke("cache", "clear", "--yes", "--cache-dir", "answers")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "cannot be used: attempt to write a readonly database" in result.stderr
    options = [
        "--data",
        samples,
        "--provider",
        "openai",
        "--base-url",
        "http://127.0.0.1:1/v1",
        "--model",
        "glance",
    ]
    with as_nobody(), tempfile.TemporaryDirectory() as out:
        asks = [*options, "--price", "1,2", "--cache-dir", "answers", "--out", f"{out}/new"]
        result = CliRunner().invoke(main, ["run", *map(str, asks)])
        assert (result.exit_code, "Permission denied" in result.stderr) == (2, True), result.output
        assert os.listdir(out) == []
