"""Open-ended figures: known answers by hand, the package's own count beside ours, verdicts read again."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from proactivebench.open_ended_gen import parse_judge_prediction

from pbclient.benchmark.open_ended import read_verdict
from pbclient.errors import InputError
from pbclient.scores.intervals import stratified_mean, wilson
from pbclient.scores.rescore import rescore
from pbclient.scores.summary import dump, summarize
from runs import Balance

OEG = {"config": {"mode": "oeg", "judge": {"provider": "p", "model": "m"}}}
VALID = "Add more details to the drawing, A cup."
KEYS = ("proactive_suggestion", "category_prediction", "aggregate")


def judged(
    sample: int, *answers: str, dataset: str = "QD", finish: str = "stop", **more: Any
) -> dict[str, Any]:
    """The line of an episode whose judge gave these answers: QD has one suggestion, then a category."""
    read = [read_verdict(VALID, answer, dataset) for answer in answers]
    held = [figures for figures, parsed in read if parsed and finish == "stop"]
    figures: dict[str, Any] = dict(held[0]) if held else dict.fromkeys(KEYS)
    verdict = {
        "judge": "p/m",
        "valid": [VALID, VALID],
        **figures,
        "official": read[0][0] if read else dict.fromkeys(KEYS, 0),
        "turns": [{"answer": answer, "finish": finish} for answer in answers],
    }
    return {
        "dataset": dataset,
        "sample": str(sample),
        "repeat": 0,
        "outcome": "resolved" if held else "judge_failed",
        "correct": figures["category_prediction"] == 1,
        "suggestions": figures["proactive_suggestion"] or 0,
        "turns": [{"answer": "A cup.", "options": [], "action": None, "category": None}],
        "verdict": verdict,
        **more,
    }


def unjudged(sample: int, outcome: str = "resolved", dataset: str = "QD") -> dict[str, Any]:
    line = judged(sample, "0, 0", dataset=dataset)
    del line["verdict"]
    return {**line, "outcome": outcome, "correct": None, "suggestions": None}


def scored(
    episodes: list[Any], judges: dict[str, list[Any]] | None = None, **manifest: Any
) -> dict[str, Any]:
    return summarize({**OEG, **manifest}, episodes, Balance(), judges or {}, limit=5)


def percent(found: tuple[float, float] | None) -> Any:
    assert found is not None
    return pytest.approx([100 * limit for limit in found], abs=1e-6)


def test_a_summary_worked_by_hand() -> None:
    episodes = [
        judged(1, "0, 1"),
        judged(2, "1, 0"),
        judged(3, "rambling", "1, 1"),  # ours after the second asking, the package's after the first
        judged(4, "rambling", "again"),
        unjudged(5, "refused"),
        judged(1, "0, 0", dataset="ROD"),
    ]
    episodes[-1]["verdict"]["valid"] = ["a, b", "a, b"]
    found = scored(episodes, planned={"QD": 6})
    assert found["datasets"]["QD"] == {
        "n": 6,
        "resolved": 3,
        "judged": 3,
        "acc": 66.666667,
        "acc_ci": percent(wilson(2, 3)),
        "acc_bounds": [33.333333, 83.333333],
        "ps": 66.666667,
        "ps_ci": percent(wilson(2, 3)),
        "ps_bounds": [33.333333, 83.333333],
        "agg": 100.0,
        "agg_ci": percent(wilson(3, 3)),
        "agg_bounds": [50.0, 100.0],
        "official": {"acc": 16.666667, "ps": 16.666667, "agg": 33.333333},
        "outcomes": {"resolved": 3, "refused": 1, "judge_failed": 1},
    }
    average = found["average"]
    assert (average["acc"], average["ps"], average["agg"]) == (33.333333, 33.333333, 50.0)
    assert average["acc_ci"] == percent(stratified_mean([(2 / 3, wilson(2, 3)), (0.0, wilson(0, 1))]))  # type: ignore[list-item]
    assert average["acc_bounds"] == [16.666667, 41.666667]
    assert average["official"] == {"acc": 8.333333, "ps": 8.333333, "agg": 16.666667}
    assert average["over"] == ["ROD", "QD"]
    assert "judges" not in found


def test_answers_that_were_only_recorded_have_no_score() -> None:
    found = scored([unjudged(1), unjudged(2)])
    entry = found["datasets"]["QD"]
    assert (entry["n"], entry["resolved"], entry["judged"]) == (2, 2, 0)
    assert (entry["acc"], entry["acc_ci"], entry["acc_bounds"]) == (None, None, [0.0, 100.0])
    assert entry["official"] == {"acc": 0.0, "ps": 0.0, "agg": 0.0}
    assert found["average"]["over"] == []
    assert scored([])["average"]["official"] == {"acc": None, "ps": None, "agg": None}


answers = st.lists(
    st.one_of(
        st.sampled_from(["0, 0", "0, 1", "1, 0", "1, 1", "", "1", "1, 1, 0"]), st.text("01, x", max_size=6)
    ),
    min_size=1,
    max_size=2,
)
lines = st.builds(
    lambda sample, said, finish, repeat: judged(sample, *said, finish=finish, repeat=repeat),
    st.integers(0, 99),
    answers,
    st.sampled_from(["stop", "stop", "length"]),
    st.integers(0, 1),
)


@given(st.lists(lines, min_size=1, max_size=12))
def test_the_official_figures_are_those_of_the_packages_loop(episodes: list[Any]) -> None:
    first = [
        parse_judge_prediction(VALID, each["verdict"]["turns"][0]["answer"].strip("\n"), "QD")
        for each in episodes
    ]
    found = scored(episodes)["datasets"]["QD"]["official"]
    for name, key in (("acc", "category_prediction"), ("ps", "proactive_suggestion"), ("agg", "aggregate")):
        assert found[name] == pytest.approx(sum(each[key] for each in first) / len(first) * 100, abs=1e-6)


@given(st.lists(lines, max_size=8).flatmap(lambda found: st.tuples(st.just(found), st.permutations(found))))
def test_the_order_of_lines_does_not_change_a_byte(runs: tuple[list[Any], list[Any]]) -> None:
    one, other = runs
    assert dump(scored(one)) == dump(scored(other))


def test_repeats_of_a_sample_do_not_pass_for_new_samples() -> None:
    once = [judged(number, "0, 1" if number % 3 else "1, 0") for number in range(30)]
    thrice = [{**each, "repeat": repeat} for each in once for repeat in range(3)]
    one, three = scored(once)["datasets"]["QD"], scored(thrice)["datasets"]["QD"]
    assert three == {**one, "n": 90, "resolved": 90, "judged": 90, "outcomes": {"resolved": 90}}


def test_the_judges_hits_are_hits_and_other_judges_are_compared() -> None:
    own, other = judged(1, "0, 1"), judged(1, "0, 1")
    for line in (own, other):
        line["verdict"]["turns"][0] |= {"cached": True, "saved": 0.25}
    own["turns"][0] |= {"cached": True, "saved": 0.5}
    beside = {key: other[key] for key in ("dataset", "sample", "repeat", "outcome", "verdict")}
    found = scored([own], {"second-1a2b": [beside]})
    assert (found["calls"]["hits"], found["cost"]["saved_by_cache"]) == (3, 1.0)
    assert (found["judges"]["second-1a2b"]["n"], found["judges"]["second-1a2b"]["raw"]) == (1, 100.0)


# Scoring again


@given(lines)
def test_a_recorded_verdict_that_agrees_with_the_judges_answers_passes_unchanged(line: Any) -> None:
    assert rescore(line, "oeg") is line


@pytest.mark.parametrize("outcome", ["resolved", "refused", "failed", "budget"])
def test_an_episode_without_a_verdict_has_nothing_to_check(outcome: str) -> None:
    line = unjudged(1, outcome)
    assert rescore(line, "oeg") is line


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("verdict", "category_prediction"), 0, "category_prediction 0, but its judge's answers gave 1"),
        (("verdict", "turns", 0, "answer"), "1, 0", "proactive_suggestion 0, but its judge's answers gave 1"),
        (
            ("verdict", "turns", 0, "answer"),
            "none",
            "proactive_suggestion 0, but its judge's answers gave None",
        ),
        (("verdict", "turns", 0, "finish"), "length", "but its judge's answers gave None"),
        (("verdict", "turns"), [], "but its judge's answers gave None"),
        (("verdict", "valid"), ["a", "a, b, c"], "but its judge's answers gave None"),
        (("verdict", "official", "aggregate"), 0, "aggregate 0, but its judge's first answer"),
        (("correct",), False, "correct False, but its verdict gave True"),
        (("suggestions",), 1, "suggestions 1, but its verdict gave 0"),
        (("verdict",), None, "correct True, but its verdict gave None"),
    ],
)
def test_a_score_that_contradicts_the_judges_answers_is_named(path: Any, value: Any, said: str) -> None:
    line = changed(judged(42, "0, 1"), path, value)
    with pytest.raises(InputError, match=said) as caught:
        rescore(line, "oeg")
    assert str(caught.value).startswith("Episode QD 42 (repeat 0) is recorded with ")


def test_a_judge_that_failed_must_have_failed() -> None:
    line = changed(judged(42, "what", "ever"), ("verdict", "turns", 1, "answer"), "1, 1")
    with pytest.raises(InputError, match="proactive_suggestion None, but its judge's answers gave 1"):
        rescore(line, "oeg")


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("verdict", "valid"), ["a"], "verdict"),
        (("verdict", "aggregate"), None, "verdict"),
        (("verdict", "aggregate"), True, "verdict"),
        (("verdict", "aggregate"), 2, "verdict"),
        (("verdict", "official"), None, "verdict"),
        (("outcome",), "judge_failed", "verdict"),
    ],
)
@pytest.mark.parametrize("use", [lambda line: rescore(line, "oeg"), lambda line: scored([line])])
def test_a_damaged_line_is_named(use: Any, path: Any, value: Any, named: str) -> None:
    with pytest.raises(InputError, match=rf"^Episode QD 42 \(repeat 0\) has no valid '{named}'"):
        use(changed(judged(42, "0, 1"), path, value))


def changed(line: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    line = copy.deepcopy(line)
    *outer, last = path
    inner: Any = line
    for step in outer:
        inner = inner[step]
    inner[last] = value
    return line
