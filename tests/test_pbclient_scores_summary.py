"""Figures from episode lines: known answers by hand, any order of lines, nothing unresolved scored."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbclient.errors import PbclientError
from pbclient.scores.checks import DATASETS, OUTCOMES
from pbclient.scores.figures import independent
from pbclient.scores.intervals import stratified_mean, wilson
from pbclient.scores.rescore import rescore
from pbclient.scores.summary import Tally, dump, summarize
from runs import Balance


def turn(action: str, category: str, **booked: Any) -> dict[str, Any]:
    return {"action": action, "category": category, "cached": False, "cost": 0.01, **booked}


def episode(
    dataset: str = "ROD", sample: str = "1", *, correct: bool = True, suggestions: int = 0, **more: Any
) -> Any:
    turns = [turn("correct", "mismatch") for _ in range(suggestions)]
    turns.append(turn("mismatch", "correct" if correct else "wrong"))
    line = {"dataset": dataset, "sample": sample, "repeat": 0, "outcome": "resolved"}
    return {**line, "correct": correct, "suggestions": suggestions, "turns": turns, **more}


def scored(episodes: list[Any], planned: dict[str, int] | None = None) -> dict[str, Any]:
    return summarize({"planned": planned} if planned else {}, episodes, Balance(), limit=5)


def percent(found: tuple[float, float] | None) -> Any:
    assert found is not None
    return pytest.approx([100 * limit for limit in found], abs=1e-6)


def actions(turns: float, **shares: float) -> Any:
    found = {}
    for name in ("proactive", "abstain", "category", "mismatch", "invalid"):
        part = shares.get(name, 0)
        found |= {name: 100.0 * part, f"{name}_ci": percent(wilson(part * turns, turns))}
    return found


def averaged(*estimates: Any) -> Any:
    return percent(stratified_mean(estimates))


def averaged_action(name: str, *estimates: Any) -> Any:
    mean = sum(value for value, _ in estimates) / len(estimates)
    return {name: 100.0 * mean, f"{name}_ci": averaged(*estimates)}


def by_turns(correct: int, n: int) -> Any:
    return {"n": n, "acc": 100.0 * correct / n, "acc_ci": percent(wilson(correct, n))}


# Whole summaries


def test_a_summary_worked_by_hand() -> None:
    episodes = [
        episode("COCO", "a", correct=True, suggestions=1),
        episode("COCO", "b", correct=True, suggestions=1),
        episode("ROD", "a", correct=True, suggestions=0),
        episode("ROD", "b", correct=False, suggestions=2),
        episode("ROD", "c", correct=True, suggestions=2, outcome="refused"),
        episode("ROD", "d", correct=False, outcome="budget", turns=[]),
    ]
    rod, coco = wilson(1, 2), wilson(2, 2)
    assert rod is not None
    assert coco is not None
    assert scored(episodes) == {
        "schema": 1,
        "datasets": {
            "ROD": {
                "n": 4,
                "resolved": 2,
                "acc": 50.0,
                "acc_ci": percent(rod),
                "acc_bounds": [25.0, 75.0],
                "ps": 1.0,
                "ps_ci": [0.0, 2.0],
                "first_turn_acc": 50.0,
                "first_turn_acc_ci": percent(rod),
                "step_limit": 0.0,
                "step_limit_ci": percent(wilson(0, 2)),
                # One turn and three: as good as 16/10 of a turn when an episode always does the same.
                "actions": actions(16 / 10, proactive=1 / 2, category=1 / 2),
                "by_turns": {"1": by_turns(1, 1), "3": by_turns(0, 1)},
                "outcomes": {"resolved": 2, "refused": 1, "budget": 1},
            },
            "COCO": {
                "n": 2,
                "resolved": 2,
                "acc": 100.0,
                "acc_ci": percent(coco),
                "acc_bounds": [100.0, 100.0],
                "ps": 1.0,
                "ps_ci": [1.0, 1.0],
                "first_turn_acc": 0.0,
                "first_turn_acc_ci": percent(wilson(0, 2)),
                "step_limit": 0.0,
                "step_limit_ci": percent(wilson(0, 2)),
                "actions": actions(2, proactive=1 / 2, category=1 / 2),
                "by_turns": {"2": by_turns(2, 2)},
                "outcomes": {"resolved": 2},
            },
        },
        "average": {
            "acc": 75.0,
            "acc_ci": percent(stratified_mean([(0.5, rod), (1.0, coco)])),
            "acc_bounds": [62.5, 87.5],
            "ps": 1.0,
            "ps_ci": [0.5, 1.5],
            "first_turn_acc": 25.0,
            "first_turn_acc_ci": averaged((0.5, wilson(1, 2)), (0, wilson(0, 2))),
            "step_limit": 0.0,
            "step_limit_ci": averaged((0, wilson(0, 2)), (0, wilson(0, 2))),
            "actions": {
                **averaged_action("proactive", (0.5, wilson(0.8, 1.6)), (0.5, wilson(1, 2))),
                **averaged_action("abstain", (0, wilson(0, 1.6)), (0, wilson(0, 2))),
                **averaged_action("category", (0.5, wilson(0.8, 1.6)), (0.5, wilson(1, 2))),
                **averaged_action("mismatch", (0, wilson(0, 1.6)), (0, wilson(0, 2))),
                **averaged_action("invalid", (0, wilson(0, 1.6)), (0, wilson(0, 2))),
            },
            "by_turns": {
                "1": {**by_turns(1, 1), "over": ["ROD"]},
                "2": {**by_turns(2, 2), "over": ["COCO"]},
                "3": {**by_turns(0, 1), "over": ["ROD"]},
            },
            "over": ["ROD", "COCO"],
        },
        "cost": {"settled": 0.0, "held": 0.0, "limit": 5.0, "saved_by_cache": 0.0},
        "calls": {"wire": 0, "hits": 0, "retries": 0},
    }


def test_data_sets_stand_in_the_order_of_the_benchmark() -> None:
    assert DATASETS == ("ROD", "VSOD", "MVP-N", "IN-C", "QD", "CIT", "COCO")
    assert tuple(scored([episode(name) for name in reversed(DATASETS)])["datasets"]) == DATASETS


def test_money_and_calls_come_from_the_ledger_and_hits_from_the_turns() -> None:
    bought = turn("mismatch", "correct", saved=0.5)
    hit = turn("mismatch", "correct", cached=True, saved=0.1)
    unpriced = turn("mismatch", "correct", cached=True, saved=None)
    episodes = [
        episode(turns=[bought]),
        episode(turns=[hit]),
        episode(turns=[hit]),
        episode(turns=[unpriced]),
    ]
    ledger = Balance()
    ledger.settled, ledger.kept, ledger.calls, ledger.retries = 1_250_000_000_000, 1, 7, 2
    summary = summarize({}, episodes, ledger)
    assert summary["cost"] == {"settled": 1.25, "held": 1e-12, "limit": None, "saved_by_cache": 0.2}
    assert summary["calls"] == {"wire": 7, "hits": 3, "retries": 2}


def test_hits_of_unresolved_episodes_were_hits_too() -> None:
    refused = episode(outcome="refused", turns=[turn("mismatch", "wrong", cached=True, saved=0.25)])
    summary = scored([refused])
    assert summary["calls"]["hits"] == 1
    assert summary["cost"]["saved_by_cache"] == 0.25


# What was not resolved


@pytest.mark.parametrize("outcome", [each for each in OUTCOMES if each != "resolved"])
def test_an_unresolved_episode_is_counted_and_never_scored(outcome: str) -> None:
    with_it = scored([episode(correct=False), episode(sample="2", suggestions=9, outcome=outcome)])[
        "datasets"
    ]["ROD"]
    without = scored([episode(correct=False)])["datasets"]["ROD"]
    assert with_it == {**without, "n": 2, "acc_bounds": [0.0, 50.0], "outcomes": {"resolved": 1, outcome: 1}}


def test_where_nothing_is_resolved_figures_are_null_and_the_average_says_over_what_it_is() -> None:
    summary = scored([episode("ROD", correct=True), episode("QD", outcome="failed")])
    figures = summary["datasets"]["QD"]
    for key in ("acc", "ps", "first_turn_acc", "step_limit"):
        assert (figures[key], figures[f"{key}_ci"]) == (None, None)
    assert set(figures["actions"].values()) == {None}
    assert figures["by_turns"] == {}
    assert figures["acc_bounds"] == [0.0, 100.0]
    assert summary["average"]["over"] == ["ROD"]
    assert summary["average"]["acc"] == 100.0
    assert summary["average"]["acc_bounds"] == [50.0, 100.0]


@pytest.mark.parametrize("episodes", [[], [episode(outcome="failed")]])
def test_an_average_over_nothing_is_null(episodes: list[Any]) -> None:
    average = json.loads(dump(scored(episodes)))["average"]
    assert [average[key] for key in ("acc", "acc_ci", "ps", "ps_ci", "over")] == [None, None, None, None, []]


def test_planned_episodes_that_are_not_recorded_are_unresolved() -> None:
    datasets = scored([episode("ROD", correct=True)], planned={"ROD": 4, "CIT": 3, "QD": 0})["datasets"]
    assert list(datasets) == ["ROD", "CIT"]
    assert (datasets["ROD"]["n"], datasets["ROD"]["acc"], datasets["ROD"]["acc_bounds"]) == (
        4,
        100.0,
        [25.0, 100.0],
    )
    assert (datasets["CIT"]["n"], datasets["CIT"]["resolved"], datasets["CIT"]["outcomes"]) == (3, 0, {})


# Repeats


def test_repeats_of_a_sample_do_not_pass_for_new_samples() -> None:
    once = [episode(sample=str(number), correct=number < 30, suggestions=number % 3) for number in range(100)]
    thrice = [{**each, "repeat": repeat} for each in once for repeat in range(3)]
    one, three = scored(once)["datasets"]["ROD"], scored(thrice)["datasets"]["ROD"]
    assert three["n"] == 300
    assert (three["acc"], three["ps"], three["acc_ci"]) == (one["acc"], one["ps"], one["acc_ci"])
    width, single = three["ps_ci"][1] - three["ps_ci"][0], one["ps_ci"][1] - one["ps_ci"][0]
    assert width == pytest.approx(single, rel=0.1)


def test_samples_with_more_repeats_than_others_weigh_more_and_count_for_less() -> None:
    """What is taken for independent is never more than Kish's (sum m)^2 / sum m^2, whatever the overlap."""
    assert independent([]) == 0
    assert independent([40]) == independent([40, 40, 40]) == 40
    assert independent([100, 50]) == independent([50, 100]) == 150**2 / (50 * 1**2 + 50 * 2**2)


@given(st.lists(st.sets(st.integers(0, 9)), max_size=4))
def test_no_overlap_of_repeats_leaves_fewer_independent_samples(repeats: list[set[int]]) -> None:
    clusters = Counter(sample for repeat in repeats for sample in repeat).values()
    kish = sum(clusters) ** 2 / sum(m * m for m in clusters) if clusters else 0
    assert independent(map(len, repeats)) <= kish * (1 + 1e-12)


def test_figures_over_few_repeats_of_a_kind_take_the_fullest_repeat_of_that_kind() -> None:
    asked = [episode(sample="1", suggestions=1, repeat=repeat) for repeat in range(3)]
    entry = scored([*asked, episode(sample="2")])["datasets"]["ROD"]
    assert entry["by_turns"]["2"] == {"n": 3, "acc": 100.0, "acc_ci": percent(wilson(1, 1))}


# What was done in the turns


def test_actions_are_shares_of_turns_and_the_step_limit_one_of_episodes() -> None:
    screen = {"options": ["Move the blocks.", "I cannot tell.", "A cup."], "answer": "B"}
    asked = turn("correct", "mismatch")
    ends = [
        ([asked, asked, asked], False),  # the step limit
        ([asked, turn("wrong", "mismatch", **screen)], False),  # an abstention
        ([turn("wrong", "mismatch", **screen | {"answer": "A"})], False),  # a suggestion, refused
        ([turn("mismatch", "mismatch")], False),
        ([turn("mismatch", "correct")], True),
    ]
    found = scored(
        [
            episode(sample=str(number), correct=right, suggestions=len(turns) - 1, turns=turns)
            for number, (turns, right) in enumerate(ends)
        ]
    )["datasets"]["ROD"]
    shares = {name: found["actions"][name] for name in found["actions"] if not name.endswith("_ci")}
    assert shares == {"proactive": 62.5, "abstain": 12.5, "category": 12.5, "mismatch": 12.5, "invalid": 12.5}
    assert found["actions"]["proactive_ci"] == percent(wilson(0.625 * 64 / 16, 64 / 16))
    # In ROD a suggestion is only refused where nothing is left to show.
    assert (found["step_limit"], found["step_limit_ci"]) == (40.0, percent(wilson(2, 5)))
    assert (found["first_turn_acc"], found["first_turn_acc_ci"]) == (20.0, percent(wilson(1, 5)))


def test_only_where_options_are_random_does_every_repair_hold_for_one() -> None:
    refused = turn("wrong", "mismatch", options=["Deblur it.", "Rotate it."], answer="Rotate it.")
    line = episode("IN-C", correct=False, turns=[refused])
    for options, limit in (("valid", 0.0), ("random", 100.0)):
        summary = summarize({"config": {"options": options}}, [line], Balance(), limit=5)
        assert summary["datasets"]["IN-C"]["step_limit"] == limit


def test_reference_runs_have_categories_and_mismatches_only() -> None:
    found = scored(
        [episode(correct=True), episode(sample="2", turns=[turn("mismatch", "mismatch")], correct=False)]
    )
    shares = found["datasets"]["ROD"]["actions"]
    assert (shares["category"], shares["mismatch"], shares["proactive"], shares["abstain"]) == (50, 50, 0, 0)


# The file

lines = st.builds(
    episode,
    st.sampled_from(DATASETS),
    st.text("0123456789", min_size=1, max_size=4),
    correct=st.booleans(),
    suggestions=st.integers(0, 14),
    repeat=st.integers(0, 2),
    outcome=st.sampled_from(["resolved", "resolved", *OUTCOMES]),
).map(lambda line: {**line, "turns": [{**each, "cached": True, "saved": 0.1} for each in line["turns"]]})


@given(st.lists(lines, max_size=12).flatmap(lambda found: st.tuples(st.just(found), st.permutations(found))))
def test_the_order_of_lines_does_not_change_a_byte(runs: tuple[list[Any], list[Any]]) -> None:
    one, other = runs
    assert dump(scored(one)) == dump(scored(other))


@given(st.lists(lines, max_size=6))
def test_a_tally_can_be_asked_at_any_time(found: list[Any]) -> None:
    tally = Tally({"planned": {"QD": 4}})
    for number, line in enumerate(found, start=1):
        tally.add(line)
        assert tally.summary(Balance(), limit=5) == scored(found[:number], {"QD": 4})


@given(st.lists(lines, max_size=12))
def test_every_figure_is_in_its_range_and_the_file_reads_back(found: list[Any]) -> None:
    summary = scored(found)
    assert json.loads(dump(summary)) == summary
    for entry in summary["datasets"].values():
        worst, best = entry["acc_bounds"]
        assert 0 <= worst <= best <= 100
        if entry["resolved"]:
            assert worst - 1e-6 <= entry["acc"] <= best + 1e-6
            assert 0 <= entry["acc_ci"][0] <= entry["acc"] <= entry["acc_ci"][1] <= 100
            assert 0 <= entry["ps_ci"][0] <= entry["ps_ci"][1] <= 14
            assert sum(each["n"] for each in entry["by_turns"].values()) == entry["resolved"]
            shares = [entry["actions"][name] for name in ("proactive", "abstain", "category", "mismatch")]
            assert sum(shares) == pytest.approx(100, abs=1e-5)


def test_the_file_is_pinned_byte_for_byte() -> None:
    whole = dump(scored([episode(suggestions=1), episode(correct=False), episode(correct=False)]))
    assert whole.decode() == PINNED


PINNED = """\
{
  "schema": 1,
  "datasets": {
    "ROD": {
      "n": 3,
      "resolved": 3,
      "acc": 33.333333,
      "acc_ci": [
        6.149194,
        79.23404
      ],
      "acc_bounds": [
        33.333333,
        33.333333
      ],
      "ps": 0.333333,
      "ps_ci": [
        0.0,
        1.0
      ],
      "first_turn_acc": 0.0,
      "first_turn_acc_ci": [
        0.0,
        56.149703
      ],
      "step_limit": 0.0,
      "step_limit_ci": [
        0.0,
        56.149703
      ],
      "actions": {
        "proactive": 25.0,
        "proactive_ci": [
          3.362978,
          76.149812
        ],
        "abstain": 0.0,
        "abstain_ci": [
          0.0,
          59.02558
        ],
        "category": 75.0,
        "category_ci": [
          23.850188,
          96.637022
        ],
        "mismatch": 0.0,
        "mismatch_ci": [
          0.0,
          59.02558
        ],
        "invalid": 0.0,
        "invalid_ci": [
          0.0,
          59.02558
        ]
      },
      "by_turns": {
        "1": {
          "n": 2,
          "acc": 0.0,
          "acc_ci": [
            0.0,
            65.761977
          ]
        },
        "2": {
          "n": 1,
          "acc": 100.0,
          "acc_ci": [
            20.654931,
            100.0
          ]
        }
      },
      "outcomes": {
        "resolved": 3
      }
    }
  },
  "average": {
    "acc": 33.333333,
    "acc_ci": [
      6.149194,
      79.23404
    ],
    "acc_bounds": [
      33.333333,
      33.333333
    ],
    "ps": 0.333333,
    "ps_ci": [
      0.0,
      1.0
    ],
    "first_turn_acc": 0.0,
    "first_turn_acc_ci": [
      0.0,
      56.149703
    ],
    "step_limit": 0.0,
    "step_limit_ci": [
      0.0,
      56.149703
    ],
    "actions": {
      "proactive": 25.0,
      "proactive_ci": [
        3.362978,
        76.149812
      ],
      "abstain": 0.0,
      "abstain_ci": [
        0.0,
        59.02558
      ],
      "category": 75.0,
      "category_ci": [
        23.850188,
        96.637022
      ],
      "mismatch": 0.0,
      "mismatch_ci": [
        0.0,
        59.02558
      ],
      "invalid": 0.0,
      "invalid_ci": [
        0.0,
        59.02558
      ]
    },
    "by_turns": {
      "1": {
        "n": 2,
        "acc": 0.0,
        "acc_ci": [
          0.0,
          65.761977
        ],
        "over": [
          "ROD"
        ]
      },
      "2": {
        "n": 1,
        "acc": 100.0,
        "acc_ci": [
          20.654931,
          100.0
        ],
        "over": [
          "ROD"
        ]
      }
    },
    "over": [
      "ROD"
    ]
  },
  "cost": {
    "settled": 0.0,
    "held": 0.0,
    "limit": 5.0,
    "saved_by_cache": 0.0
  },
  "calls": {
    "wire": 0,
    "hits": 0,
    "retries": 0
  }
}
"""


def test_memory_does_not_grow_with_the_episodes() -> None:
    def many(count: int) -> Iterator[Any]:
        return (episode(sample=str(number), suggestions=number % 5) for number in range(count))

    def peak(count: int) -> int:
        tracemalloc.start()
        summarize({}, many(count), Balance(), limit=5)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)
    assert peak(4000) < peak(400) + 50_000


# Damaged lines


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ({"dataset": "MNIST"}, "dataset"),
        ({"outcome": "fine"}, "outcome"),
        ({"turns": None}, "turns"),
        ({"correct": None}, "correct"),
    ],
)
@pytest.mark.parametrize("use", [rescore, lambda line: scored([line])])
def test_a_damaged_line_is_named(use: Any, damage: dict[str, Any], named: str) -> None:
    with pytest.raises(PbclientError, match=rf"^Episode \S+ 17 \(repeat -?\d\) has no valid '{named}'"):
        use(episode(sample="17", **damage))


@pytest.mark.parametrize("saved", ["0.1", -0.1, True, float("nan"), float("inf"), 10**400])
def test_savings_that_are_no_money_are_refused(saved: object) -> None:
    line = episode(sample="17", turns=[turn("mismatch", "correct", cached=True, saved=saved)])
    with pytest.raises(PbclientError, match=r"^Episode ROD 17 \(repeat 0\) has a turn that saved"):
        scored([line])


# Scoring again


@given(lines)
def test_a_recorded_episode_that_agrees_with_its_turns_passes_unchanged(line: Any) -> None:
    assert rescore(line) is line


def test_an_episode_that_the_step_limit_ended_is_wrong_and_every_turn_but_one_a_suggestion() -> None:
    line = episode(correct=False, suggestions=2, turns=[turn("correct", "mismatch")] * 3)
    assert rescore(line) is line


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"correct": False}, "is recorded with correct False, but its turns gave True"),
        ({"suggestions": 4}, "is recorded with suggestions 4, but its turns gave 1"),
        ({"turns": []}, "recorded as resolved but has no turns"),
        (
            {"turns": [turn("mismatch", "wrong"), turn("mismatch", "correct")]},
            "goes on after turn 1, which ended it",
        ),
        ({"turns": [turn("mismatch", "correct")] * 2}, "goes on after turn 1, which ended it"),
        ({"turns": [turn("correct", "mismatch"), {}]}, "has a turn 2 without the environment's words"),
    ],
)
def test_an_episode_that_contradicts_its_turns_is_named(damage: dict[str, Any], said: str) -> None:
    with pytest.raises(PbclientError, match=said) as caught:
        rescore({**episode("QD", "42", suggestions=1), **damage})
    assert str(caught.value).startswith("Episode QD 42 (repeat 0) ")


def test_an_unresolved_episode_carries_no_score_to_check() -> None:
    line = episode(outcome="truncated", correct=False, suggestions=7, turns=[])
    assert rescore(line) is line
