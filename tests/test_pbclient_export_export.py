"""Every export, opened by the program it is for; and what must not leave with one."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest
from click.testing import CliRunner, Result
from huggingface_hub import ModelCardData
from huggingface_hub.repocard import RepoCard
from hypothesis import given
from hypothesis import strategies as st
from loopback_faults import Ask, Fault, LoopbackServer, LoopbackThread
from package_loop import ask_by_looks
from pylatexenc.latex2text import LatexNodes2Text, MacroTextSpec, get_default_latex_context_db
from pylatexenc.latexwalker import LatexWalker
from recorded_run import Line, record, unresolved
from test_pbclient_report_terminal import HOSTILE, obeyed
from test_pbclient_scores_oeg import judged, unjudged

from pbclient.cli.app import main
from pbclient.cli.export import FORMATS
from pbclient.data.samples import write_samples
from pbclient.export.recorded import RecordedRun, model_name, without_places
from pbclient.export.tables import COLUMNS, csv_lines, jsonl
from pbclient.report.latex import escaped

# A Python that has Inspect AI, whose openai is another than LiteLLM's, and Every Eval Ever's schemas.
CONSUMERS = os.environ.get("PBCLIENT_CONSUMERS")
READERS = Path(__file__).with_name("export_readers.py")
WIDE = "\uff1d"  # an equals sign of a Japanese keyboard
KEY = "sk-fake-a1b2c3d4e5f6a7b8"
needs_consumers = pytest.mark.skipif(
    CONSUMERS is None, reason="PBCLIENT_CONSUMERS names no Python with inspect-ai (.ci/run makes one)"
)


def invoke(*args: object) -> Result:
    return CliRunner().invoke(main, ["export", *map(str, args)])


def exported(*args: object) -> str:
    result = invoke(*args)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def read_by(what: str, *paths: object) -> Any:
    """What a reader of tests/export_readers.py makes of these files."""
    done = subprocess.run(
        [str(CONSUMERS), str(READERS), what, *map(str, paths)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def turn(answer: str, **more: Any) -> dict[str, Any]:
    """A turn that named the right category."""
    named = {"image": "rod/1.jpg", "prompt": "What is it?", "options": ["A mug.", "A tree."]}
    usage = {"input_tokens": 9, "output_tokens": 2, "reasoning_tokens": 0}
    judged = {"action": "mismatch", "category": "correct", "cached": False, "cost": 0.001, "saved": 0.0}
    return {**named, "answer": answer, **judged, "usage": usage, "seconds": 0.5, "key": "00ff", **more}


def right(sample: int, *turns: dict[str, Any]) -> Line:
    which = {"dataset": "ROD", "sample": str(sample), "repeat": 0, "outcome": "resolved"}
    return {**which, "correct": True, "suggestions": len(turns) - 1, "turns": list(turns)}


@pytest.fixture(scope="module")
def played(tmp_path_factory) -> Iterator[tuple[Path, Path]]:
    """A run with three refused episodes, and its data: both in folders of a person's name.

    Its server was named with a user and a password, and a key was in the environment.
    """
    home = tmp_path_factory.mktemp("alice") / "alice smith"
    write_samples(home / "data", per_dataset=2)
    asked: list[Ask] = []

    def faults(ask: Ask, attempt: int) -> Fault | None:
        asked.append(ask)
        return Fault("bad_request", message="No: alice:pw@there, /srv/alice/x") if len(asked) <= 3 else None

    with (
        pytest.MonkeyPatch.context() as patch,
        LoopbackThread(LoopbackServer(ask_by_looks, faults=faults)) as on,
    ):
        patch.setenv("OPENAI_API_KEY", KEY)
        url = on.url.replace("http://", "http://alice:pw@")
        options = [
            "--provider",
            "openai",
            "--model",
            "gl",
            "--base-url",
            url,
            "--price",
            "1,2",
            "--wire",
            "direct",
        ]
        options += [
            "--data",
            str(home / "data"),
            "--out",
            str(home / "run"),
            "--cache-dir",
            str(home / "cache"),
        ]
        assert CliRunner().invoke(main, ["run", *options]).exit_code == 4
    return home / "run", home / "data"


def lines_of(run: Path) -> list[Line]:
    return [json.loads(line) for line in (run / "episodes.jsonl").read_text().splitlines()]


def test_a_row_a_turn_as_pandas_reads_it(played, tmp_path):
    run, _ = played
    assert exported(run, "--to", "csv", "--out", tmp_path / "turns.csv") == f"{tmp_path / 'turns.csv'}\n"
    table = pandas.read_csv(tmp_path / "turns.csv", keep_default_na=False, dtype=str)
    lines = pandas.read_json(io.StringIO(exported(run, "--to", "jsonl")), lines=True)
    assert tuple(table.columns) == tuple(lines.columns) == COLUMNS
    episodes = lines_of(run)
    turns = [turn for episode in episodes for turn in episode["turns"]]
    assert len(table) == len(lines) == len(turns) + 3
    assert [row for row in table["answer"] if row] == [turn["answer"] for turn in turns]
    assert list(lines["answer"].dropna()) == [turn["answer"] for turn in turns]
    assert lines["cost"].sum() == pytest.approx(sum(turn["cost"] for turn in turns))
    scored = lines[lines["correct"].notna()].groupby(["dataset", "sample"])["correct"].first()
    assert scored.sum() == sum(episode["correct"] for episode in episodes)
    assert len(scored) == len(episodes) - 3
    assert [json.loads(cell) for cell in table["options"] if cell] == [turn["options"] for turn in turns]


def test_several_runs_stand_in_one_table(played, tmp_path):
    other = record(tmp_path / "other", [right(1, turn("A mug."))])
    rows = [json.loads(line) for line in exported(played[0], other, "--to", "jsonl").splitlines()]
    assert len({row["run"] for row in rows}) == 2
    assert rows[-1]["run"] == "other"


@given(st.text(), st.sampled_from(["", "=1+1", "+1", "-1", "@A1", "\t=1", "\r=1", "\n=1", WIDE, HOSTILE]))
def test_no_cell_is_a_formula_or_a_command_and_json_lines_lose_nothing(text, start):
    run = Written([right(1, turn(f"{start}{text}"))])
    [_, cells] = csv.reader(io.StringIO("\n".join(csv_lines([run])), newline=""))
    answer = cells[COLUMNS.index("answer")]
    assert not answer.startswith(("=", "+", "-", "@", "\t", "\r", "\n", WIDE))
    assert obeyed("".join(cells)) == []
    [line] = jsonl([run])
    assert line.isascii()
    assert json.loads(line)["answer"] == f"{start}{text}"


class Written(RecordedRun):
    """A run of these episodes that lies nowhere."""

    id, created, provider, model, mode, condition, judge = "1", "2026-01-01", "p", "m", "mcqa", "", None

    def __init__(self, episodes: list[Line]) -> None:
        object.__setattr__(self, "lines", episodes)

    def episodes(self) -> Iterator[Line]:
        return iter(self.lines)


def test_numbers_stay_numbers_and_half_a_pair_becomes_valid(tmp_path):
    run = record(tmp_path / "run", [right(1, turn("half \ud800", cost=-0.5))])
    [row] = [json.loads(line) for line in exported(run, "--to", "jsonl").splitlines()]
    assert (row["answer"], row["cost"]) == ("half \ufffd", -0.5)
    [cells] = list(csv.DictReader(io.StringIO(exported(run, "--to", "csv"))))
    assert (cells["cost"], cells["sample"], cells["correct"]) == ("-0.5", "1", "true")


def printed(text: str) -> str:
    """What TeX prints; its parser's table lacks these four."""
    missing = {"textbar": "|", "textless": "<", "textgreater": ">", "textasciicircum": "^"}
    context = get_default_latex_context_db()
    specs = [MacroTextSpec(name, letter) for name, letter in missing.items()]
    context.add_context_category("ours", macros=specs, prepend=True)
    nodes, _, _ = LatexWalker(text, tolerant_parsing=False).get_latex_nodes()
    return str(LatexNodes2Text(latex_context=context).nodelist_to_text(nodes))


def test_tex_prints_what_the_table_says(played, tmp_path):
    model = r"50%_of $x$ {a} & b\c ~^<>|#"
    named = record(tmp_path / "r", [right(1, turn("A mug."))], model=model)
    for run, name in ((played[0], "gl"), (named, model)):
        text = exported(run, "--to", "latex")
        assert f"{name} (openai) on ProactiveBench, multiple choice." in printed(text)
        assert "acc % [95 % CI]" in printed(text)
        assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
        rows = [line for line in text.splitlines() if line.endswith(r"\\")]
        assert {line.count("&") - line.count(r"\&") for line in rows} == {5}


@given(st.text(st.sampled_from("aZ09é " + r"\{}$&#_%~^<>|[]()*+=/:;,.@-")))
def test_tex_prints_every_text_as_it_is(text):
    assert printed(f"{{{escaped(text)}}}") == text


def test_a_model_card_takes_the_results(played, tmp_path):
    for model in ("gl", 'a "quoted": [model] # \U0001f600'):
        run = played[0] if model == "gl" else record(tmp_path / "r", [right(1, turn("x"))], model=model)
        card = RepoCard(f"---\n{exported(run, '--to', 'hf')}---\n# A model\n", ignore_metadata_errors=False)
        data = ModelCardData(**card.data.to_dict())
        assert data.model_name == model
        summary = RecordedRun.read(run).summary()
        found = {(each.dataset_name, each.metric_type): each.metric_value for each in data.eval_results}
        for name, entry in [*summary["datasets"].items(), ("average", summary["average"])]:
            assert found[f"ProactiveBench {name}", "accuracy"] == entry["acc"]
            assert found[f"ProactiveBench {name}", "proactive_suggestions"] == entry["ps"]


@needs_consumers
@pytest.mark.slow
def test_inspect_ai_reads_its_log(played, tmp_path):
    run, data = played
    path = tmp_path / "log.eval"
    exported(run, "--to", "inspect", "--out", path, "--data", data)
    found = read_by("inspect", path)
    episodes = lines_of(run)
    assert found["samples"] == found["summaries"] == len(episodes)
    assert found["status"] == "success"
    assert found["model"] == "openai/gl"
    assert found["metrics"]["acc"] == RecordedRun.read(run).summary()["average"]["acc"]
    scored = [episode for episode in episodes if episode["outcome"] == "resolved"]
    right_ones = sum(episode["correct"] for episode in scored)
    assert found["scores"] == {"C": right_ones, "I": len(scored) - right_ones}
    assert found["errors"] == len(episodes) - len(scored) == 3
    assert found["images"] == sum(len(episode["turns"]) for episode in episodes)
    answers = sorted(turn["answer"] for episode in episodes for turn in episode["turns"])
    assert sorted(found["answers"]) == answers
    assert found["rewritten"] == len(episodes)


@needs_consumers
@pytest.mark.slow
def test_the_schemas_of_every_eval_ever_take_what_is_written(played, tmp_path):
    run, _ = played
    figures, episodes = map(Path, exported(run, "--to", "eee", "--out", tmp_path / "eee").split("\n")[:2])
    assert read_by("eee", figures, episodes) == []
    rows = [json.loads(line) for line in episodes.read_text().splitlines()]
    resolved = [line for line in lines_of(run) if line["outcome"] == "resolved"]
    assert [row["evaluation"]["is_correct"] for row in rows] == [line["correct"] for line in resolved]
    whole = json.loads(figures.read_text())
    scores = {each["evaluation_result_id"]: each for each in whole["evaluation_results"]}
    assert (
        scores["average/acc"]["score_details"]["score"] == RecordedRun.read(run).summary()["average"]["acc"]
    )
    assert scores["average/acc"]["score_details"]["details"]["without_score"] == "3"
    assert {row["evaluation_result_id"] for row in rows} <= scores.keys()


def everything(run: Path, folder: Path, *options: object) -> dict[str, bytes]:
    """The bytes of a run in every format; those of an Inspect log without their compression."""
    found: dict[str, bytes] = {}
    for to in FORMATS:
        out = (
            folder / to / "x.eval" if to == "inspect" else folder / to if to == "eee" else folder / f"x.{to}"
        )
        out.parent.mkdir(parents=True, exist_ok=True)
        exported(run, "--to", to, "--out", out, *(options if to == "inspect" else ()))
        files = sorted(out.iterdir()) if to == "eee" else [out]
        found[to] = b"".join(file.read_bytes() for file in files)
    with zipfile.ZipFile(folder / "inspect" / "x.eval") as log:
        found["inspect, unpacked"] = b"".join(log.read(name) for name in log.namelist())
    return found


def test_no_key_place_or_person_leaves_with_an_export(played, tmp_path):
    run, data = played
    path = "/srv/alice smith/models/q.gguf"
    errors = [
        f"Frame {path} is missing: put it back.", "http://alice:pw@host/v1 cannot be reached.",
        "C:\\Users\\alice\\x.jpg cannot be read.", "~/alice/x cannot be read: 'No such file'.",
    ]  # fmt: skip
    lines = [{**unresolved("ROD", number, "failed"), "error": error} for number, error in enumerate(errors)]
    lines.append(right(9, turn("A mug.", model=path)))
    params = {"user": "alice", "metadata": {"by": "alice"}, "temperature": 0.5}
    endpoint = "http://alice:pw@host/v1"
    local = record(
        tmp_path / "alice" / "r", lines, provider="llamacpp", model=path, params=params, endpoint=endpoint
    )
    manifest = json.loads((local / "run.json").read_text())
    (local / "run.json").write_text(json.dumps({**manifest, "id": "1234"}))
    theirs = everything(run, tmp_path / "1", "--data", data)
    ours = everything(local, tmp_path / "2", "--no-images")
    for exports in (theirs, ours):
        for to, content in exports.items():
            for secret in (b"alice", b"pw@", KEY.encode(), b"/srv", b"Users", str(tmp_path).encode()):
                assert secret not in content, (to, secret, content[max(content.find(secret) - 80, 0) :][:200])
    assert b"q.gguf" in ours["jsonl"]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Frame /srv/al b/c.jpg is missing: 1/2.", "Frame c.jpg is missing: 1/2."),
        ("openai (gl) answered 400: no such thing", "openai (gl) answered 400: no such thing"),
        ("Ask https://u:p@h/v1 again", "Ask https://h/v1 again"),
        ("rod/1.jpg and 3/4 stay", "rod/1.jpg and 3/4 stay"),
    ],
)
def test_a_sentence_keeps_all_but_places(said, kept):
    assert without_places(said) == kept


def test_a_model_is_named_without_its_folder():
    assert model_name("/srv/a b/q.gguf") == "q.gguf"
    assert model_name("~/models/q/") == "q"
    assert model_name("org/model") == "org/model"


def test_the_same_run_gives_the_same_bytes(played, tmp_path):
    run, data = played
    once, again = (everything(run, tmp_path / number, "--data", data) for number in "12")
    assert once == again


@pytest.mark.parametrize("lines", [[], [unresolved("QD", 1)]], ids=["empty", "nothing resolved"])
def test_an_empty_run_has_every_export(tmp_path, lines):
    run = record(tmp_path / "run", lines)
    assert len(everything(run, tmp_path, "--no-images")["csv"].splitlines()) == 1 + len(lines)


def test_an_open_ended_run_has_every_export_and_what_is_not_judged_has_no_score(tmp_path):
    lines = [judged(1, "0, 1"), unjudged(2), judged(3, "1, 0")]
    run = record(tmp_path / "run", lines, mode="oeg", judge={"provider": "openai", "model": "j"})
    found = everything(run, tmp_path, "--no-images")
    rows = [json.loads(line) for line in found["jsonl"].splitlines()]
    assert [(row["correct"], row["category_prediction"]) for row in rows] == [
        (True, 1),
        (None, None),
        (False, 0),
    ]
    assert {row["judge"] for row in rows} == {"j"}
    assert rb"agg \% [95 \% CI]" in found["latex"]
    assert b"Aggregate (%)" in found["hf"]
    with zipfile.ZipFile(tmp_path / "inspect" / "x.eval") as log:
        first, second, _ = json.loads(log.read("summaries.json"))
    assert first["scores"]["proactivebench"]["value"] == "C"
    assert (second["scores"], second["error"]) == ({}, "No score: not judged.")


def test_a_torn_line_is_passed_over_and_a_contradiction_is_one_sentence(tmp_path):
    run = record(tmp_path / "run", [right(1, turn("A mug."))])
    with (run / "episodes.jsonl").open("a") as file:
        file.write('{"dataset":"ROD","sam')
    assert len(everything(run, tmp_path, "--no-images")["csv"].splitlines()) == 2
    wrong = record(tmp_path / "wrong", [{**right(1, turn("A mug.")), "correct": False}])
    for to in FORMATS:
        result = invoke(wrong, "--to", to, "--out", tmp_path / f"w.{to}")
        assert result.exit_code == 2, to
        assert "Error: Episode ROD 1 (repeat 0) is recorded with correct False" in result.stderr
    assert sorted(path.name for path in tmp_path.glob("w.*") if path.is_file()) == []


def test_what_cannot_be_exported_is_one_sentence_and_a_run_is_never_written_over(tmp_path):
    run = record(tmp_path / "run", [right(1, turn("A mug."))])
    before = (run / "episodes.jsonl").read_bytes()
    for args, says in [
        ([tmp_path, "--to", "csv"], "is not a run folder"),
        (["--to", "csv"], "Nothing is named"),
        ([run, run, "--to", "latex"], "takes one run"),
        ([run, "--to", "jsonl", "--out", run / "episodes.jsonl"], "belongs to a run"),
        ([run, "--to", "csv", "--out", run], "is a folder"),
        ([run, "--to", "eee", "--out", run / "run.json"], "is a file"),
        ([run, "--to", "inspect", "--out", run / "run.json"], "is a file"),
        ([run, "--to", "csv", "--out", tmp_path / "no" / "x.csv"], "x.csv"),
    ]:
        result = invoke(*args)
        assert result.exit_code == 2, (args, result.output)
        assert says in result.stderr
        assert result.stdout == ""
    assert (run / "episodes.jsonl").read_bytes() == before


def test_a_frame_that_is_gone_is_named(tmp_path):
    run = record(tmp_path / "run", [right(1, turn("A mug."))])
    (tmp_path / "data").mkdir()
    said = exported(run, "--to", "inspect", "--out", tmp_path / "x.eval", "--data", tmp_path / "data")
    assert "1 frames are not in" in said
    with zipfile.ZipFile(tmp_path / "x.eval") as log:
        assert b"frame rod/1.jpg is not in the data folder" in log.read("samples/ROD-1_epoch_1.json")


@pytest.mark.slow
@pytest.mark.parametrize("to", ["csv", "jsonl", "inspect", "eee"])
def test_a_large_run_is_not_held_in_memory(tmp_path, to):
    run = record(tmp_path / "run", (right(number, turn("x" * 200_000)) for number in range(100)))
    tracemalloc.start()
    try:
        exported(run, "--to", to, "--out", tmp_path / ("e" if to == "eee" else "x.eval"), *["--no-images"])
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_hostile_text_reaches_no_terminal_by_an_export(tmp_path):
    run = record(tmp_path / "run", [right(1, turn(HOSTILE, image=HOSTILE))], model=f"m{HOSTILE}")
    for to in ("csv", "jsonl", "latex", "hf"):
        assert obeyed(exported(run, "--to", to)) == []
