"""Agreement of judges, held against statsmodels; and the pairing of their verdicts."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint

from pbclient.errors import InputError
from pbclient.scores.judges import JudgePairs, agreement

tables = st.integers(2, 4).flatmap(
    lambda size: st.lists(
        st.lists(st.integers(0, 60), min_size=size, max_size=size), min_size=size, max_size=size
    )
)


def pairs(table: list[list[int]]) -> dict[tuple[int, int], int]:
    return {(row, column): n for row, counts in enumerate(table) for column, n in enumerate(counts)}


def labels_used(table: list[list[int]]) -> int:
    seen = {label for pair, count in pairs(table).items() if count for label in pair}
    return len(seen)


@given(tables.filter(lambda table: labels_used(table) > 1))
def test_kappa_and_its_interval_are_those_of_statsmodels(table):
    with np.errstate(all="ignore"):  # it also tests against zero, which we do not
        expected = cohens_kappa(np.array(table))
    kappa = agreement(pairs(table))["kappa"]
    assert kappa is not None
    assert kappa[0] == pytest.approx(expected.kappa, abs=1e-9)
    # Where there is no width, its variance is 0 up to ulps: below there is no root, above one of 1e-8.
    nothing = expected.var_kappa < 1e-18
    limits = (expected.kappa,) * 2 if nothing else (expected.kappa_low, expected.kappa_upp)
    assert kappa[1] == pytest.approx((max(limits[0], -1), min(limits[1], 1)), abs=1e-7)


@given(tables.filter(lambda table: labels_used(table) > 0))
def test_raw_agreement_has_the_interval_of_a_share(table):
    raw, n = agreement(pairs(table))["raw"], sum(map(sum, table))
    equal = sum(table[place][place] for place in range(len(table)))
    assert raw is not None
    assert raw[0] == pytest.approx(100 * equal / n)
    expected = [100 * limit for limit in proportion_confint(equal, n, method="wilson")]
    assert raw[1] == pytest.approx(expected, abs=1e-7)


@given(tables)
def test_the_order_of_pairs_and_of_judges_moves_no_digit(table):
    there = pairs(table)
    back = {(other, one): count for (one, other), count in reversed(there.items())}
    one, other = agreement(there), agreement(back)
    assert one == other


def test_a_worked_example():
    # 70 % agree where chance gives 47.5 %: (0.7 - 0.475) / (1 - 0.475).
    found = agreement(pairs([[106, 10, 4], [22, 28, 10], [2, 12, 6]]))
    assert found["raw"] is not None
    assert found["kappa"] is not None
    assert (found["raw"][0], found["kappa"][0]) == (70, pytest.approx(0.225 / 0.525))


def test_where_both_only_ever_say_one_thing_there_is_no_kappa():
    found = agreement({("yes", "yes"): 12})
    assert found["raw"] is not None
    assert (found["raw"][0], found["kappa"]) == (100, None)
    assert agreement({}) == {"raw": None, "kappa": None}


def test_fewer_independent_pairs_widen_both_intervals():
    whole, part = agreement(pairs([[30, 5], [6, 19]])), agreement(pairs([[30, 5], [6, 19]]), size=15)
    for name, narrow in whole.items():
        wide = part[name]
        assert narrow is not None
        assert wide is not None
        assert wide[0] == narrow[0]
        assert wide[1][0] < narrow[1][0] < narrow[1][1] < wide[1][1]


# Verdicts of several judges


def line(sample: int, category: int | None, suggestion: int | None, **more: Any) -> dict[str, Any]:
    figures = {"category_prediction": category, "proactive_suggestion": suggestion}
    either = None if category is None or suggestion is None else int(category or suggestion)
    verdict = {
        "judge": "some/judge",
        "valid": ["a", "a"],
        **figures,
        "aggregate": either,
        "official": {key: value or 0 for key, value in {**figures, "aggregate": either}.items()},
        "turns": [],
    }
    outcome = "judge_failed" if category is None else "resolved"
    identity = {"dataset": "QD", "sample": str(sample), "repeat": 0, "outcome": outcome}
    return {**identity, "verdict": verdict, **more}


def paired(own: list[Any], **others: list[Any]) -> dict[str, Any]:
    judges = JudgePairs()
    for judge, lines in others.items():
        for each in lines:
            judges.read(judge, each)
    for each in own:
        judges.compare(each)
    return judges.entry()


def test_judges_are_compared_on_what_both_judged_and_on_each_part_of_a_verdict():
    own = [line(1, 1, 0), line(2, 0, 0), line(3, 1, 1), line(4, None, None), line(6, 1, 1)]
    other = [line(1, 1, 0), line(2, 1, 0), line(3, 1, 1), line(4, 1, 1), line(5, 0, 0), line(6, None, None)]
    found = paired(own, other=other)["other"]
    assert found["n"] == 3
    assert found["raw"] == found["category"]["raw"] == 66.666667
    assert (found["suggestion"]["raw"], found["suggestion"]["kappa"]) == (100.0, 1.0)
    assert found["category"]["kappa"] == 0.0
    assert found["suggestion"]["kappa_ci"] == [1.0, 1.0]
    whole = agreement({((1, 0), (1, 0)): 1, ((0, 0), (1, 0)): 1, ((1, 1), (1, 1)): 1})
    assert whole["kappa"] is not None
    assert found["kappa"] == round(whole["kappa"][0], 6)
    assert found["kappa_ci"][1] <= 1.0


def test_every_other_judge_has_an_entry_in_the_order_of_their_names():
    found = paired([line(1, 1, 0)], zeta=[line(1, 1, 0)], alpha=[line(2, 1, 0)], none=[line(1, None, None)])
    assert list(found) == ["alpha", "none", "zeta"]
    assert [each["n"] for each in found.values()] == [0, 0, 1]
    assert found["alpha"] == {
        "n": 0,
        **dict.fromkeys(("raw", "raw_ci", "kappa", "kappa_ci")),
        **{
            part: dict.fromkeys(("raw", "raw_ci", "kappa", "kappa_ci")) for part in ("category", "suggestion")
        },
    }
    assert paired([line(1, 1, 0)]) == {}


def test_repeats_of_a_sample_do_not_pass_for_new_ones():
    rng = random.Random(3)
    once = [(number, rng.randrange(2), rng.randrange(2)) for number in range(40)]
    own = [line(number, one, one, repeat=repeat) for number, one, _ in once for repeat in range(3)]
    other = [line(number, two, two, repeat=repeat) for number, _, two in once for repeat in range(3)]
    single = paired([each for each in own if not each["repeat"]], other=other)["other"]
    assert paired(own, other=other)["other"] == {**single, "n": 120}


@pytest.mark.parametrize("damage", [{"dataset": "MNIST"}, {"outcome": "fine"}, {"verdict": {"judge": "j"}}])
def test_a_damaged_line_of_another_judge_is_named(damage):
    with pytest.raises(InputError, match=r"^Episode \S+ 1 \(repeat \S+\) has no valid '"):
        paired([], other=[{**line(1, 1, 0), **damage}])
