"""The command line as people and scripts meet it: every bad input in one sentence, every command once."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from loopback_faults import LoopbackServer, LoopbackThread
from package_loop import ask_by_looks

from pbclient.cli.app import main
from pbclient.cli.live import ending
from pbclient.option import GROUPS
from pbclient.scheduler.evaluate import RunResult
from providers.catalog import names as catalog

ROOT = Path(__file__).resolve().parent.parent
KEY = "sk-fake-5f0c7a91e2d34b68"
# Nobody listens there: should a bad input get so far as to ask, nothing leaves this machine.
NOWHERE = "http://127.0.0.1:9/v1"
TEXT_ONLY = "o3-mini"
OPENAI = ["run", "--provider", "openai", "--base-url", NOWHERE, "--price", "1,2"]
BASELINE = ["run", "--provider", "baseline"]


def invoke(*args: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, [str(each) for each in args], input=stdin)


@pytest.fixture
def place(tmp_path, monkeypatch, samples) -> Path:
    """An empty current folder; the data and a key are in the environment."""
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PBCLIENT_DATA", str(samples))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(place: Path, *args: object, says: tuple[str, ...] = ()) -> None:
    """Exit code 2, one sentence that says what it should, and nothing else has happened."""
    before = files(place)
    result = invoke(*args)
    assert result.exit_code == 2, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    [sentence] = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert result.stderr.splitlines()[-1] == sentence
    assert len(sentence) < 500
    for each in says:
        assert each in sentence
    assert "Traceback" not in result.stderr
    assert KEY not in result.stderr
    assert files(place) == before


BAD_OPTIONS = {
    "no provider": (["run"], "--provider"),
    "an unknown provider": (["run", "--provider", "opanai"], "did you mean openai"),
    "an unknown provider of a model": (["run", "--provider", "opanai", "--model", "x"], "mean openai"),
    "an unknown command": (["jump"], "jump"),
    "an unknown option": ([*BASELINE, "--speed", "9"], "--speed"),
    "an unknown baseline": ([*BASELINE, "--model", "lucky"], "always-ask"),
    "a model without a price": (["run", "--provider", "openai", "--model", "own-1"], "--price"),
    "a model that does not see": ([*OPENAI, "--model", TEXT_ONLY], "does not take images"),
    "an unknown data set": ([*BASELINE, "--dataset", "CIFAR"], "choose from ROD"),
    "a parameter without a value": ([*OPENAI, "--param", "top_p"], "NAME=JSON"),
    "a parameter without a name": ([*OPENAI, "--param", "=1"], "NAME=JSON"),
    "a parameter that is not JSON": ([*OPENAI, "--param", "stop=END"], "stop='\"END\"'"),
    "a parameter that is NaN": ([*OPENAI, "--param", "top_p=NaN"], "JSON"),
    "a parameter that is infinite": ([*OPENAI, "--param", "top_p=1e999"], "JSON"),
    "a parameter with half a surrogate": ([*OPENAI, "--param", 'user="\\ud800"'], "JSON"),
    "a parameter nested too deeply": ([*OPENAI, "--param", "x=" + "[" * 99_999], "JSON"),
    "a parameter that has a flag": ([*OPENAI, "--param", "max_tokens=9"], "--max-tokens"),
    "a parameter that is ours": ([*OPENAI, "--param", f'api_key="{KEY}"'], "cannot be set"),
    "a price of one number": ([*OPENAI[:-1], "3"], "IN,OUT"),
    "a price of 400 digits": ([*OPENAI[:-1], f"{'9' * 400},1"], "IN,OUT"),
    "a price in words": ([*OPENAI[:-1], "cheap,dear"], "IN,OUT"),
    "a negative price": ([*OPENAI[:-1], "-1,2"], "IN,OUT"),
    "a limit in words": ([*OPENAI, "--max-cost", "little"], "--max-cost"),
    "a negative limit": ([*OPENAI, "--max-cost", "-1"], "--max-cost"),
    "a limit that is no number": ([*OPENAI, "--max-cost", "nan"], "--max-cost"),
    "a limit that signals": ([*OPENAI, "--max-cost", "snan"], "--max-cost"),
    "a limit without end": ([*OPENAI, "--max-cost", "inf"], "--max-cost"),
    "a limit beyond all money": ([*OPENAI, "--max-cost", "1e999999999"], "--max-cost"),
    "no samples": ([*BASELINE, "--limit", "0"], "--limit"),
    "half a sample": ([*BASELINE, "--limit", "0.5"], "--limit"),
    "no concurrency": ([*BASELINE, "--concurrency", "0"], "--concurrency"),
    "no repeat": ([*BASELINE, "--repeat", "0"], "--repeat"),
    "no requests a minute": ([*OPENAI, "--rpm", "0"], "--rpm"),
    "no tokens a minute": ([*OPENAI, "--tpm", "-5"], "--tpm"),
    "no output": ([*OPENAI, "--max-tokens", "0"], "--max-tokens"),
    "no image tokens": ([*OPENAI, "--image-tokens", "0"], "--image-tokens"),
    "a deadline in the past": ([*OPENAI, "--timeout", "-3"], "--timeout"),
    "a deadline that is no number": ([*OPENAI, "--timeout", "nan"], "--timeout"),
    "a temperature below zero": ([*OPENAI, "--temperature", "-0.1"], "--temperature"),
    "a seed in words": ([*BASELINE, "--seed", "x"], "--seed"),
    "offline without a cache": ([*OPENAI, "--offline", "--no-cache"], "--offline"),
    "a base URL without a scheme": ([*OPENAI[:4], "models.example/v1"], "--base-url"),
    "a base URL of another scheme": ([*OPENAI[:4], "ftp://models.example"], "--base-url"),
    "a base URL with a broken host": ([*OPENAI[:4], "http://[::1"], "--base-url"),
    "a base URL with a broken port": ([*OPENAI[:4], "http://models.example:99999/v1"], "--base-url"),
    "a base URL with a space": ([*OPENAI[:4], "http://x y/"], "--base-url"),
    "a filter that never ends": ([*BASELINE, "--filter", "/dev/zero"], "is no file"),
    "an empty model": ([*OPENAI, "--model", ""], "--model"),
    "an empty provider": (["run", "--provider", ""], "--provider"),
    "an empty base URL": ([*OPENAI[:4], ""], "--base-url"),
    "an empty data folder": ([*BASELINE, "--data", ""], "--data"),
    "an empty run folder": ([*BASELINE, "--out", ""], "--out"),
    "no data folder": ([*BASELINE, "--data", "nowhere"], "no data folder nowhere"),
    "an estimate without a price": (["estimate", "--provider", "openai", "--model", "own-1"], "--price"),
    "an estimate of nothing": (["estimate", "--provider", "baseline", "--data", "nowhere"], "nowhere"),
    "a score of nothing": (["score", "nowhere"], "not a run folder"),
    "a score of no folder": (["score"], "RUN"),
    "no cache": (["cache", "stats", "--cache-dir", "nowhere"], "no cache at nowhere"),
    "no cache to check": (["cache", "check", "--cache-dir", "nowhere"], "no cache at nowhere"),
    "no cache to clear": (["cache", "clear", "--yes", "--cache-dir", "nowhere"], "no cache at nowhere"),
    "no cache to ask": (["cache", "why", "00", "--cache-dir", "nowhere"], "no cache at nowhere"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_a_bad_option_is_one_sentence(place, name):
    args, says = BAD_OPTIONS[name]
    refused(place, *args, says=(says,))


WITH_KEYS = [entry for entry in catalog.HOSTED if entry.key_variables]


@pytest.mark.parametrize("entry", WITH_KEYS, ids=lambda entry: entry.name)
def test_a_missing_key_is_said_before_anything_else_is_looked_at(place, monkeypatch, entry):
    monkeypatch.delenv("OPENAI_API_KEY")
    everything_wrong = ["--model", "own-1", "--data", "nowhere", "--out", "new", "--price", "x"]
    result = invoke("run", "--provider", entry.name, *everything_wrong)
    assert result.exit_code == 2
    assert result.output.count("\n") == 1
    assert all(variable in result.stderr for variable in entry.key_variables)
    assert files(place) == {}


def test_a_missing_key_of_a_provider_that_only_litellm_knows_is_named(place):
    refused(place, "run", "--provider", "cerebras", "--model", "m", says=("CEREBRAS_API_KEY",))


def test_a_broken_base_url_in_the_environment_is_refused(place, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "models.example")
    refused(place, "run", "--provider", "openai", says=("--base-url",))


def spoiled(folder: Path, samples: Path, change) -> Path:
    """A data folder with one file whose first row `change` has gone over."""
    folder.mkdir(parents=True)
    name = "QuickDraw_preprocessed.jsonl"
    first, *rest = (samples / name).read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / name).write_text("".join([change(first), *rest]), encoding="utf-8")
    return folder


def without(field: str):
    def change(line: str) -> str:
        row = json.loads(line)
        del row[field]
        return json.dumps(row) + "\n"

    return change


BAD_DATA = {
    "a broken row": (lambda line: line[:40] + "\n", ("line 1", "not valid JSON")),
    "a row that is no object": (lambda line: "[1]\n", ("line 1", "JSON object")),
    "a row without options": (without("options"), ("line 1", "'options' is missing")),
    "a row without an id": (without("id"), ("line 1", "'id' is missing")),
    "a row from elsewhere": (
        lambda line: json.dumps({**json.loads(line), "image_template": "../../{image}.jpg"}) + "\n",
        ("line 1", "leads out of the data folder"),
    ),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_a_bad_row_is_named_by_its_file_and_line(place, samples, name):
    change, says = BAD_DATA[name]
    data = spoiled(place / "data", samples, change)
    refused(place, *BASELINE, "--data", data, says=("QuickDraw_preprocessed.jsonl", *says))


def test_a_folder_one_level_off_names_the_right_one(place, samples):
    test = spoiled(place / "published" / "test", samples, str)
    (test / "images").mkdir()
    refused(place, *BASELINE, "--data", "published", says=("one level too high", "published/test"))
    refused(place, *BASELINE, "--data", test / "images", says=("one level too low", str(test)))
    (place / "empty").mkdir()
    refused(place, *BASELINE, "--data", "empty", says=("holds none of the data files",))
    refused(place, *BASELINE, "--data", test, "--dataset", "ROD", says=("--dataset ROD",))
    refused(place, *BASELINE, "--data", test / "QuickDraw_preprocessed.jsonl", says=("is not a folder",))


def test_a_bad_data_variable_is_named(place, monkeypatch):
    monkeypatch.setenv("PBCLIENT_DATA", "nowhere")
    result = invoke(*BASELINE)
    assert result.exit_code == 2
    assert "(from PBCLIENT_DATA)" in result.stderr


def test_a_run_folder_that_cannot_be_used_is_refused(place):
    (place / "file").write_text("x")
    refused(place, *BASELINE, "--out", "file", says=("file is a file",))
    refused(place, *BASELINE, "--out", "file/below", says=("file/below",))
    (place / "photos").mkdir()
    (place / "photos" / "cat.jpg").write_text("x")
    refused(place, *BASELINE, "--out", "photos", says=("cat.jpg", "no run.json"))


BROKEN_MANIFESTS = {
    "{": "not JSON",
    "[]": "no JSON object",
    "{}": "damaged",
    '{"schema": 1}': "no id",
    '{"schema": 99, "id": "x", "config": {}}': "update pbclient",
    '{"schema": 1, "id": "x", "config": {}}': "",
}


@pytest.mark.parametrize("text", BROKEN_MANIFESTS)
def test_a_broken_run_json_is_refused_by_all_who_read_it(place, text):
    (place / "run").mkdir()
    (place / "run" / "run.json").write_text(text)
    for args in ([*BASELINE, "--out", "run"], ["score", "run"]):
        before = files(place)
        result = invoke(*args)
        assert result.exit_code == 2, result.output
        assert isinstance(result.exception, SystemExit)
        assert result.stderr.count("Error: ") == 1
        assert BROKEN_MANIFESTS[text] in result.stderr
        assert {**files(place), "run/run.lock": b""} == {**before, "run/run.lock": b""}


def test_another_configuration_is_refused_and_the_difference_named(place):
    first = [*BASELINE, "--dataset", "QD", "--limit", "1", "--out", "run"]
    assert invoke(*first).exit_code == 0
    refused(
        place,
        *[*BASELINE, "--dataset", "QD", "--limit", "2", "--seed", "4", "--hint", "--out", "run"],
        says=("limit 1 -> 2", "seed 0 -> 4", "hint"),
    )
    refused(place, *first, "--model", "oracle", says=("model random -> oracle",))
    assert invoke(*first).exit_code == 0


def test_a_run_that_another_process_writes_is_refused(place):
    args = [*BASELINE, "--dataset", "QD", "--limit", "1", "--out", "run"]
    assert invoke(*args).exit_code == 0
    holder = (
        "import json, pathlib, runs\n"
        "manifest = json.loads(pathlib.Path('run/run.json').read_text())\n"
        "with runs.RunFolder.start(pathlib.Path('run'), manifest):\n    print(flush=True)\n    input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as other:
        other.stdout.readline()
        refused(place, *args, says=("run", str(other.pid)))
        assert invoke("score", "run").exit_code == 0  # who only looks need not wait
        other.communicate("\n")
    assert invoke(*args).exit_code == 0


def test_a_cache_that_cannot_be_used_is_refused_before_a_run_folder_is_made(place):
    (place / "file").write_text("x")
    for folder in ("file", "file/below"):
        refused(place, *OPENAI, "--model", "m", "--cache-dir", folder, "--out", "run", says=(folder,))
        refused(place, "cache", "stats", "--cache-dir", folder, says=(folder,))
    assert not (place / "run").exists()


def test_ctrl_c_and_no_are_exit_code_130(place, samples):
    invoke(*BASELINE, "--limit", "1")
    (place / "answers").mkdir()
    result = invoke("cache", "clear", "--cache-dir", "answers", stdin="n\n")
    assert (result.exit_code, result.stderr) == (130, "Stopped.\n")


def test_json_prints_the_summary_and_nothing_else(place):
    result = invoke(*BASELINE, "--dataset", "QD", "--out", "run", "--json")
    assert result.exit_code == 0
    assert result.stdout.encode() == (place / "run" / "summary.json").read_bytes()
    assert json.loads(result.stdout)["datasets"].keys() == {"QD"}
    assert "Run folder: run" in result.stderr


def test_without_out_a_new_folder_is_made_each_time(place):
    for _ in range(2):
        assert invoke(*BASELINE, "--dataset", "QD", "--limit", "1").exit_code == 0
    made = sorted((place / "results").iterdir())
    assert len(made) == 2
    assert all("baseline-random" in folder.name for folder in made)


def test_a_new_folder_is_named_after_the_conditions(place):
    told = ["--hint", "--history", "--dataset", "ROD", "--limit", "3", "--shots", "1"]
    assert invoke(*BASELINE, "--model", "oracle", *told).exit_code == 0
    [folder] = (place / "results").iterdir()
    assert re.fullmatch(r"\d{8}-\d{6}-baseline-oracle-hint-history-shots-1-[0-9a-f]{4}", folder.name)


def test_the_help_shows_the_options_of_a_run_in_groups():
    lines = invoke("run", "--help").stdout.splitlines()
    titles = [line.removesuffix(":") for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert titles == [*GROUPS.values(), "Other options"]


@pytest.mark.parametrize(
    "given", [["--base-url", "{}"], ["--base-url={}"], ["--judge-base-url={}"]], ids=" ".join
)
def test_the_command_that_continues_a_run_shows_no_password(place, given):
    words = [word.format("http://eve:hush:p@ss@127.0.0.1:1/v1?a=b") for word in given]
    result = RunResult(Path("run"), {"datasets": {}}, planned=1)
    [line] = [line for line in ending(result, ["pbclient", "run", *words]) if "To continue" in line]
    assert "hush" not in line
    assert "eve" not in line
    assert "http://USER:PASSWORD@127.0.0.1:1/v1?a=b" in line
    assert line.endswith("--out run")


@pytest.mark.parametrize("given", [["--max-cost", "5"], ["--max-cost=5"], []], ids=" ".join)
def test_the_command_that_continues_a_run_does_not_repeat_the_limit_that_was_reached(given):
    cost = {"limit": 5.0}
    outcomes = {"QD": {"outcomes": {"budget": 3}}}
    result = RunResult(Path("run"), {"datasets": outcomes, "cost": cost}, planned=3)
    assert result.exit_code == 3
    [line] = [line for line in ending(result, ["pbclient", "run", *given]) if "To continue" in line]
    assert line.endswith("pbclient run --out run --max-cost 10")


def test_what_stopped_the_run_is_said_once():
    reasons = (("wrong key", 41), ("no frame", 1))
    outcomes = {"QD": {"outcomes": {"failed": 42}}}
    result = RunResult(Path("run"), {"datasets": outcomes}, unusable="wrong key", planned=42, reasons=reasons)
    _, *said, _ = ending(result, ["pbclient", "run"])
    assert said == ["Unresolved (1): no frame", "Stopped: wrong key"]


def test_run_folders_are_listed(place):
    assert (
        invoke(*BASELINE, "--model", "oracle", "--dataset", "QD", "--hint", "--out", "r/one").exit_code == 0
    )
    (place / "r" / "two").mkdir()
    (place / "r" / "two" / "run.json").write_text("{")
    [one, two] = json.loads(invoke("runs", "r", "--json").stdout)[::-1]
    assert (one["path"], one["model"], one["conditions"]) == ("r/one", "oracle", "hint")
    assert (one["resolved"], one["planned"], one["acc"], one["cost"]) == (6, 6, 100.0, 0.0)
    assert "damaged" in two["error"]
    assert len(invoke("runs", "r").stdout.splitlines()) == 3
    assert invoke("runs", "nowhere").exit_code == 2


def test_a_run_where_nothing_was_resolved_says_so_instead_of_a_table(place):
    result = invoke(*OPENAI, "--model", "glance", "--offline", "--dataset", "QD", "--cache-dir", "answers")
    assert result.exit_code == 4
    assert result.stdout.startswith("No episode was resolved, so there are no figures.\n")
    assert "data set" not in result.stdout


def test_a_file_of_the_users_that_has_the_name_of_a_package_of_ours_is_named(tmp_path):
    (tmp_path / "cache.py").write_text("")
    command = [sys.executable, "-c", "import pbclient"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].startswith(f"ImportError: {tmp_path / 'cache.py'} stands in the way")


def test_providers_and_data_sets_are_completed():
    command = main.commands["run"]
    with click.Context(command, **main.context_settings) as context:
        options = {param.name: param for param in command.get_params(context)}
        complete = lambda name, begun: [each.value for each in options[name].shell_complete(context, begun)]  # noqa: E731
        assert complete("provider", "op") == ["openai", "openrouter"]
        assert complete("datasets", "m") == ["MVP-N"]


def test_the_choices_that_nobody_made_are_said(place, samples, monkeypatch):
    result = invoke("run", "--provider", "openai", "--offline", "--limit", "1", "--cache-dir", "answers")
    assert "(the default for openai; --model names another)" in result.stderr
    assert f"Data: {samples} (from PBCLIENT_DATA)." in result.stderr
    assert "$5.00" in result.stderr


def test_providers_tells_who_is_ready_without_showing_a_key(place):
    result = invoke("providers")
    assert result.exit_code == 0
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line}
    assert lines["openai"].split()[1:3] == ["yes", "OPENAI_API_KEY"]
    assert lines["anthropic"].split()[1:3] == ["no", "ANTHROPIC_API_KEY"]
    assert lines["baseline"].split()[1] == "yes"
    assert {entry.name for entry in catalog.HOSTED} <= lines.keys()
    assert KEY not in result.output


def client(*args: object, cwd: Path, **pipes) -> subprocess.Popen:
    command = [sys.executable, "-m", "pbclient", *map(str, args)]
    return subprocess.Popen(command, cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT)}, **pipes)


@pytest.mark.slow
def test_a_closed_pipe_ends_quietly_and_loses_nothing(place):
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as nobody:
        process = client(
            *BASELINE, "--out", "one", cwd=place, stdout=nobody, stderr=subprocess.PIPE, text=True
        )
        _, err = process.communicate(timeout=60)
        both = client(*BASELINE, "--out", "two", cwd=place, stdout=nobody, stderr=nobody)
        both.wait(timeout=60)
    assert "Traceback" not in err
    assert "Exception ignored" not in err
    one, two = (json.loads((place / name / "summary.json").read_text()) for name in ("one", "two"))
    assert one["datasets"] == two["datasets"]
    assert all(figures["n"] == figures["resolved"] for figures in one["datasets"].values())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_behind_stdout_is_one_sentence(place):
    with open("/dev/full", "w") as full:
        process = client(*BASELINE, "--limit", "1", cwd=place, stdout=full, stderr=subprocess.PIPE, text=True)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "No space left" in err
    assert "Traceback" not in err


@pytest.fixture(scope="module")
def server() -> Iterator[LoopbackServer]:
    with LoopbackThread(LoopbackServer(ask_by_looks)) as running:
        yield running


@pytest.fixture
def bought(place, samples, server) -> list[str]:
    """The options of a run of six episodes that lies in `run`, its answers in `answers`."""
    options = ["run", "--provider", "openai", "--model", "glance", "--base-url", server.url]
    options += ["--price", "100,200", "--cache-dir", "answers", "--dataset", "QD"]
    result = invoke(*options, "--out", "run")
    assert result.exit_code == 0, result.output
    return options


@pytest.mark.slow
def test_score_gives_the_same_bytes_with_neither_cache_nor_data(place, bought, samples, monkeypatch):
    data = place / "copied"
    shutil.copytree(samples, data)
    printed = invoke(*bought, "--data", data, "--out", "other").stdout
    before = (place / "other" / "summary.json").read_bytes()
    assert b'"settled": 0' in before  # out of the cache
    first = (place / "run" / "summary.json").read_bytes()
    shutil.rmtree(place / "answers")
    shutil.rmtree(data)
    monkeypatch.delenv("PBCLIENT_DATA")
    for name, wanted in (("run", first), ("other", before)):
        (place / name / "summary.json").unlink()
        assert invoke("score", name, "--json").stdout.encode() == wanted
        assert (place / name / "summary.json").read_bytes() == wanted
    assert invoke("score", "other").stdout == printed


@pytest.mark.slow
def test_no_file_of_a_run_or_of_the_cache_holds_the_key(place, bought):
    assert (place / "answers" / "cache.db").is_file()
    assert [name for name, held in files(place).items() if KEY.encode() in held] == []


@pytest.mark.slow
def test_the_cache_tells_why_a_run_missed(place, bought):
    changed = [*bought, "--temperature", "0.5", "--param", "top_p=0.25"]
    assert invoke(*changed, "--out", "warmer").exit_code == 0
    why = invoke("cache", "why", "warmer", "--cache-dir", "answers")
    assert why.exit_code == 0
    head, which, *differences = why.stdout.splitlines()
    assert head == "QD:"
    assert "is nearest to" in which
    assert [line.strip() for line in differences] == [
        "params.temperature: 0.0 -> 0.5",
        "params.top_p: (absent) -> 0.25",
    ]
    key = which.split()[0]
    told = invoke("cache", "why", key, "--cache-dir", "answers")
    assert told.exit_code == 0
    assert f"{key} is nearest to" in told.stdout
    assert invoke(*bought, "--out", "again").exit_code == 0
    again = invoke("cache", "why", "again", "--cache-dir", "answers")
    assert again.stdout == "Every answer of this run came out of the cache.\n"
    unknown = invoke("cache", "why", "ffffffffffff", "--cache-dir", "answers")
    assert (unknown.exit_code, unknown.stderr.count("no stored key starts")) == (2, 1)


@pytest.mark.slow
def test_the_cache_tells_what_an_offline_run_lacked(place, bought):
    result = invoke(*bought, "--temperature", "0.5", "--offline", "--out", "offline")
    assert result.exit_code == 4
    told = invoke("cache", "why", "offline", "--cache-dir", "answers")
    assert "params.temperature: 0.0 -> 0.5" in told.stdout
    assert invoke(*BASELINE, "--limit", "1", "--out", "random").exit_code == 0
    none = invoke("cache", "why", "random", "--cache-dir", "answers")
    assert none.stdout == "This run asked no model.\n"


@pytest.mark.slow
def test_the_cache_is_counted_checked_mended_and_cleared(place, bought):
    def cache(*args: str) -> Result:
        return invoke("cache", *args, "--cache-dir", "answers")

    counted = cache("stats").stdout.splitlines()
    entries = int(counted[1].split()[0])
    assert entries >= 6
    assert cache("check").stdout == "Every entry is sound.\n"
    with sqlite3.connect(place / "answers" / "cache.db") as db:
        db.execute("UPDATE Cache SET value = x'00' WHERE rowid = (SELECT min(rowid) FROM Cache)")
    db.close()
    found = cache("check")
    assert found.exit_code == 4
    assert found.stdout.count("--fix deletes it") == 1
    mended = cache("check", "--fix")
    assert (mended.exit_code, mended.stdout.count("deleted")) == (0, 1)
    assert cache("check").exit_code == 0
    assert cache("clear", "--yes", "--model", "another").stdout == "0 entries deleted.\n"
    assert cache("clear", "--yes", "--provider", "openai", "--model", "glance").stdout == (
        f"{entries - 1} entries deleted.\n"
    )
    assert cache("stats").stdout.splitlines()[1].startswith("0 entries")


@pytest.mark.slow
def test_an_estimate_of_what_is_stored_is_nothing(place, bought):
    options = ["estimate", *bought[1:], "--out", "new"]
    found = json.loads(invoke(*options, "--json").stdout)
    assert found["total"]["cost"] == {"least": 0.0, "expected": 0.0, "most": 0.0, "likely": 0.0}
    plain = invoke(*options)
    assert plain.exit_code == 0
    assert max(map(len, plain.stdout.splitlines()[:5])) <= 80


def test_debug_says_what_held_the_event_loop_up(place):
    result = invoke(*BASELINE, "--limit", "1", "--debug", "--out", "one")
    assert result.exit_code == 0
    assert "Event loop held up" in result.stderr
