"""The built-in samples, driven through the installed benchmark's own environments."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from proactivebench.open_ended_gen import PREDICTION_THR

from pbclient.benchmark.package import (
    DATA_SETS,
    STEMS,
    Environment,
    State,
    Statistics,
    environment_class,
    kept_ids,
    skip_row,
)
from pbclient.data import drawings, samples
from pbclient.data.samples import builtin_folder, write_samples
from pbclient.errors import DataError

ACRONYMS = tuple(STEMS)
COMMON = {
    "id",
    "image_template",
    "first_image",
    "num_images",
    "reference_image",
    "prompt",
    "options",
    "categories",
    "answer",
}
OWN = {
    "ROD": set(),
    "VSOD": {"strong_occlusions"},
    "MVP-N": {"valid_images"},
    "IN-C": {"quality_answer"},
    "QD": set(),
    "CIT": {"step_size", "max_steps"},
    "COCO": {"direction", "granularity", "horizontal_step", "vertical_step", "crop"},
}
Row = dict[str, Any]
Policy = Callable[[Environment, State], str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # More than the default, so that every fault, view and direction has its turn.
    written = tmp_path_factory.mktemp("samples")
    write_samples(written, per_dataset=9)
    return written


def rows(folder: Path, acronym: str) -> list[Row]:
    text = (folder / f"{STEMS[acronym]}_preprocessed.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def all_rows(folder: Path) -> Iterator[tuple[str, Row]]:
    return ((acronym, row) for acronym in ACRONYMS for row in rows(folder, acronym))


def tree(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def start(acronym: str, row: Row, folder: Path, **ways: bool) -> Environment:
    return environment_class(acronym)(row, str(folder), **ways)


def picture(state: State) -> Image.Image:
    with Image.open(state["image_path"]) as image:
        shown: Image.Image = state["transform"](image.convert("RGB"))
    return shown


def walk(env: Environment, policy: Policy, hint: bool = False) -> tuple[list[State], Statistics]:
    states = []
    while not env.stop:
        state = env.get_state(hint=hint)
        assert min(picture(state).size) > 0
        states.append(state)
        env.evaluate_generated_answer(policy(env, state))
    assert len(states) <= env.max_steps
    return states, env.get_statistics()


def suggestions(env: Environment) -> list[str]:
    return env._get_correct_options_and_categories()[0]


def insist(wanted: str) -> Policy:
    """One suggestion for as long as it is valid, then the right category."""
    return lambda env, state: wanted if wanted in suggestions(env) else env.answer


def always(answer: str) -> Policy:
    return lambda env, state: answer


def oracle(env: Environment, state: State) -> str:
    valid = suggestions(env)
    return valid[0] if valid and env.num_turns + 1 < env.max_steps else env.answer


def test_every_data_set_is_there_in_the_published_layout(folder: Path) -> None:
    assert {path.name for path in folder.glob("*.jsonl")} == {each.file_name for each in DATA_SETS}
    for acronym, row in all_rows(folder):
        assert set(row) == COMMON | OWN[acronym]
        assert row["id"] in kept_ids(acronym)
        assert not skip_row(row)


def test_the_default_is_six_of_each_and_no_more_than_the_benchmark_keeps(tmp_path: Path) -> None:
    write_samples(tmp_path / "six")
    assert {len(rows(tmp_path / "six", acronym)) for acronym in ACRONYMS} == {6}
    every = [task.number for task in samples._tasks("VSOD", 0, 1000)]
    assert every == sorted(kept_ids("VSOD"))


@pytest.mark.parametrize("acronym", ACRONYMS)
def test_answers_take_turns_in_position_and_options_are_plain(folder: Path, acronym: str) -> None:
    given_rows = rows(folder, acronym)
    assert len({row["categories"].index(row["answer"]) for row in given_rows}) > 1
    for row in given_rows:
        offered = row["options"] + row["categories"]
        assert len(set(offered)) == len(offered)
        assert 3 <= len(row["categories"]) <= 4
        # The open-ended mode splits its valid answers at commas.
        assert not any("," in option for option in offered)
        assert sum("cannot" in option or "do not" in option for option in row["options"]) == 1


def test_no_two_pictures_are_equal(folder: Path) -> None:
    pictures = [digest for path, digest in tree(folder).items() if not path.endswith(".jsonl")]
    assert len(pictures) == len(set(pictures)) > 500


def test_writing_again_gives_the_same_bytes_in_another_process_too(tmp_path: Path) -> None:
    write_samples(tmp_path / "here", per_dataset=2)
    code = "from pathlib import Path; from pbclient.data.samples import *; "
    code += f"write_samples(Path({str(tmp_path)!r}), 2)"
    env = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parents[1])}
    here = tree(tmp_path / "here")
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
    assert {path: digest for path, digest in tree(tmp_path).items() if not path.startswith("here")} == here


@pytest.mark.parametrize("hint", [False, True])
def test_the_oracle_gets_every_sample_right(folder: Path, hint: bool) -> None:
    for acronym, row in all_rows(folder):
        _, statistics = walk(start(acronym, row, folder), oracle, hint)
        assert statistics["correct_prediction"]
        assert statistics["num_turns"] > 1


def test_each_suggestion_alone_brings_new_pictures_until_it_runs_out(folder: Path) -> None:
    for acronym, row in all_rows(folder):
        for wanted in list(start(acronym, row, folder).correct_options):
            states, statistics = walk(start(acronym, row, folder), insist(wanted))
            asked = statistics["action_evaluations"].count("correct")
            # It may run out before the end of the episode, but it is never wrong.
            assert asked == len(states) - statistics["correct_prediction"]
            shown = [picture(state) for state in states]
            assert len({(image.size, image.tobytes()) for image in shown}) == len(shown)


def test_abstaining_ends_the_episode(folder: Path) -> None:
    for acronym, row in all_rows(folder):
        abstention = next(option for option in row["options"] if "cannot" in option or "do not" in option)
        states, statistics = walk(start(acronym, row, folder), always(abstention))
        assert (len(states), statistics["correct_prediction"]) == (1, False)


@pytest.mark.parametrize("hint", [False, True])
def test_the_reference_picture_takes_the_right_category(folder: Path, hint: bool) -> None:
    for acronym, row in all_rows(folder):
        env = start(acronym, row, folder, reference=True)
        states, statistics = walk(env, lambda env, state: env.answer, hint)
        assert (len(states), statistics["correct_prediction"]) == (1, True)
        assert states[0]["options"] == row["categories"]


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    acronym=st.sampled_from(ACRONYMS),
    place=st.integers(0, 8),
    choices=st.lists(st.integers(0, 9), min_size=30, max_size=30),
    letters=st.booleans(),
    hint=st.booleans(),
    reference=st.booleans(),
    random=st.booleans(),
)
def test_no_walk_over_the_options_trips_a_rule(
    folder: Path,
    acronym: str,
    place: int,
    choices: list[int],
    letters: bool,
    hint: bool,
    reference: bool,
    random: bool,
) -> None:
    env = start(acronym, rows(folder, acronym)[place], folder, reference=reference, random=random)

    def chosen(env: Environment, state: State) -> str:
        # Half of the choices are valid suggestions: plain chance would end most walks at once.
        valid, choice = suggestions(env), choices[env.num_turns]
        answers = valid if valid and choice % 2 and not reference else state["options"]
        answer = answers[choice % len(answers)]
        return chr(65 + state["options"].index(answer)) if letters else answer

    _, statistics = walk(env, chosen, hint)
    assert statistics["num_turns"] >= 1


@pytest.mark.parametrize(
    ("acronym", "wanted", "ends"),
    [
        ("ROD", "Move the blocks to the left.", [0, 13]),
        ("ROD", "Move the blocks to the right.", [13, 0]),
        ("VSOD", "Rewind the video.", [0, 11]),
        ("VSOD", "Wait for the person to walk on.", [11, 0]),
    ],
)
def test_the_ends_meet(folder: Path, acronym: str, wanted: str, ends: list[int]) -> None:
    for row in rows(folder, acronym):
        _, statistics = walk(start(acronym, row, folder), insist(wanted))
        seen = statistics["image_id_history"]
        at = seen.index(ends[0])
        assert seen[at : at + 2] == ends
        assert sorted(seen) == list(range(row["num_images"]))
        assert statistics["max_steps"]


def test_a_film_takes_no_wait_at_its_end_and_no_rewind_at_its_start(folder: Path) -> None:
    for row in rows(folder, "CIT"):
        states, statistics = walk(start("CIT", row, folder), insist("Wait for the object to appear."))
        assert "Rewind the video." not in states[0]["options"]
        assert all("Rewind the video." in state["options"] for state in states[1:])
        assert not any("Wait for" in option for option in states[-1]["options"])
        assert statistics["num_turns"] == row["max_steps"]
        assert statistics["image_id_history"][-1] + row["step_size"] >= row["num_images"]


def test_a_view_grows_to_nearly_the_whole_picture_and_no_further(folder: Path) -> None:
    for row in rows(folder, "COCO"):
        states, _ = walk(start("COCO", row, folder), oracle)
        whole = drawings.LANDSCAPE
        sizes = [picture(state).size for state in states]
        areas = [width * height for width, height in sizes]
        assert areas == sorted(set(areas))
        assert areas[0] < areas[-1] * 0.4
        assert all(own <= most for own, most in zip(sizes[-1], whole, strict=True))
        assert areas[-1] > 0.8 * whole[0] * whole[1]
        assert not any("Move" in option for option in states[-1]["options"])


def test_all_directions_are_there(folder: Path) -> None:
    directions = {row["direction"] for row in rows(folder, "COCO")}
    assert {"zoom", "left", "right", "up", "down", "up_left", "down_right"} <= directions


def test_the_last_view_of_an_object_is_the_informative_one(folder: Path) -> None:
    for row in rows(folder, "MVP-N"):
        states, _ = walk(start("MVP-N", row, folder), oracle)
        shown = [Path(state["image_path"]).parent.name for state in states]
        assert shown == ["0"] * (len(shown) - 1) + ["1"]
        assert len(row["valid_images"]) == row["num_images"]


def test_the_open_ended_mode_finds_as_many_valid_answers_as_it_expects(folder: Path) -> None:
    for acronym, row in all_rows(folder):
        env = start(acronym, row, folder)
        named = [row["answer"]] if acronym not in ("ROD", "MVP-N") else []
        valid = env.get_open_ended_gen_answers().split(",")
        assert len(valid) == PREDICTION_THR[acronym] + len(named)


@pytest.mark.parametrize("acronym", ["ROD", "MVP-N"])
def test_samples_serve_as_examples_for_few_shots(folder: Path, acronym: str) -> None:
    for row in rows(folder, acronym):
        for cot in (False, True):
            steps = start(acronym, row, folder).get_icl_example(cot=cot)  # type: ignore[attr-defined]
            assert steps[-1]["generated_answer"] == row["answer"]
            assert all(Path(step["image_path"]).is_file() for step in steps)


def test_the_builtin_folder_is_made_once(tmp_path: Path) -> None:
    made = builtin_folder(tmp_path / "cache")
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    assert builtin_folder(tmp_path / "cache") == made
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before
    assert [path.name for path in made.parent.iterdir()] == [made.name]


def test_the_builtin_folder_is_in_the_users_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / name)
    assert builtin_folder().parent == tmp_path / "pbclient"


def test_two_at_once_make_one_whole_folder(tmp_path: Path) -> None:
    ready, made = threading.Barrier(2), []

    def make() -> None:
        ready.wait()
        made.append(builtin_folder(tmp_path))

    threads = [threading.Thread(target=make) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made[0] == made[1]
    assert list(tmp_path.iterdir()) == [made[0]]
    assert len(rows(made[0], "COCO")) == 6


def test_an_interrupted_one_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path, image: Image.Image) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(samples, "_save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        builtin_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot be written to .*file.*--data"):
        builtin_folder(tmp_path / "file")
