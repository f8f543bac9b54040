"""What a data folder lacks is named, what is sound is called so, and what is published is as printed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from pbclient.benchmark import paper as published
from pbclient.benchmark.package import DATA_SETS, STEMS, environment_class, kept_ids
from pbclient.benchmark.search import reachable_frames
from pbclient.cli.app import main
from pbclient.data.check import check, wrong_totals
from pbclient.data.folder import open_data
from pbclient.episodes.players import View, suggestions
from pbclient.errors import DataError, EnvironmentFailed
from pbclient.report.tables import of_check
from pbclient.report.terminal import plain

ROD_ROWS = "Realistic-Occlusion-Dataset_preprocessed.jsonl"


def invoke(*args: object) -> Result:
    return CliRunner().invoke(main, ["data", *map(str, args)])


def rows_of(folder: Path, acronym: str) -> list[dict]:
    text = (folder / f"{STEMS[acronym]}_preprocessed.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def write_rows(folder: Path, acronym: str, rows: list[dict]) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / f"{STEMS[acronym]}_preprocessed.jsonl").write_text(lines, encoding="utf-8")


@pytest.fixture
def folder(samples, tmp_path) -> Path:
    """A copy of the built-in samples, to be spoilt."""
    return Path(shutil.copytree(samples, tmp_path / "data"))


@pytest.fixture
def rod(samples, tmp_path) -> Path:
    """ROD as many rows as are published, with the frames of one sample."""
    folder = tmp_path / "rod"
    row = rows_of(samples, "ROD")[0]
    shutil.copytree(samples / row["image_template"].split("/")[0], folder / "rod")
    write_rows(folder, "ROD", [{**row, "id": number} for number in range(88)])
    return folder


def problems(folder: Path, *datasets: str, **options) -> tuple[str, ...]:
    return check(folder, datasets, **options).problems


@pytest.mark.parametrize("decode", [False, True])
def test_the_built_in_samples_are_sound_and_called_by_their_name(samples, decode):
    report = check(samples, decode=decode)
    assert report.problems == ()
    assert report.samples
    said = plain(of_check(report)).splitlines()
    assert "built-in samples" in said[-2]
    assert said[-1] == "The data is sound."
    assert [found.kept for found in report.datasets] == [6] * 7
    assert [found.published for found in report.datasets] == [
        len(kept_ids(each.acronym)) for each in DATA_SETS
    ]


def test_one_data_set_as_it_is_published(rod):
    report = check(rod, ["rod"])
    assert report.problems == ()
    assert not report.samples
    [found] = report.datasets
    assert (found.dataset, found.rows, found.kept, found.published, found.frames) == ("ROD", 88, 88, 88, 14)


def test_samples_that_are_missing_are_named_by_id(rod):
    write_rows(rod, "ROD", rows_of(rod, "ROD")[7:])
    [said] = problems(rod, "ROD")
    assert said.startswith(f"ROD: {ROD_ROWS} lacks 7 of the 88 samples")
    assert "(ids 0, 1, 2, 3, 4 and 2 more)" in said


def test_rows_beyond_the_published_ones_are_told(rod):
    row = rows_of(rod, "ROD")[0]
    write_rows(rod, "ROD", [*rows_of(rod, "ROD"), {**row, "id": 500}])
    assert problems(rod, "ROD") == ("ROD: 89 rows, and 88 samples are published.",)


def test_samples_of_another_length_are_told(rod):
    rows = rows_of(rod, "ROD")
    rows[3]["num_images"] = 8
    write_rows(rod, "ROD", rows)
    assert problems(rod, "ROD") == ("ROD: a sample has 14 frames, but not these: 3.",)


def test_every_frame_that_is_missing_is_counted_and_the_first_are_named(folder):
    gone = sorted(path.relative_to(folder).as_posix() for path in (folder / "rod").rglob("*.jpg"))[:7]
    for path in gone:
        (folder / path).unlink()
    report = check(folder)
    [said] = report.problems
    assert said.startswith(f"ROD: 7 of 84 frames cannot be shown ({', '.join(gone[:5])} and 2 more). ")
    assert "is missing from" in said
    assert "download the data again" in said
    assert report.to_json()["datasets"][0]["unusable"] == tuple(gone)


def test_the_frame_of_the_reference_condition_counts(folder):
    row = rows_of(folder, "ROD")[0]
    write_rows(folder, "ROD", [{**row, "reference_image": "clear"}])
    assert any("clear" in said and "1 of 15 frames" in said for said in problems(folder, "ROD"))


def archived(folder: Path, name: str) -> Path:
    """The frames of ROD in an archive instead."""
    path = folder / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for frame in sorted((folder / "rod").rglob("*.jpg")):
            archive.write(frame, frame.relative_to(folder))
    shutil.rmtree(folder / "rod")
    return path


def test_frames_may_lie_in_archives(folder):
    archived(folder, "ROD.zip")
    assert problems(folder, decode=True) == ()


def test_an_archive_that_is_cut_off_is_named(folder):
    path = archived(folder, "ROD.zip")
    path.write_bytes(path.read_bytes()[:1000])
    [said] = problems(folder)
    assert said.startswith("ROD: 84 of 84 frames")
    assert str(path) in said


@pytest.mark.parametrize("where", ["file", "archive"])
def test_what_is_broken_inside_is_found_by_decoding(folder, where):
    frame = min((folder / "rod").rglob("*.jpg"))
    frame.write_bytes(frame.read_bytes()[:-500])
    if where == "archive":
        archived(folder, "ROD.zip")
    assert problems(folder, "ROD") == ()
    [said] = problems(folder, "ROD", decode=True)
    assert said.startswith(f"ROD: 1 of 84 frames cannot be shown ({frame.relative_to(folder).as_posix()}). ")


def test_a_row_that_cannot_be_used_does_not_hide_the_other_data_sets(folder):
    rows = rows_of(folder, "QD")
    del rows[2]["prompt"]
    write_rows(folder, "QD", rows)
    (folder / f"{STEMS['CIT']}_preprocessed.jsonl").unlink()
    report = check(folder)
    assert [found.dataset for found in report.datasets] == ["ROD", "VSOD", "MVP-N", "IN-C", "COCO"]
    first, second = report.problems
    assert first.startswith("QD: ")
    assert "line 3: field 'prompt' is missing" in first
    assert second.startswith("CIT: ")
    assert "ChangeIt_preprocessed.jsonl" in second


def test_a_sample_that_the_environment_fails_on_is_named(folder):
    rows = rows_of(folder, "CIT")
    rows[1]["options"] = [option for option in rows[1]["options"] if "Rewind" not in option]
    write_rows(folder, "CIT", rows)
    # Since the rows are no longer the built-in ones, those of the published data are missing too.
    _, said = problems(folder, "CIT")
    start = f"CIT: samples cannot be played ({rows[1]['id']}). The benchmark's environment failed: "
    assert said.startswith(start)


def test_rows_that_the_benchmark_drops_are_counted(folder):
    rows = rows_of(folder, "VSOD")
    write_rows(folder, "VSOD", [*rows, {"strong_occlusions": False}, {"id": [], "strong_occlusions": False}])
    found = check(folder, ["VSOD"]).datasets[0]
    assert (found.rows, found.dropped, found.kept) == (8, 2, 6)


@pytest.fixture
def whole(samples, tmp_path) -> Path:
    """As many rows as are published, in all seven files; apart from ROD each shows one frame only."""
    folder = Path(shutil.copytree(samples, tmp_path / "data"))
    more = published.SAMPLES_BEFORE_FILTER - published.SAMPLES_KEPT
    for each in DATA_SETS:
        row = rows_of(samples, each.acronym)[0]
        frame = min(reachable_frames(each.acronym, row))
        still = {"image_template": frame, "num_images": 1, "max_steps": 1, "valid_images": [0]}
        row |= {} if each.acronym == "ROD" else still
        extra = range(10**6, 10**6 + more) if each.acronym == "QD" else []
        write_rows(
            folder, each.acronym, [{**row, "id": id} for id in (*sorted(kept_ids(each.acronym)), *extra)]
        )
    return folder


@pytest.mark.slow
def test_the_published_totals(whole):
    report = check(whole)
    assert report.problems == ()
    assert not report.samples
    assert plain(of_check(report)).splitlines()[8].split()[:4] == ["all", "17,909", "7,557", "7,557"]

    def spoilt(place: int, **changes: int) -> list[str]:
        found = list(report.datasets)
        found[place] = replace(found[place], **changes)
        return list(wrong_totals(found))

    qd = report.datasets[4]
    assert spoilt(4, rows=qd.rows - 1) == ["All: 17,908 rows, and 17,909 samples are published."]
    # Those that are dropped by a field may be counted or not.
    assert spoilt(4, rows=qd.rows + 9, dropped=9) == []
    assert spoilt(4, dropped=9) == []
    assert spoilt(4, kept=qd.kept - 1) == ["All: 7,556 samples kept, and 7,557 are published."]
    assert list(wrong_totals(report.datasets[1:])) == []


def test_no_data_folder(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataError, match="the folder that holds"):
            check(folder)


def test_the_counts_are_those_of_the_installed_filter():
    assert sum(len(kept_ids(each.acronym)) for each in DATA_SETS) == published.SAMPLES_KEPT
    assert kept_ids("ROD") == frozenset(range(published.ROD_SAMPLES))


def all_rows(samples: Path) -> Iterator[tuple[str, dict]]:
    for each in DATA_SETS:
        for row in rows_of(samples, each.acronym):
            yield each.acronym, row


def test_each_frame_that_any_play_shows_is_reachable(samples):
    rows = list(all_rows(samples))
    frames = [reachable_frames(acronym, row) for acronym, row in rows]

    @given(st.sampled_from(range(len(rows))), st.lists(st.integers(0, 9), max_size=40), st.booleans())
    def play(number: int, choices: list[int], reference: bool) -> None:
        acronym, row = rows[number]
        environment = environment_class(acronym)(row, "", reference=reference)
        for choice in choices:
            state = environment.get_state()
            assert state["image_path"] in frames[number]
            found = suggestions(View(environment, state, acronym, "", 0, 0))
            if not found or reference:
                return
            environment.evaluate_generated_answer(found[choice % len(found)])
            if environment.stop:
                return

    play()


def test_each_reachable_frame_is_there_and_no_other(samples):
    frames = {path for acronym, row in all_rows(samples) for path in reachable_frames(acronym, row)}
    there = {path.relative_to(samples).as_posix() for path in samples.rglob("*.*") if path.suffix != ".jsonl"}
    assert frames <= there
    # Of a film only every second or third frame can be shown.
    assert {path.split("/")[0] for path in there - frames} <= {"cit"}


def test_a_sample_without_a_first_frame_fails(samples):
    with pytest.raises(EnvironmentFailed):
        reachable_frames("ROD", {**rows_of(samples, "ROD")[0], "image_template": "{other}"})


def test_the_command_ends_with_4_when_there_are_problems(folder):
    sound = invoke("check", folder)
    assert sound.exit_code == 0, sound.output
    min((folder / "rod").rglob("*.jpg")).unlink()
    spoilt = invoke("check", folder)
    assert spoilt.exit_code == 4
    assert spoilt.stdout.splitlines()[-1] == "1 problem found."
    assert spoilt.stderr == ""
    said = json.loads(invoke("check", folder, "--json").stdout)
    assert said["sound"] is False
    assert len(said["problems"]) == len(said["datasets"][0]["unusable"]) == 1
    assert invoke("check", folder, "--dataset", "QD").exit_code == 0


def test_the_command_refuses_what_is_no_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    for args in ([tmp_path], [], [""], [tmp_path, "--dataset", "CIFAR"]):
        result = invoke("check", *args)
        assert result.exit_code == 2
        assert isinstance(result.exception, SystemExit)
        assert result.stdout == ""


def test_samples_are_written_to_a_new_an_empty_or_their_own_folder(tmp_path, samples):
    folder = tmp_path / "new" / "data"
    for _ in range(2):
        result = invoke("sample", folder)
        assert (result.exit_code, result.output) == (0, f"Built-in samples: {folder}\n")
        with open_data(folder) as found, open_data(samples) as original:
            assert found.digest == original.digest
        assert problems(folder) == ()
        # The second time mends what is broken and leaves what is not ours.
        min((folder / "rod").rglob("*.jpg")).unlink()
        (folder / "notes.txt").touch()
    assert {path.name for path in folder.parent.iterdir()} == {"data"}
    (tmp_path / "empty").mkdir()
    assert invoke("sample", tmp_path / "empty").exit_code == 0
    assert problems(tmp_path / "empty") == ()


def test_samples_are_not_written_over_anything_else(tmp_path, rod):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    for folder, says in (
        (tmp_path / "other", "is not empty"),
        (rod, "is not empty"),
        (Path(__file__), "not a"),
    ):
        before = sorted(folder.rglob("*"))
        result = invoke("sample", folder)
        assert result.exit_code == 2
        assert says in result.stderr
        assert sorted(folder.rglob("*")) == before
    assert "cannot be written" in invoke("sample", Path(__file__) / "below").stderr


def test_help_loads_nothing_heavy(tmp_path):
    program = "import sys, pbclient.cli.data, pbclient.data.home; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parent.parent,
    ).stdout.split()
    heavy = {
        "huggingface_hub",
        "httpx",
        "rich",
        "PIL",
        "proactivebench",
        "platformdirs",
        "pbclient.data.folder",
    }
    assert heavy.isdisjoint(loaded)
