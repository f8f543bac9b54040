"""What was done in recorded turns, held against the package's environments playing known choices."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from proactivebench.environment import get_environment

from pbclient import RunConfig, run
from pbclient.benchmark.package import DATA_SETS, DataSet, evaluate, suggests
from pbclient.errors import InputError
from pbclient.scores.trajectory import Trajectory, trajectory_of

GARBAGE = "It is hard to say, friend."
FOREIGN = ["Rewind the video.", "Deblur the image.", "Rotate the object.", "Move the camera up."]

type Chosen = tuple[str, str]  # the kind of what was chosen, and the words for it


def rows(folder: Path, dataset: DataSet) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / dataset.file_name).read_text().splitlines()]


def choices(env: Any, abstentions: set[str]) -> list[Chosen]:
    """Everything on the screen with its kind, and an answer that is none of it."""
    screen = env.get_state()["options"]
    cut = 0 if env.reference else len(screen) - len(env.categories)
    kinds = ["abstain" if option in abstentions else "suggest" for option in screen[:cut]]
    kinds += ["category"] * (len(screen) - cut)
    return [*zip(kinds, screen, strict=True), ("nothing", GARBAGE)]


def in_some_form(screen: list[str], option: str, rng: random.Random) -> str:
    if option == GARBAGE:
        return option
    letter = chr(65 + screen.index(option))
    return rng.choice(
        [option, letter, f"{letter}.", f"{letter}. {option}", option.lower(), f"  {letter.lower()} "]
    )


def play(env: Any, abstentions: set[str], pick: Callable[[list[Chosen]], Chosen], rng: random.Random) -> Any:
    """An episode as it is recorded, and the kind of each choice."""
    turns, kinds = [], []
    while not env.stop:
        screen = list(env.get_state()["options"])
        kind, option = pick(choices(env, abstentions))
        answer = in_some_form(screen, option, rng)
        env.evaluate_generated_answer(answer)
        words = {"action": env.action_evaluation_history[-1], "category": env.category_evaluation_history[-1]}
        turns.append({"options": screen, "answer": answer, **words})
        kinds.append(kind)
    return turns, kinds


def eager(rng: random.Random, asking: float) -> Callable[[list[Chosen]], Chosen]:
    def pick(offered: list[Chosen]) -> Chosen:
        suggestions = [each for each in offered if each[0] == "suggest"]
        return rng.choice(suggestions) if suggestions and rng.random() < asking else rng.choice(offered)

    return pick


def expected(env: Any, turns: list[Any], kinds: list[str]) -> Trajectory:
    action, category = turns[-1]["action"], turns[-1]["category"]
    if env.get_statistics()["correct_prediction"]:
        last = "right"
    elif kinds[-1] == "suggest":
        last = "accepted" if action == "correct" else "refused"
    else:
        last = {"category": "wrong", "abstain": "abstain", "nothing": "mismatch"}[kinds[-1]]
    assert (category == "correct") == (last == "right")
    off_the_film = last == "accepted" and not env.get_statistics()["max_steps"]
    limited = kinds[-1] == "suggest" and (env.get_statistics()["max_steps"] or off_the_film)
    return Trajectory(len(turns), last, limited)  # type: ignore[arg-type]


def episodes(folder: Path, dataset: DataSet, **mode: bool) -> Iterator[tuple[Any, Any, list[Any], list[str]]]:
    rng = random.Random(dataset.acronym)
    for row in rows(folder, dataset):
        abstentions = {option for option in row["options"] if not suggests(option)}
        if mode.get("random"):
            row["options"] = [*rng.sample(FOREIGN, 2), *abstentions]
        for asking in (0.0, 0.5, 0.9, 0.9, 1.0, 1.0, 0.0, 0.0):
            env = get_environment(dataset.stem)(entry=row, data_dir="", **mode)
            turns, kinds = play(env, abstentions, eager(rng, asking), rng)
            yield {"dataset": dataset.acronym, "turns": turns}, env, turns, kinds


@pytest.mark.parametrize("dataset", DATA_SETS, ids=lambda dataset: dataset.acronym)
@pytest.mark.parametrize(
    "mode", [{}, {"random": True}, {"reference": True}], ids=["valid", "random", "reference"]
)
def test_the_shape_of_an_episode_is_what_was_played(samples, monkeypatch, dataset, mode):
    # The package draws from the global generator where options are random.
    monkeypatch.setattr("proactivebench.environment.random", random.Random(dataset.acronym))
    seen = set()
    for episode, env, turns, kinds in episodes(samples, dataset, **mode):
        trajectory = trajectory_of(episode, random_options=mode.get("random", False))
        assert trajectory == expected(env, turns, kinds), (turns[-1], kinds)
        assert trajectory.suggestions == env.get_statistics()["num_turns"] - 1
        seen.add(trajectory.last)
    assert {"wrong", "mismatch"} <= seen
    assert mode == {"reference": True} or "abstain" in seen


@pytest.mark.parametrize("dataset", DATA_SETS, ids=lambda dataset: dataset.acronym)
def test_who_only_asks_runs_into_the_limit_wherever_asking_is_always_offered(samples, dataset):
    for row in rows(samples, dataset):
        env = get_environment(dataset.stem)(entry=row, data_dir="")
        valid = list(env.correct_options)

        def ask(offered: list[Chosen], valid: list[str] = valid) -> Chosen:
            return next((each for each in offered if each[1] in valid), offered[-1])

        turns, _ = play(env, {row["options"][-1]}, ask, random.Random(1))
        trajectory = trajectory_of({"dataset": dataset.acronym, "turns": turns})
        assert env.get_statistics()["max_steps"] or not trajectory.limited
        # Where the environment stops to offer suggestions, there is nothing left to ask for.
        assert trajectory.limited or turns[-1]["answer"] == GARBAGE


def test_a_wrong_repair_is_refused_and_is_no_loop(samples):
    dataset = next(each for each in DATA_SETS if each.acronym == "IN-C")
    row = rows(samples, dataset)[0]
    repairs = [option for option in row["options"] if suggests(option)]
    wrong = next(option for option in repairs if option != row["quality_answer"])
    env = get_environment(dataset.stem)(entry=row, data_dir="")
    turns, _ = play(env, set(), lambda offered: ("suggest", wrong), random.Random(1))
    assert trajectory_of({"dataset": "IN-C", "turns": turns}) == Trajectory(1, "refused")


SCREEN = ["Rotate it.", "I cannot tell.", "A cup.", "A pen."]


def turn(
    action: str | None, category: str | None, answer: Any = "B", options: Any = SCREEN
) -> dict[str, Any]:
    return {"action": action, "category": category, "answer": answer, "options": options}


def of(*turns: dict[str, Any]) -> Trajectory:
    return trajectory_of({"dataset": "MVP-N", "sample": "17", "repeat": 0, "turns": list(turns)})


@pytest.mark.parametrize(
    ("last", "trajectory"),
    [
        (turn("correct", "mismatch"), Trajectory(1, "accepted", True)),
        (turn("correct", "wrong"), Trajectory(1, "accepted", True)),
        (turn("mismatch", "correct"), Trajectory(1, "right")),
        (turn("wrong", "correct"), Trajectory(1, "right")),
        (turn("mismatch", "wrong"), Trajectory(1, "wrong")),
        (turn("mismatch", "mismatch"), Trajectory(1, "mismatch")),
        (turn("wrong", "mismatch", "B"), Trajectory(1, "abstain")),
        (turn("wrong", "mismatch", "A. Rotate it."), Trajectory(1, "refused", True)),
        # A letter of an option with the text of a category: the text weighs more, as in the environment.
        (turn("wrong", "wrong", "A. A cup."), Trajectory(1, "wrong")),
        (turn("wrong", "wrong", "C. I cannot tell."), Trajectory(1, "abstain")),
    ],
)
def test_one_turn(last, trajectory):
    assert of(last) == trajectory


def test_valid_suggestions_are_those_that_went_on_and_one_at_the_limit():
    asked = turn("correct", "mismatch", "A")
    assert of(asked, asked, turn("mismatch", "correct")).accepted == 2
    assert of(asked, asked, asked).accepted == 3
    assert of(asked, asked, turn("wrong", "mismatch", "A")).accepted == 2


@pytest.mark.parametrize(
    ("turns", "said"),
    [
        ([], r"recorded as resolved but has no turns"),
        ([turn("mismatch", "wrong"), turn("mismatch", "correct")], "goes on after turn 1, which ended it"),
        ([turn("correct", "mismatch"), turn(None, None)], "has a turn 2 without the environment's words"),
        ([turn("correct", "right")], "has a turn 1 without the environment's words"),
        ([turn("wrong", "mismatch", "no idea")], "its answer there is none of the options"),
        ([turn("wrong", "mismatch", None)], "its answer there is none of the options"),
        ([turn("wrong", "mismatch", "B", None)], "its answer there is none of the options"),
        ([turn("wrong", "mismatch", "B", [1, None])], "its answer there is none of the options"),
    ],
)
def test_turns_that_no_environment_gave_are_named(turns, said):
    with pytest.raises(InputError, match=said) as caught:
        of(*turns)
    assert str(caught.value).startswith("Episode MVP-N 17 (repeat 0) ")


def test_one_answer_is_evaluated_as_the_environment_does():
    categories = SCREEN[2:]
    assert evaluate("A", ["Rotate it."], SCREEN[:2]) == ("correct", "Rotate it.")
    assert evaluate("b. i cannot tell.", ["Rotate it."], SCREEN[:2]) == ("wrong", "I cannot tell.")
    assert evaluate("D", ["A pen."], categories, shift=2) == ("correct", "A pen.")
    assert evaluate("C", [], categories, shift=2) == ("wrong", "A cup.")
    assert evaluate("E", ["A pen."], categories, shift=2) == ("mismatch", "")


@pytest.mark.parametrize("dataset", DATA_SETS, ids=lambda dataset: dataset.acronym)
def test_every_environment_tells_suggestions_from_abstentions_alike(samples, dataset):
    for row in rows(samples, dataset):
        env = get_environment(dataset.stem)(entry=row, data_dir="")
        known = set(env.correct_options) if dataset.acronym != "IN-C" else {row["quality_answer"]}
        assert known <= {option for option in row["options"] if suggests(option)}
        assert [suggests(option) for option in row["options"]].count(False) == 1


@pytest.mark.parametrize("model", ["random", "always-ask", "oracle"])
def test_each_turn_says_what_it_came_to_and_what_would_have_been_right(samples, tmp_path, model):
    run(RunConfig(provider="baseline", model=model, data=samples, out=tmp_path / "run"))
    lines = (tmp_path / "run" / "episodes.jsonl").read_text().splitlines()
    turns = [turn for line in lines for turn in json.loads(line)["turns"]]
    for turn in turns:
        took = turn["result"] == "right" or (turn["result"] == "suggestion" and turn["action"] == "correct")
        assert (turn["answer"] in turn["right_answers"]) == took, turn
        assert set(turn["right_answers"]) <= set(turn["options"])
    seen = {turn["result"] for turn in turns}
    assert (
        seen >= {"random": {"wrong", "abstention"}, "always-ask": {"suggestion"}, "oracle": {"right"}}[model]
    )
