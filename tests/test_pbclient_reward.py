"""The training reward: over single answers as TRL asks for it, and over recorded runs."""

from __future__ import annotations

import ast
import doctest
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from proactivebench.environment import get_environment

import pbclient.reward
from pbclient.benchmark.package import DATA_SETS, DataSet
from pbclient.errors import InputError, PbclientError
from pbclient.report.tables import of_rewards
from pbclient.report.terminal import plain
from pbclient.reward import proactive_reward, training_row
from pbclient.scores.intervals import bootstrap_mean, bootstrap_ratio, stratified_mean
from pbclient.scores.rescore import recorded_rewards

OPTIONS, CATEGORIES = ["I cannot tell.", "Rotate it.", "Blur it."], ["A cup.", "A pen."]


def reward(said: Any, **columns: Any) -> float:
    row = {
        "options": OPTIONS,
        "correct_options": ["Rotate it."],
        "categories": CATEGORIES,
        "answer": "A pen.",
    }
    (found,) = proactive_reward([said], **{name: [value] for name, value in {**row, **columns}.items()})
    return found


# Single answers


def test_the_example_in_the_documentation_is_true_and_its_program_is_python():
    assert doctest.testmod(pbclient.reward).failed == 0
    program = (pbclient.reward.__doc__ or "").partition("    from datasets")[2]
    assert len(ast.parse("from datasets" + program.replace("\n    ", "\n")).body) == 7


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("A pen.", 1.0),
        ("E", 1.0),
        ("e.", 1.0),
        ("E. A pen.", 1.0),
        ("Rotate it.", 0.75),
        ("B", 0.75),
        ("C", 0.0),
        ("I cannot tell.", 0.0),
        ("A cup.", 0.0),
        ("F", 0.0),
        ("", 0.0),
        ("The pen, I think", 0.0),
    ],
)
@pytest.mark.parametrize(
    "form",
    [
        lambda text: text,
        lambda text: [{"role": "assistant", "content": text}],
        lambda text: [{"role": "tool", "content": "A pen."}, {"role": "assistant", "content": text}],
        lambda text: [{"role": "assistant", "content": [{"type": "text", "text": text}]}],
    ],
    ids=["text", "message", "messages", "parts"],
)
def test_an_answer_is_rewarded_in_whatever_form_it_comes(form, answer, expected):
    assert reward(form(answer)) == expected


def test_what_is_not_valid_yet_or_any_more_is_not_rewarded():
    assert reward("A pen.", answer=None) == 0.0
    assert reward("Rotate it.", correct_options=[]) == 0.0


@pytest.mark.parametrize(
    "empty", [[], [{"role": "assistant", "content": None}], [{"role": "assistant", "content": []}]]
)
def test_a_completion_without_text_earns_nothing(empty):
    assert reward(empty) == 0.0


def test_the_trainer_may_pass_whatever_it_likes():
    columns = {
        "options": [OPTIONS],
        "correct_options": [[]],
        "categories": [CATEGORIES],
        "answer": ["A cup."],
    }
    more = {
        "prompts": [["?"]],
        "completion_ids": [[1]],
        "trainer_state": None,
        "log_metric": print,
        "image": [0],
    }
    assert proactive_reward(completions=["D"], **columns, **more) == [1.0]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"correct_options": ["Sing."]}, "'Sing.' is to be rewarded but is not in the column 'options'"),
        ({"answer": "A fox."}, "'A fox.' is to be rewarded but is not in the column 'categories'"),
    ],
)
def test_a_row_that_can_never_be_right_is_refused(columns, said):
    with pytest.raises(InputError, match=said):
        reward("A", **columns)


def test_columns_of_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        proactive_reward(["A", "B"], [OPTIONS], [[]], [CATEGORIES], ["A cup."])


def picture(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.copy()


def rows(folder: Path, dataset: DataSet) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / dataset.file_name).read_text().splitlines()]


@pytest.mark.parametrize("dataset", DATA_SETS, ids=lambda dataset: dataset.acronym)
def test_the_reward_of_a_training_row_is_what_the_environment_says_of_its_first_turn(samples, dataset):
    for row in rows(samples, dataset):
        found = training_row(dataset.acronym, row, lambda path: picture(samples / path))
        screen = found["options"] + found["categories"]
        assert all(
            f"{chr(65 + place)}. {option}" in found["prompt"][0]["content"]
            for place, option in enumerate(screen)
        )
        columns = {
            name: [found[name]] * len(screen)
            for name in ("options", "correct_options", "categories", "answer")
        }
        rewards = proactive_reward(screen, **columns)
        for option, given in zip(screen, rewards, strict=True):
            env = get_environment(dataset.stem)(entry=row, data_dir="")
            env.evaluate_generated_answer(option)
            suggested = env.action_evaluation_history == ["correct"]
            assert given == (1.0 if env.correct_prediction else 0.75 if suggested else 0.0)
        assert (1.0 in rewards) == (dataset.acronym != "ROD")
        assert 0.75 in rewards


def test_a_training_row_shows_what_the_environment_shows(samples):
    (dataset,) = (each for each in DATA_SETS if each.acronym == "COCO")
    row = rows(samples, dataset)[0]
    whole = picture(samples / row["image_template"])
    found = training_row("COCO", row, lambda path: whole, hint=True)
    assert found["image"].size != whole.size
    assert "Hint:" in found["prompt"][0]["content"]


def test_a_row_that_is_no_sample_is_said_to_be_none():
    with pytest.raises(PbclientError, match="environment failed: KeyError"):
        training_row("QD", {}, Image.open)


# Recorded runs


def turn(action: str, category: str, answer: str = "B") -> dict[str, Any]:
    return {
        "action": action,
        "category": category,
        "answer": answer,
        "options": ["Rotate it.", "I cannot tell."],
    }


ASKED, RIGHT, WRONG = turn("correct", "mismatch"), turn("mismatch", "correct"), turn("mismatch", "wrong")


def recorded(folder: Path, episodes: list[tuple[str, list[Any]]], **config: Any) -> Path:
    lines = [
        {
            "dataset": dataset,
            "sample": str(number),
            "repeat": 0,
            "outcome": "resolved" if turns else "failed",
            "correct": bool(turns) and turns[-1] is RIGHT,
            "suggestions": max(len(turns) - 1, 0),
            "turns": turns,
        }
        for number, (dataset, turns) in enumerate(episodes)
    ]
    (folder / "run.json").write_text(json.dumps({"schema": 1, "id": "x", "config": config, "settings": {}}))
    (folder / "episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_rewards_worked_by_hand(tmp_path):
    run = recorded(
        tmp_path,
        [
            ("ROD", [ASKED, ASKED, RIGHT]),  # 2.5 in 3 turns
            ("ROD", [WRONG]),
            ("ROD", [ASKED, turn("wrong", "mismatch", "A")]),  # 0.75 in 2: the second is not valid any more
            ("ROD", [ASKED, ASKED]),  # 1.5 in 2, at the step limit
            ("QD", [RIGHT]),
            ("CIT", []),
        ],
    )
    found = recorded_rewards(run)
    pairs = {(10, 3): 1, (0, 1): 1, (3, 2): 1, (6, 2): 1}
    per_turn, per_episode = bootstrap_ratio(pairs, "ROD"), bootstrap_mean({10: 1, 0: 1, 3: 1, 6: 1}, "ROD")
    assert per_turn is not None
    assert per_episode is not None
    assert found["datasets"] == {
        "ROD": {
            "episodes": 4,
            "turns": 8,
            "per_turn": 0.59375,
            "per_turn_ci": pytest.approx([limit / 4 for limit in per_turn], abs=1e-6),
            "per_episode": 1.1875,
            "per_episode_ci": pytest.approx([limit / 4 for limit in per_episode], abs=1e-6),
        },
        "QD": {
            "episodes": 1,
            "turns": 1,
            "per_turn": 1.0,
            "per_turn_ci": [1.0, 1.0],
            "per_episode": 1.0,
            "per_episode_ci": [1.0, 1.0],
        },
    }
    expected = stratified_mean([(0.59375, (per_turn[0] / 4, per_turn[1] / 4)), (1.0, (1.0, 1.0))])
    assert found["average"]["per_turn"] == 0.796875
    assert found["average"]["per_turn_ci"] == pytest.approx(expected, abs=1e-6)
    assert found["average"]["over"] == ["ROD", "QD"]
    assert plain([of_rewards(found)]).splitlines()[2].split() == [
        "QD",
        "1",
        "1",
        "1.000",
        "[1.000,",
        "1.000]",
        "1.000",
        "[1.000,",
        "1.000]",
    ]
    assert len({len(line) for line in plain([of_rewards(found)]).splitlines()}) == 1


def test_a_run_that_resolved_nothing_has_no_rewards(tmp_path):
    found = recorded_rewards(recorded(tmp_path, [("ROD", [])]))
    assert (found["datasets"], found["average"]["per_turn"], found["average"]["over"]) == ({}, None, [])
    assert plain([of_rewards(found)]).splitlines()[1].split() == ["average", "0", "0", "-", "-"]


def test_open_ended_answers_have_no_reward(tmp_path):
    with pytest.raises(InputError, match=r"is an open-ended run: the reward is defined on turns"):
        recorded_rewards(recorded(tmp_path, [], mode="oeg"))
