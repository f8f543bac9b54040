"""A run folder is made, continued, locked and refused, each refusal in one clear sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_runs_files import as_nobody, largest_file

from runs import (
    SCHEMA,
    ConfigDiffers,
    NotARun,
    RunBroken,
    RunBusy,
    RunError,
    RunFolder,
    RunTooNew,
    StorageFailed,
)

ROOT = Path(__file__).parent.parent


def manifest(**fields: Any) -> dict[str, Any]:
    config = {"model": "gpt-x", "seed": 0, "datasets": ("ROD", "QD")}
    return {"id": "a1b2", "config": config, "settings": {"concurrency": 8}, "data": "d1", **fields}


def on_disk(path: Path) -> dict[str, Any]:
    content = json.loads((path / "run.json").read_text())
    assert isinstance(content, dict)
    return content


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results" / "one"


def test_a_new_run_is_made_and_can_be_read(path: Path) -> None:
    with RunFolder.start(path, manifest(created="2026-01-01T00:00:00+00:00")) as folder:
        assert not folder.continued
        assert on_disk(path) == folder.manifest
        assert folder.manifest["schema"] == SCHEMA
        read = RunFolder.read(path)
        assert read.manifest == folder.manifest
    files = [folder.episodes, folder.ledger, folder.summary]
    assert [file.name for file in files] == ["episodes.jsonl", "ledger.jsonl", "summary.json"]
    assert {file.parent for file in files} == {path}


def test_a_continued_run_keeps_its_id_and_birth_and_takes_the_new_settings(path: Path) -> None:
    first = manifest(created="2026-01-01T00:00:00+00:00", versions={"pbclient": "1"}, dropped={"top_k": None})
    RunFolder.start(path, first).close()
    second = manifest(id="ffff", settings={"concurrency": 64}, versions={"pbclient": "2"})
    with RunFolder.start(path, second) as folder:
        assert folder.continued
        assert folder.manifest["id"] == "a1b2"
        assert folder.manifest["created"] == "2026-01-01T00:00:00+00:00"
        assert folder.manifest["settings"] == {"concurrency": 64}
        assert folder.manifest["versions"] == {"pbclient": "2"}
        assert folder.manifest["dropped"] == {"top_k": None}
        assert on_disk(path) == folder.manifest


def test_another_configuration_is_refused_and_each_difference_named(path: Path) -> None:
    RunFolder.start(path, manifest()).close()
    before = on_disk(path)
    other = {"model": "gpt-y", "seed": 1, "datasets": ["ROD", "QD"], "hint": True}
    with pytest.raises(ConfigDiffers) as caught:
        RunFolder.start(path, manifest(config=other))
    assert str(caught.value) == (
        f"{path} holds a run of another configuration (hint null -> true; model gpt-x -> gpt-y; "
        "seed 0 -> 1): name another folder with --out, or give the old value."
    )
    assert caught.value.options == ("hint", "model", "seed")
    assert on_disk(path) == before
    RunFolder.start(path, manifest()).close()


def test_an_option_that_is_absent_is_one_that_is_null(path: Path) -> None:
    RunFolder.start(path, manifest()).close()
    config = {**manifest()["config"], "shots": None}
    with RunFolder.start(path, manifest(config=config)) as folder:
        assert folder.manifest["config"]["shots"] is None


def test_a_run_that_is_older_than_an_option_had_its_default(path: Path) -> None:
    RunFolder.start(path, manifest()).close()
    config = {**manifest()["config"], "options": "valid"}
    with pytest.raises(ConfigDiffers, match="shots 0 -> 2"):
        RunFolder.read(path).refuse_another(manifest(config={**config, "shots": 2}), {"shots": 0})
    with RunFolder.start(path, manifest(config=config), {"options": "valid"}) as folder:
        assert folder.manifest["config"]["options"] == "valid"


@pytest.mark.parametrize(
    ("old", "new"), [("d1", "d2"), ({"digest": "d1", "path": "/a"}, {"digest": "d2", "path": "/a"})]
)
def test_other_data_are_refused_by_name(path: Path, old: Any, new: Any) -> None:
    RunFolder.start(path, manifest(data=old)).close()
    with pytest.raises(ConfigDiffers, match="the data differ, d1 -> d2") as caught:
        RunFolder.start(path, manifest(data=new))
    assert caught.value.options == ("data",)


def test_the_same_data_elsewhere_are_the_same(path: Path) -> None:
    RunFolder.start(path, manifest(data={"digest": "d1", "path": "/a"})).close()
    RunFolder.start(path, manifest(data={"digest": "d1", "path": "/b"})).close()
    assert on_disk(path)["data"]["path"] == "/b"


def test_long_values_do_not_fill_the_screen(path: Path) -> None:
    RunFolder.start(path, manifest(config={"params": {"x": "x" * 10_000}})).close()
    with pytest.raises(ConfigDiffers) as caught:
        RunFolder.start(path, manifest(config={"params": {"x": "y" * 10_000}}))
    assert len(str(caught.value)) < 1000


def test_update_rewrites_the_manifest(path: Path) -> None:
    with RunFolder.start(path, manifest()) as folder:
        folder.update(dropped={"temperature": None}, extra=("a",))
        assert folder.manifest["dropped"] == {"temperature": None}
        assert folder.manifest["extra"] == ["a"]
        assert on_disk(path) == folder.manifest
    with pytest.raises(ValueError, match="not open for writing"):
        folder.update(dropped={})
    with pytest.raises(ValueError, match="not open for writing"):
        RunFolder.read(path).update(dropped={})


def test_an_update_that_fails_changes_nothing(path: Path) -> None:
    with RunFolder.start(path, manifest()) as folder:
        before = on_disk(path)
        with largest_file(100), pytest.raises(StorageFailed):
            folder.update(dropped={"temperature": None})
        assert on_disk(path) == folder.manifest == before
    assert sorted(os.listdir(path)) == ["ledger.jsonl", "run.json", "run.lock"]


@pytest.mark.parametrize("wrong", [{"id": ""}, {"id": 7}, {"config": None}, {"settings": float("nan")}])
def test_a_manifest_that_is_none_is_the_callers_mistake(path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"it has no|Out of range"):
        RunFolder.start(path, manifest(**wrong))
    assert not path.exists()


BROKEN: list[tuple[bytes, type[RunError], str]] = [
    (b"", RunBroken, "it is not JSON"),
    (b'{"schema": 1, "id"', RunBroken, "it is not JSON"),
    (b"\xff\xfe\x00", RunBroken, "it is not JSON"),
    (b"[" * 100_000, RunBroken, "it is not JSON"),
    (b"[]", RunBroken, "it is no JSON object"),
    (b"{}", RunBroken, "it has no schema number"),
    (b'{"schema": true}', RunBroken, "it has no schema number"),
    (b'{"schema": "1"}', RunBroken, "it has no schema number"),
    (b'{"schema": 0}', RunBroken, "it has no schema number"),
    (b'{"schema": 1, "config": {}}', RunBroken, "it has no id"),
    (b'{"schema": 1, "id": "a", "config": []}', RunBroken, "it has no config"),
    (b'{"schema": 2}', RunTooNew, "has schema 2 and this version reads up to 1: update pbclient"),
]


@pytest.mark.parametrize(("content", "kind", "sentence"), BROKEN)
def test_a_manifest_that_cannot_be_used(
    path: Path, content: bytes, kind: type[RunError], sentence: str
) -> None:
    path.mkdir(parents=True)
    (path / "run.json").write_bytes(content)
    actions: list[Callable[[], RunFolder]] = [
        lambda: RunFolder.start(path, manifest()),
        lambda: RunFolder.read(path),
    ]
    for action in actions:
        with pytest.raises(kind, match=sentence) as caught:
            action()
        assert str(path / "run.json") in str(caught.value)
        assert "\n" not in str(caught.value)
    assert (path / "run.json").read_bytes() == content


def test_a_manifest_that_is_a_folder(path: Path) -> None:
    (path / "run.json").mkdir(parents=True)
    with pytest.raises(StorageFailed, match="cannot be read"):
        RunFolder.start(path, manifest())
    with pytest.raises(StorageFailed, match="cannot be read"):
        RunFolder.read(path)


def test_a_folder_of_other_things_is_left_as_it_was(path: Path) -> None:
    path.mkdir(parents=True)
    (path / "thesis.tex").touch()
    with pytest.raises(NotARun, match=r"holds other things \(thesis.tex\) and no run.json"):
        RunFolder.start(path, manifest())
    with pytest.raises(NotARun, match=r"is not a run folder \(it has no run.json\)"):
        RunFolder.read(path)
    assert os.listdir(path) == ["thesis.tex"]


def test_a_file_is_no_folder(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    with pytest.raises(NotARun, match="is a file: name a folder"):
        RunFolder.start(path, manifest())
    with pytest.raises(NotARun, match="is a file: name a folder that"):
        RunFolder.read(path)
    with pytest.raises(StorageFailed, match=r"cannot be created \((Not a directory|File exists)\)"):
        RunFolder.start(path / "below", manifest())


def test_nothing_there_to_read(path: Path) -> None:
    with pytest.raises(NotARun, match="is not a run folder"):
        RunFolder.read(path)


def test_a_folder_without_rights(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with as_nobody():
        with pytest.raises(StorageFailed, match="get the right to use it"):
            RunFolder.start(closed, manifest())
        with pytest.raises(StorageFailed, match="get the right to use it"):
            RunFolder.start(closed / "below", manifest())
        with pytest.raises((StorageFailed, NotARun)):
            RunFolder.read(closed)


@pytest.mark.parametrize("left", [[], ["run.lock"], ["run.lock", "run.json.17.tmp"]])
def test_a_start_that_was_killed_is_begun_again(path: Path, left: list[str]) -> None:
    path.mkdir(parents=True)
    for name in left:
        (path / name).write_text("4711")
    with RunFolder.start(path, manifest()) as folder:
        assert not folder.continued
    assert sorted(os.listdir(path)) == ["ledger.jsonl", "run.json", "run.lock"]


def test_what_killed_writers_left_is_removed_on_continuing(path: Path) -> None:
    RunFolder.start(path, manifest()).close()
    for name in ("run.json.17.tmp", "episodes.jsonl.17.tmp", "notes.txt"):
        (path / name).touch()
    RunFolder.start(path, manifest()).close()
    assert sorted(os.listdir(path)) == ["ledger.jsonl", "notes.txt", "run.json", "run.lock"]


def test_one_writer_at_a_time_in_one_process(path: Path) -> None:
    with RunFolder.start(path, manifest()):
        with pytest.raises(RunBusy) as caught:
            RunFolder.start(path, manifest())
        assert caught.value.pid == os.getpid()
        assert str(caught.value) == (
            f"Process {os.getpid()} is writing to {path}: wait until it has ended, or name another folder."
        )
    RunFolder.start(path, manifest()).close()


def test_a_holder_that_did_not_say_who_it_is(path: Path) -> None:
    with RunFolder.start(path, manifest()):
        (path / "run.lock").write_text("?")
        with pytest.raises(RunBusy, match="Another process is writing") as caught:
            RunFolder.start(path, manifest())
        assert caught.value.pid is None


def test_a_refused_start_leaves_no_lock(path: Path) -> None:
    RunFolder.start(path, manifest()).close()
    with pytest.raises(ConfigDiffers):
        RunFolder.start(path, manifest(config={}))
    RunFolder.start(path, manifest()).close()


HOLDER = """
import os, sys
from pathlib import Path
from runs import RunFolder
folder = RunFolder.start(Path(sys.argv[1]), {"id": "a", "config": {}, "settings": {}})
os.write(1, b"held\\n")
sys.stdin.read()
"""


def test_another_process_is_refused_until_kill_9_frees_the_folder(path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(RunBusy) as caught:
            RunFolder.start(path, {"id": "b", "config": {}, "settings": {}})
        assert caught.value.pid == holder.pid
        assert RunFolder.read(path).manifest["id"] == "a"
        holder.kill()
    with RunFolder.start(path, {"id": "b", "config": {}, "settings": {}}) as folder:
        assert folder.manifest["id"] == "a"


def test_a_lock_file_that_is_taken_away_lets_nobody_in(path: Path) -> None:
    with RunFolder.start(path, manifest()):
        (path / "run.lock").unlink()
        with pytest.raises(RunBusy):
            RunFolder.start(path, manifest())
    RunFolder.start(path, manifest()).close()


def test_of_two_processes_that_start_at_once_one_is_refused(path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(path)]
    pipe = subprocess.PIPE
    two = [subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe) for _ in range(2)]
    # Whoever comes second ends by itself; the first holds on until its input ends.
    ended = []
    for process in two:
        assert process.stdout is not None
        ended.append(process.stdout.readline() != b"held\n")
    errors = [process.communicate()[1] for process in two]
    assert sorted(ended) == [False, True]
    assert b"RunBusy" in errors[ended.index(True)]


def test_a_ledger_that_was_taken_away_is_not_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "run"
    RunFolder.start(path, manifest()).close()
    (path / "ledger.jsonl").unlink()
    with pytest.raises(RunBroken, match="is missing"):
        RunFolder.start(path, manifest())


def test_a_run_that_came_to_nothing_leaves_no_folder(path: Path) -> None:
    with RunFolder.start(path, manifest()) as folder:
        folder.discard()
        assert not path.exists()
    RunFolder.start(path, manifest()).close()
    with RunFolder.start(path, manifest()) as again, pytest.raises(ValueError, match="only a new run"):
        again.discard()
    assert (path / "run.json").exists()
