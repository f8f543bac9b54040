"""The report as a file: the same bytes, figures of summary.json, frames in their budget, no places."""

from __future__ import annotations

import gzip
import html
import json
import os
import re
import shutil
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from recorded_run import record
from reported_runs import episode, hostile

from pbclient import RunConfig, run
from pbclient.cli.app import main
from pbclient.errors import InputError
from pbclient.report.html import frames, page
from pbclient.report.html.report import write_report
from pbclient.scores.rescore import rescore_run
from runs import Episodes


class Read(HTMLParser):
    """The islands, the texts and the tables of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.islands: list[Any] = []
        self.frames: dict[str, str] = {}
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self._where = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        kind = dict(attrs)
        self._where = kind.get("id") or kind.get("class") or "" if tag == "script" else tag
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._where = ""

    def handle_data(self, data: str) -> None:
        if self._where == "run":
            self.islands.append(json.loads(gzip.decompress(b64decode(data))))
        elif self._where == "frames":
            self.frames = dict(line.split(" ") for line in data.split("\n"))
        elif self._where in ("td", "th", "bdi") and self.tables and self.tables[-1]:
            self.tables[-1][-1][-1] += data
        self.text += data


def read(path: Path) -> Read:
    return Read(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def played(samples, tmp_path_factory) -> Path:
    """Three baselines on the built-in samples."""
    folder = tmp_path_factory.mktemp("played")
    for name in ("random", "always-ask", "oracle"):
        run(RunConfig(provider="baseline", model=name, data=samples, out=folder / name))
    return folder


def test_equal_runs_give_equal_bytes_wherever_they_lie(played, samples, tmp_path):
    shutil.copytree(played, tmp_path / "elsewhere")
    pages = []
    for folder in (played, tmp_path / "elsewhere"):
        for out in (tmp_path / "one.html", tmp_path / "two.html"):
            write_report([folder / "random", folder / "oracle"], out, data=samples)
            pages.append(out.read_bytes())
    assert len(set(pages)) == 1


def test_the_figures_of_the_page_are_those_of_the_summary(played, samples, tmp_path):
    write_report([played / "random"], tmp_path / "report.html", data=samples)
    summary = rescore_run(played / "random")
    [table] = [
        each
        for each in read(tmp_path / "report.html").tables
        if each[0][0] == "data set" and "bounds" in each[0]
    ]
    rows = {row[0]: row[1:] for row in table[1:]}
    assert rows.keys() == {*summary["datasets"], "average"}
    for name, entry in summary["datasets"].items():
        n, resolved, acc, _, ps = rows[name]
        assert (int(n), int(resolved)) == (entry["n"], entry["resolved"])
        numbers = [float(number) for number in re.findall(r"[\d.]+", acc)]
        assert numbers == [round(value, 1) for value in (entry["acc"], *entry["acc_ci"])]
        numbers = [float(number) for number in re.findall(r"[\d.]+", ps)]
        assert numbers == [round(value, 2) for value in (entry["ps"], *entry["ps_ci"])]


def test_the_island_holds_every_episode_with_its_frames_and_valid_options(played, samples, tmp_path):
    paths = [played / "oracle", played / "always-ask"]
    write_report(paths, tmp_path / "report.html", data=samples)
    found = read(tmp_path / "report.html")
    for path, island in zip(paths, found.islands, strict=True):
        lines = {(line["dataset"], line["sample"]): line for line in Episodes(path / "episodes.jsonl").read()}
        assert {(each["dataset"], each["sample"]) for each in island["episodes"]} == lines.keys()
        for each in island["episodes"]:
            line = lines[each["dataset"], each["sample"]]
            assert [turn["answer"] for turn in each["turns"]] == [turn["answer"] for turn in line["turns"]]
            for turn in each["turns"]:
                assert b64decode(found.frames[turn["frame"]])[8:12] == b"WEBP"
                assert turn["options"][turn["chosen"]] == turn["answer"]
    turns = [[turn for each in island["episodes"] for turn in each["turns"]] for island in found.islands]
    # The oracle chooses what the environment takes, always.
    assert all(turn["chosen"] in turn["right"] for turn in turns[0])
    # Every picture is there once, however often it was shown.
    shown = {turn["frame"] for own in turns for turn in own}
    assert shown == found.frames.keys()


def test_frames_stay_in_their_budget_and_begin_with_flips(played, samples, tmp_path, monkeypatch):
    paths = [played / "random", played / "oracle"]
    monkeypatch.setattr("pbclient.report.html.report.BUDGET", 30_000)
    write_report(paths, tmp_path / "report.html", data=samples)
    found = read(tmp_path / "report.html")
    assert 0 < sum(map(len, found.frames.values())) <= 30_000
    assert "a choice that keeps the page small" in found.text
    one, other = ({(e["dataset"], e["sample"]): e for e in island["episodes"]} for island in found.islands)
    flips = {which for which in one if one[which]["correct"] != other[which]["correct"]}
    first, *_ = frames.wanted([], [[*which, 0] for which in flips])
    assert all("frame" in turn for run in (one, other) for turn in run[first[:2]]["turns"])


def test_images_are_in_the_page_or_beside_it_or_left_out(played, samples, tmp_path):
    sizes = {}
    for images in ("some", "all", "none"):
        out = tmp_path / f"{images}.html"
        sizes[images] = write_report([played / "always-ask"], out, data=samples, images=images).size
        turns = [turn for each in read(out).islands[0]["episodes"] for turn in each["turns"]]
        assert all(("frame" in turn) == (images != "none") for turn in turns)
    assert sizes["none"] < sizes["some"]
    names = {path.stem for path in (tmp_path / "all_files").iterdir()}
    turns = [turn for each in read(tmp_path / "all.html").islands[0]["episodes"] for turn in each["turns"]]
    assert {turn["frame"] for turn in turns} == names
    assert not (tmp_path / "some_files").exists()


def test_frames_that_are_gone_and_data_that_are_others_are_named_on_the_page(played, samples, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(samples, data)
    missing = next(path for path in sorted(data.rglob("*")) if path.suffix in (".png", ".jpg", ".jpeg"))
    missing.unlink()
    written = write_report([played / "always-ask"], tmp_path / "gone.html", data=data)
    assert "could not be read" in read(tmp_path / "gone.html").text
    assert written.notes
    rows = next(data.glob("*ChangeIt*.jsonl"))
    rows.write_bytes(rows.read_bytes().replace(b'"prompt": "', b'"prompt": "Now: '))
    written = write_report([played / "always-ask"], tmp_path / "other.html", data=data)
    found = read(tmp_path / "other.html")
    assert found.frames == {}
    assert "not at hand" in found.text
    assert "--data" in written.notes[0]


SECRETS = ("sk-fake-1234", "/" + "home/alice", "alice", "hunter2")


def test_no_key_place_or_user_name_of_the_run_is_on_the_page(tmp_path):
    home = "/" + "home/alice/models"
    lines = [
        episode("ROD", "1", True),
        {
            **episode("ROD", "2", False),
            "outcome": "failed",
            "error": f"The frame 'x.png' is missing from {home}/data, as a file: see https://alice:hunter2@h.example/?key=sk-fake-1234",
        },
    ]
    more = {
        "endpoint": "https://alice:hunter2@models.example/v1?key=sk-fake-1234",
        "filter": f"{home}/f.json",
    }
    path = record(tmp_path / "run", lines, model=f"{home}/llava-7b", **more)
    write_report([path], tmp_path / "report.html")
    found = read(tmp_path / "report.html")
    everything = (tmp_path / "report.html").read_text(encoding="utf-8") + json.dumps(found.islands)
    for secret in (*SECRETS, str(tmp_path)):
        assert secret not in everything
    assert ".../llava-7b" in found.text
    assert "models.example" in found.text


def test_what_is_hostile_has_no_tag_in_the_page(tmp_path):
    attack = "</script><script>pwned</script>\u202e{{ 7 * 7 }}"
    path = record(tmp_path / "run", hostile(), model=attack, provider="</style>")
    write_report([path], tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.count("<script") == 3  # the run, the frames, ours
    assert "pwned</script>" not in text
    assert html.escape(attack.replace("\u202e", "[U+202E]")) in text
    assert "49" not in re.findall(r"<h1>(.*?)</h1>", text)[0]


@pytest.mark.parametrize("command", ["report", "compare"])
def test_runs_that_have_nothing_in_common_are_refused_in_a_sentence(tmp_path, command):
    one = record(tmp_path / "one", [episode("ROD", "1", True)])
    other = record(tmp_path / "other", [episode("QD", "1", True)])
    result = CliRunner().invoke(main, [command, str(one), str(other)])
    assert result.exit_code == 2
    assert "No episode is resolved in all of these runs" in result.stderr


def test_a_damaged_run_is_refused_and_the_report_that_was_there_stays(tmp_path):
    line = episode("ROD", "1", True)
    path = record(tmp_path / "run", [{**line, "correct": False}])
    (path / "report.html").write_text("before", encoding="utf-8")
    result = CliRunner().invoke(main, ["report", str(path)])
    assert result.exit_code == 2
    assert "Episode ROD 1" in result.stderr
    assert (path / "report.html").read_text(encoding="utf-8") == "before"


def test_more_than_a_browser_opens_is_refused_with_what_helps(played, samples, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "MOST_BYTES", 50_000)
    with pytest.raises(InputError, match="fewer runs at once, or leave the frames out with --images none"):
        write_report([played / "random"], tmp_path / "report.html", data=samples)
    assert not (tmp_path / "report.html").exists()
    with pytest.raises(InputError, match="is a folder"):
        write_report([played / "random"], tmp_path, data=samples)


def test_the_command_names_the_file_and_a_run_names_the_command(played, samples, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PBCLIENT_DATA", str(samples))
    result = CliRunner().invoke(main, ["report", str(played / "random"), str(played / "oracle")])
    assert result.exit_code == 0
    assert re.fullmatch(r"Report: report\.html \(\d\.\d MB\)\n", result.stdout)
    options = ["run", "--provider", "baseline", "--dataset", "QD", "--data", str(samples), "--out", "here"]
    told = CliRunner().invoke(main, options)
    assert told.stderr.splitlines()[-1] == f"To see every episode: pbclient report here --data {samples}"
    made = CliRunner().invoke(main, [*options, "--report"])
    assert made.stderr.splitlines()[-1] == f"Report: {os.path.join('here', 'report.html')}"
    assert read(Path("here/report.html")).frames
    again = CliRunner().invoke(main, options)
    assert again.exit_code == 0


def test_what_a_run_cost_and_asked_stands_at_its_head(tmp_path):
    path = record(tmp_path / "run", [episode("ROD", "1", True)], hint=True, seed=3, limit=5)
    text = read(write_report([path], tmp_path / "report.html").path).text
    for words in (
        "openai run",
        "multiple choice, hint",
        "5 a data set",
        "temperature 0.0, seed 3",
        "1 resolved",
    ):
        assert words in text
