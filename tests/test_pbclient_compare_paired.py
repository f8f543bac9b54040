"""Tests and intervals for pairs agree with scipy, statsmodels, publications and plain enumeration."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import binom, binomtest, norm, permutation_test
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
from statsmodels.stats.multitest import multipletests

from pbclient.compare.paired import (
    MCNEMAR,
    MONTE_CARLO,
    SIGN_FLIP,
    SIGN_FLIP_DRAWN,
    Differences,
    holm,
    mcnemar,
    sign_flip,
    tango,
    test_of_average,
)

test_of_average.__test__ = False  # it is a statistical test

counts = st.integers(0, 60)
steps = st.lists(st.integers(-6, 6), min_size=2, max_size=9)


def close(value: float) -> object:
    return pytest.approx(value, rel=1e-9, abs=1e-12)


@given(counts, counts)
def test_mcnemar_is_that_of_statsmodels_and_of_the_binomial(gained: int, lost: int) -> None:
    theirs = their_mcnemar([[5, gained], [lost, 7]], exact=True).pvalue
    assert mcnemar(gained, lost) == close(min(1.0, float(theirs)))
    if gained + lost:
        assert mcnemar(gained, lost) == close(binomtest(gained, gained + lost).pvalue)


@pytest.mark.parametrize(("gained", "lost"), [(3778, 3779), (7557, 0), (900, 1100), (4000, 3557)])
def test_mcnemar_holds_at_the_size_of_the_benchmark(gained: int, lost: int) -> None:
    assert mcnemar(gained, lost) == close(binomtest(gained, gained + lost).pvalue)


@settings(deadline=None, max_examples=40)
@given(steps)
def test_sign_flip_is_the_exact_permutation_test_of_scipy(differences: list[int]) -> None:
    values = np.array(differences)
    theirs = permutation_test(
        (values, np.zeros_like(values)),
        lambda x, y: np.sum(x - y),
        permutation_type="samples",
        vectorized=False,
        n_resamples=np.inf,
    )
    assert sign_flip(Counter(differences), 0).p == close(theirs.pvalue)


@given(steps)
def test_sign_flip_counts_all_signs(differences: list[int]) -> None:
    observed = abs(sum(differences))
    signs = list(product((-1, 1), repeat=len(differences)))
    extreme = sum(
        abs(sum(sign * each for sign, each in zip(row, differences, strict=True))) >= observed
        for row in signs
    )
    verdict = sign_flip(Counter(differences), 0)
    assert verdict.test == SIGN_FLIP
    assert verdict.p == close(extreme / len(signs))


@given(counts, counts, st.integers(0, 50), st.integers(1, 9))
def test_sign_flip_of_yes_and_no_is_mcnemar_in_any_unit(gained: int, lost: int, same: int, unit: int) -> None:
    assert sign_flip({unit: gained, -unit: lost, 0: same}, 0).p == close(mcnemar(gained, lost))


def test_sign_flip_is_exact_at_the_size_of_the_benchmark() -> None:
    differences = {1: 1500, -1: 1400, 2: 270, -2: 250, 3: 10, -3: 12, 13: 5, -13: 7}
    chances = np.ones(1)
    for size, count in {1: 2900, 2: 520, 3: 22, 13: 12}.items():
        signed = np.zeros(2 * size * count + 1)
        signed[:: 2 * size] = binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, signed)
    distance = np.abs(np.arange(len(chances)) - len(chances) // 2)
    total = sum(value * count for value, count in differences.items())
    verdict = sign_flip(differences, 0)
    assert verdict.test == SIGN_FLIP
    assert verdict.p == close(float(chances[distance >= abs(total)].sum()))


# So many different sizes, each a few times, that the sums cannot all be counted.
MANY = {size: 3 for size in range(10_001, 80_000, 997)}


def test_what_cannot_be_counted_is_drawn_with_the_sample_among_the_draws() -> None:
    assert sign_flip(MANY, "seed").test == SIGN_FLIP_DRAWN
    assert sign_flip(MANY, "seed").p == 1 / (MONTE_CARLO + 1)


def test_drawn_p_values_are_seeded_and_near_the_truth() -> None:
    differences = {(-size if place % 2 else size): 3 for place, size in enumerate(MANY)}
    verdict = sign_flip(differences, "seed")
    spread = math.sqrt(sum(value * value * count for value, count in differences.items()))
    total = sum(value * count for value, count in differences.items())
    assert verdict == sign_flip(dict(reversed(differences.items())), "seed")
    assert verdict != sign_flip(differences, "another seed")
    assert verdict.p == pytest.approx(2 * norm.sf(abs(total) / spread), abs=0.02)


def test_nothing_changed_tells_nothing() -> None:
    assert mcnemar(0, 0) == sign_flip({0: 30}, 0).p == sign_flip({}, 0).p == 1.0
    assert sign_flip({4: 3, -4: 3}, 0).p == 1.0


def score(gained: int, lost: int, n: int, difference: float) -> float:
    """Tango's statistic with the constrained maximum likelihood found by searching for it."""

    def slope(share: float) -> float:
        of_gained = gained / (share + difference) if gained else 0.0
        of_lost = lost / share if lost else 0.0
        return of_gained + of_lost - 2 * (n - gained - lost) / (1 - 2 * share - difference)

    least, most = max(0.0, -difference) + 1e-13, (1 - difference) / 2 - 1e-13
    inside = slope(least) > 0 > slope(most)
    share = brentq(slope, least, most, xtol=1e-15) if inside else (least if slope(least) <= 0 else most)
    return (gained - lost - n * difference) / math.sqrt(n * (2 * share + difference * (1 - difference)))


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 60))
def test_tango_are_the_differences_that_the_score_test_just_accepts(
    gained: int, lost: int, same: int
) -> None:
    n = gained + lost + same
    interval = tango(gained, lost, n)
    assert interval is not None
    assert score(gained, lost, n, interval[0]) == pytest.approx(norm.ppf(0.975), rel=1e-6)
    assert score(gained, lost, n, interval[1]) == pytest.approx(-norm.ppf(0.975), rel=1e-6)


def test_tango_of_a_published_example() -> None:
    # Airway hyper-responsiveness before and after transplantation, 21 children: Fagerland, Lydersen,
    # Laake, Stat. Med. 33 (2014) 2850-2875.
    assert tango(1, 7, 21) == (pytest.approx(-0.517, abs=5e-4), pytest.approx(-0.026, abs=5e-4))


@given(counts, counts, counts)
def test_tango_stays_inside_and_turns_with_the_pairs(gained: int, lost: int, same: int) -> None:
    n = gained + lost + same
    interval = tango(gained, lost, n)
    if n == 0:
        assert interval is None
        return
    assert interval is not None
    low, high = interval
    assert -1 <= low <= (gained - lost) / n <= high <= 1
    assert low < high
    assert tango(lost, gained, n) == (-high, -low)


@pytest.mark.parametrize("n", [1, 10, 5000])
def test_tango_without_a_change_has_the_width_of_its_formula(n: int) -> None:
    square = norm.ppf(0.975) ** 2
    assert tango(0, 0, n) == (close(-square / (n + square)), close(square / (n + square)))
    assert tango(n, 0, n)[1] == 1.0  # type: ignore[index]


@pytest.mark.parametrize("wrong", [(-1, 0, 5), (0, -1, 5), (3, 3, 5)])
def test_tango_refuses_what_are_no_counts(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="out of 5"):
        tango(*wrong)


@settings(deadline=None, max_examples=10)
@given(
    st.lists(st.sampled_from([0.0, 1e-9, 0.01, 0.02, 0.5, 1.0]) | st.floats(0, 1), min_size=1, max_size=30)
)
def test_holm_is_that_of_statsmodels(p_values: list[float]) -> None:
    assert holm(p_values) == [close(float(each)) for each in multipletests(p_values, method="holm")[1]]


def test_holm_of_nothing() -> None:
    assert holm([]) == []


def shares(gained: int, lost: int, same: int, repeats: int = 1) -> Differences:
    """A share whose repeats all say the same."""
    found = {repeats: gained, -repeats: lost, 0: same}
    return Differences(found, repeats, repeats * (gained + lost + same), (gained, lost))


def test_one_share_is_tested_by_mcnemar_and_has_tangos_interval() -> None:
    found = shares(7, 1, 13)
    assert (found.test(0).p, found.test(0).test) == (mcnemar(7, 1), MCNEMAR)
    assert found.interval(0) == tango(7, 1, 21)
    assert found.estimate == close(6 / 21)


def test_repeats_that_say_the_same_tell_nothing_more() -> None:
    once, often = shares(7, 1, 13), shares(7, 1, 13, repeats=4)
    assert often.estimate == close(once.estimate)
    assert often.interval(0) == once.interval(0)
    assert often.test(0).p == close(once.test(0).p)


def test_repeats_that_differ_narrow_the_interval_up_to_that_of_as_many_samples() -> None:
    # 20 samples four times: each gained twice and lost once.
    steady = Differences({1: 20}, 4, 80, (10.0, 5.0))
    assert steady.interval(0) == (close(tango(40, 20, 80)[0]), close(tango(40, 20, 80)[1]))  # type: ignore[index]
    loose = Differences({4: 7, -4: 1, 1: 2, -2: 1, 0: 9}, 4, 80, (7.75, 1.75))
    widest, narrowest = tango(7.75, 1.75, 20), tango(31, 7, 80)
    found = loose.interval(0)
    assert widest is not None
    assert narrowest is not None
    assert found is not None
    assert widest[0] < found[0] < narrowest[0] < narrowest[1] < found[1] < widest[1]


def test_a_mean_has_the_interval_of_its_samples() -> None:
    found = Differences({-4: 10, 0: 30, 6: 20}, 2, 120, None)
    interval = found.interval("QD ps")
    assert found.estimate == close((-40 + 120) / 120)
    assert interval is not None
    assert interval[0] < found.estimate < interval[1]
    assert interval == found.interval("QD ps")
    # Twice 1.96 standard errors of 60 values.
    values = np.repeat([-2.0, 0.0, 3.0], [10, 30, 20])
    error = values.std() / math.sqrt(60)
    assert interval == (
        pytest.approx(found.estimate - 1.96 * error, abs=0.1),
        pytest.approx(found.estimate + 1.96 * error, abs=0.1),
    )


def test_the_average_of_one_data_set_is_that_data_set() -> None:
    found = shares(7, 1, 13)
    assert test_of_average([found], 0).p == close(found.test(0).p)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.integers(-3, 3), min_size=1, max_size=4), min_size=1, max_size=3))
def test_the_average_weighs_each_data_set_the_same(sets: list[list[int]]) -> None:
    scaled = [Differences(Counter(each), 3, 3 * len(each), None) for each in sets]
    weights = [Fraction(each, 3 * len(own)) for own in sets for each in own]
    observed = abs(sum(weights))
    signs = list(product((-1, 1), repeat=len(weights)))
    sums = [abs(sum(sign * weight for sign, weight in zip(row, weights, strict=True))) for row in signs]
    assert test_of_average(scaled, 0).p == close(sum(each >= observed for each in sums) / len(signs))


@example({0: 1, 1: 1, 2: 2, -1: 1, -2: 2})
@given(st.dictionaries(st.integers(-3, 3), st.integers(1, 9), min_size=1))
def test_the_other_way_round_the_interval_of_a_mean_is_the_mirror_image(counts: dict[int, int]) -> None:
    there = Differences(counts, 1, sum(counts.values()), None).interval("QD ps")
    back = Differences({-each: n for each, n in counts.items()}, 1, sum(counts.values()), None).interval(
        "QD ps"
    )
    assert there is not None
    assert back == (-there[1], -there[0])
