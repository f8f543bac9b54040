"""Scoring a run folder again: the same bytes wherever and whenever it is done."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_pbclient_scores_oeg import judged, unjudged

from pbclient import RunConfig, evaluate
from pbclient.errors import InputError
from pbclient.scores.rescore import rescore_run

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module", params=[{}, {"reference": True}, {"options": "random"}], ids=str)
def played(request, samples, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("played") / "run"
    config = RunConfig(provider="baseline", model="random", data=samples, repeat=2, out=out, **request.param)
    assert asyncio.run(evaluate(config)).exit_code == 0
    return out


@pytest.fixture
def open_ended(tmp_path: Path) -> Path:
    """A run of open-ended answers as it is recorded, with a second judge beside it."""
    folder = tmp_path / "open"
    (folder / "judges").mkdir(parents=True)
    manifest = {"schema": 1, "id": "x", "config": {"mode": "oeg"}, "planned": {"QD": 6}, "settings": {}}
    (folder / "run.json").write_text(json.dumps(manifest))
    own = [judged(1, "0, 1"), judged(2, "what", "1, 0"), judged(3, "what", "ever"), unjudged(4, "refused")]
    write(folder / "episodes.jsonl", own)
    write(folder / "judges" / "second-1a2b.jsonl", [beside(judged(1, "1, 1")), beside(judged(2, "1, 0"))])
    return folder


def beside(line: dict[str, Any]) -> dict[str, Any]:
    return {key: line[key] for key in ("dataset", "sample", "repeat", "outcome", "verdict")}


def write(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def elsewhere(folder: Path, tmp_path: Path) -> bytes:
    """The summary that another process makes of a copy, in another place, locale and hash seed."""
    copy = shutil.copytree(folder, tmp_path / "copy" / "of it")
    (copy / "summary.json").unlink()
    variables = {
        "PYTHONHASHSEED": "4711",
        "LC_ALL": "de_DE.UTF-8",
        "TZ": "Asia/Tokyo",
        "PYTHONPATH": str(ROOT),
    }
    program = "import sys, pathlib, pbclient.scores.rescore as r; r.rescore_run(pathlib.Path(sys.argv[1]))"
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "nothing")}
    subprocess.run(
        [sys.executable, "-c", program, str(copy)],
        check=True,
        cwd=tmp_path,
        env={**os.environ, **variables, **home},
    )
    return (copy / "summary.json").read_bytes()


def test_a_played_run_scores_to_the_same_bytes_here_and_elsewhere(played, tmp_path):
    whole = (played / "summary.json").read_bytes()
    assert elsewhere(played, tmp_path) == whole
    rescore_run(played)
    assert (played / "summary.json").read_bytes() == whole


def test_the_order_of_the_lines_on_disk_moves_no_byte(played):
    whole = (played / "summary.json").read_bytes()
    lines = (played / "episodes.jsonl").read_bytes().splitlines(keepends=True)
    (played / "episodes.jsonl").write_bytes(b"".join(reversed(lines)))
    rescore_run(played)
    assert (played / "summary.json").read_bytes() == whole


def test_neither_a_line_that_is_there_twice_nor_a_torn_one_moves_a_byte(played):
    whole = (played / "summary.json").read_bytes()
    lines = (played / "episodes.jsonl").read_bytes().splitlines(keepends=True)
    before = json.dumps({**json.loads(lines[3]), "outcome": "failed"}).encode() + b"\n"
    (played / "episodes.jsonl").write_bytes(b"".join([before, *lines, *lines[:5], lines[9][:-20]]))
    rescore_run(played)
    assert (played / "summary.json").read_bytes() == whole


def test_an_open_ended_run_scores_to_the_same_bytes_elsewhere(open_ended, tmp_path):
    summary = rescore_run(open_ended)
    assert elsewhere(open_ended, tmp_path) == (open_ended / "summary.json").read_bytes()
    assert summary["datasets"]["QD"]["acc_bounds"] == [16.666667, 83.333333]
    assert summary["judges"]["second-1a2b"]["n"] == 2
    assert summary["judges"]["second-1a2b"]["category"]["raw"] == 100.0
    assert summary["judges"]["second-1a2b"]["suggestion"]["raw"] == 50.0


def test_another_judges_verdict_is_read_again_too(open_ended):
    line = beside(judged(1, "1, 1"))
    line["verdict"]["aggregate"] = 0
    write(open_ended / "judges" / "second-1a2b.jsonl", [line])
    with pytest.raises(InputError, match=r"^Episode QD 1 \(repeat 0\) is recorded with aggregate 0, but"):
        rescore_run(open_ended)
