"""Intervals: held against the closed formulas and against exact coverage, never against random trials."""

from __future__ import annotations

import random
import time
from math import comb, isclose, sqrt
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from statsmodels.stats.proportion import proportion_confint

from pbclient.scores.intervals import bootstrap_mean, bootstrap_ratio, stratified_mean, wilson

confidences = st.floats(0.5, 0.999)
counted = st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
histograms = st.dictionaries(st.integers(0, 20), st.integers(0, 300), min_size=1, max_size=8).filter(
    lambda counts: sum(counts.values()) > 0
)


def interval_of(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    found = wilson(successes, n, confidence)
    assert found is not None
    return found


def mean_interval(counts: dict[int, int], **options: float) -> tuple[float, float]:
    found = bootstrap_mean(counts, "test", **options)  # type: ignore[arg-type]
    assert found is not None
    return found


def binomial(k: int, n: int, p: float) -> float:
    return comb(n, k) * p**k * (1 - p) ** (n - k)


# Wilson


@given(counted, confidences)
def test_wilson_limits_are_the_roots_of_the_score_equation(
    successes_n: tuple[int, int], confidence: float
) -> None:
    successes, n = successes_n
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    for limit in interval_of(successes, n, confidence):
        # (share - p)^2 = z^2 p (1 - p) / n defines both limits.
        assert isclose(
            (successes / n - limit) ** 2, z * z * limit * (1 - limit) / n, rel_tol=1e-6, abs_tol=1e-12
        )


@given(counted, confidences)
def test_wilson_equals_the_closed_formula(successes_n: tuple[int, int], confidence: float) -> None:
    successes, n = successes_n
    share, z = successes / n, NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    assert interval_of(successes, n, confidence) == pytest.approx((centre - half, centre + half), abs=1e-9)


@given(counted, confidences)
def test_wilson_equals_scipy_and_statsmodels(successes_n: tuple[int, int], confidence: float) -> None:
    successes, n = successes_n
    found = interval_of(successes, n, confidence)
    theirs = proportion_confint(successes, n, alpha=1 - confidence, method="wilson")
    assert found == pytest.approx(theirs, abs=1e-9)
    scipys = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert found == pytest.approx((scipys.low, scipys.high), abs=1e-9)


@given(st.floats(0.5, 500), st.floats(0, 1))
def test_wilson_takes_an_effective_sample_size(n: float, share: float) -> None:
    found = wilson(share * n, n)
    assert found is not None
    assert 0 <= found[0] <= share + 1e-12
    assert share - 1e-12 <= found[1] <= 1
    # Not where the share is an ulp from an edge, at which their formula passes it.
    assert found == pytest.approx(np.clip(proportion_confint(share * n, n, method="wilson"), 0, 1), abs=1e-9)


@given(counted, confidences, confidences)
def test_wilson_holds_the_share_stays_a_share_and_widens_with_confidence(
    successes_n: tuple[int, int], one: float, other: float
) -> None:
    successes, n = successes_n
    low, high = interval_of(successes, n, min(one, other))
    wider_low, wider_high = interval_of(successes, n, max(one, other))
    assert 0 <= wider_low <= low <= successes / n <= high <= wider_high <= 1


@pytest.mark.parametrize(
    ("successes", "n", "expected"),
    [
        # Newcombe, Stat. Med. 17 (1998) 857-872, table I, method 3.
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
        # One try says little, whichever way it went.
        (0, 1, (0.0, 0.7935)),
        (1, 1, (0.2065, 1.0)),
    ],
)
def test_wilson_equals_published_values(successes: int, n: int, expected: tuple[float, float]) -> None:
    assert interval_of(successes, n) == pytest.approx(expected, abs=5e-5)


@given(st.integers(1, 10_000))
def test_none_and_all_end_exactly_at_the_edge(n: int) -> None:
    assert interval_of(0, n)[0] == 0.0
    assert interval_of(n, n)[1] == 1.0


def test_nothing_tried_has_no_interval_and_impossible_counts_are_refused() -> None:
    assert wilson(0, 0) is None
    for successes, n in [(-1, 5), (6, 5), (1, 0)]:
        with pytest.raises(ValueError, match="successes out of"):
            wilson(successes, n)


def test_wilson_covers_about_as_often_as_it_says() -> None:
    n, shares = 60, [step / 100 for step in range(5, 96)]
    intervals = [interval_of(k, n) for k in range(n + 1)]
    covered = [
        sum(binomial(k, n, p) for k, (low, high) in enumerate(intervals) if low <= p <= high) for p in shares
    ]
    assert min(covered) > 0.90
    assert 0.94 < sum(covered) / len(covered) < 0.96


# Bootstrap


@given(histograms)
def test_the_bootstrap_stays_among_the_values_and_repeats_itself(counts: dict[int, int]) -> None:
    low, high = mean_interval(counts, resamples=60)
    seen = [value for value, count in counts.items() if count]
    assert min(seen) <= low <= high <= max(seen)
    assert mean_interval(dict(reversed(counts.items())), resamples=60) == (low, high)


@given(histograms, confidences, confidences)
def test_the_bootstrap_widens_with_confidence(counts: dict[int, int], one: float, other: float) -> None:
    low, high = mean_interval(counts, resamples=60, confidence=min(one, other))
    wider_low, wider_high = mean_interval(counts, resamples=60, confidence=max(one, other))
    assert wider_low <= low <= high <= wider_high


@given(histograms, st.integers(0, 1000))
def test_the_bootstrap_limits_are_the_linear_quantiles_of_the_resampled_means(
    counts: dict[int, int], seed: int
) -> None:
    # Drawn again from the definition: the most frequent value first, a chain of binomial draws.
    rng, means = random.Random(seed), []
    for _ in range(50):
        left = total = sum(counts.values())
        drawn = 0
        for value, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            taken = rng.binomialvariate(left, count / total) if left else 0
            drawn, left, total = drawn + value * taken, left - taken, total - count
            if not left:
                break
        means.append(drawn / sum(counts.values()))
    found = bootstrap_mean(counts, seed, resamples=50)
    assert found == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=1e-9)


def test_the_bootstrap_agrees_with_resampling_value_by_value() -> None:
    counts = {0: 60, 1: 25, 2: 10, 7: 5}
    values = [value for value, count in counts.items() for _ in range(count)]
    rng = random.Random(7)
    means = sorted(sum(rng.choices(values, k=100)) / 100 for _ in range(20_000))
    assert mean_interval(counts, resamples=20_000) == pytest.approx((means[500], means[19_500]), abs=0.02)


def test_the_bootstrap_is_as_wide_as_the_normal_interval_on_a_large_sample() -> None:
    counts = {0: 4000, 1: 2000, 2: 1000, 13: 557}
    n = sum(counts.values())
    mean = sum(value * count for value, count in counts.items()) / n
    error = sqrt(sum(count * (value - mean) ** 2 for value, count in counts.items())) / n
    assert mean_interval(counts) == pytest.approx((mean - 1.96 * error, mean + 1.96 * error), abs=0.1 * error)


def test_fewer_independent_values_than_counted_widen_the_bootstrap() -> None:
    counts = {0: 600, 1: 400}
    low, high = mean_interval(counts)
    fewer_low, fewer_high = mean_interval(counts, size=250)
    assert (fewer_high - fewer_low) / (high - low) == pytest.approx(2, rel=0.1)


def test_the_bootstrap_is_pinned_so_that_recorded_summaries_stay_reproducible() -> None:
    assert bootstrap_mean({0: 50, 1: 30, 2: 15, 13: 5}, "ROD") == (0.76, 1.84)


@pytest.mark.parametrize("counts", [{}, {3: 0}])
def test_an_empty_sample_has_no_interval(counts: dict[int, int]) -> None:
    assert bootstrap_mean(counts, 0) is None


@pytest.mark.parametrize("counts", [{3: 1}, {3: 500}, {3: 500, 4: 0}])
def test_equal_values_show_no_spread(counts: dict[int, int]) -> None:
    assert bootstrap_mean(counts, 0) == (3, 3)


def test_the_bootstrap_of_the_whole_benchmark_is_quick() -> None:
    counts = {value: 540 for value in range(14)}  # every length an episode of 14 frames can have
    started = time.process_time()
    mean_interval(counts)
    assert time.process_time() - started < 0.5  # 0.03 s here; the room is for busy machines


@given(histograms)
def test_a_ratio_whose_denominators_are_one_is_a_mean(counts: dict[int, int]) -> None:
    ratios = {(value, 1): count for value, count in counts.items()}
    found = bootstrap_ratio(ratios, "test", resamples=60)
    assert found == pytest.approx(mean_interval(counts, resamples=60), abs=1e-9)


def test_a_ratio_is_resampled_by_units_with_all_that_belongs_to_them() -> None:
    # Rewards and turns of an episode: either one turn that earned nothing, or ten that all did.
    counts = {(0, 1): 60, (10, 10): 40}
    rng, ratios = random.Random(7), []
    for _ in range(5000):
        drawn = rng.choices(list(counts), weights=list(counts.values()), k=100)
        ratios.append(sum(above for above, _ in drawn) / sum(below for _, below in drawn))
    found = bootstrap_ratio(counts, "test", resamples=5000)
    assert found == pytest.approx(np.quantile(ratios, [0.025, 0.975]), abs=0.01)
    fewer = bootstrap_ratio(counts, "test", size=10)
    assert found is not None
    assert fewer is not None
    assert fewer[0] < found[0] < 400 / 460 < found[1] < fewer[1]


@pytest.mark.parametrize("counts", [{}, {(3, 1): 0}])
def test_an_empty_sample_has_no_ratio(counts: dict[tuple[int, int], int]) -> None:
    assert bootstrap_ratio(counts, 0) is None


# Averages over data sets


strata = st.lists(counted, min_size=1, max_size=7).map(
    lambda found: [(successes / n, interval_of(successes, n)) for successes, n in found]
)


@given(strata)
def test_an_average_lies_in_its_interval_and_that_among_the_strata_limits(
    found: list[tuple[float, tuple[float, float]]],
) -> None:
    low, high = stratified_mean(found) or (2.0, -1.0)
    mean = sum(estimate for estimate, _ in found) / len(found)
    lows, highs = [limits[0] for _, limits in found], [limits[1] for _, limits in found]
    noise = 1e-12
    assert sum(lows) / len(found) - noise <= low <= mean + noise
    assert mean - noise <= high <= sum(highs) / len(found) + noise


@given(counted)
def test_one_stratum_gives_back_its_own_interval(successes_n: tuple[int, int]) -> None:
    limits = interval_of(*successes_n)
    assert stratified_mean([(successes_n[0] / successes_n[1], limits)]) == pytest.approx(limits, abs=1e-12)


def test_a_hand_worked_average() -> None:
    low, high = stratified_mean([(0.5, (0.2, 0.9)), (0.7, (0.3, 0.7))]) or (0, 0)
    assert low == pytest.approx(0.6 - sqrt(0.3**2 + 0.4**2) / 2)
    assert high == pytest.approx(0.6 + 0.4 / 2)


def test_no_strata_have_no_average() -> None:
    assert stratified_mean([]) is None


@pytest.mark.parametrize(("p", "q"), [(0.1, 0.5), (0.02, 0.9), (0.5, 0.5), (0.97, 0.99)])
def test_the_average_of_two_data_sets_covers_about_as_often_as_it_says(p: float, q: float) -> None:
    n, m = 30, 90
    truth = (p + q) / 2
    covered = 0.0
    for k in range(n + 1):
        for j in range(m + 1):
            limits = stratified_mean([(k / n, interval_of(k, n)), (j / m, interval_of(j, m))])
            if limits and limits[0] <= truth <= limits[1]:
                covered += binomial(k, n, p) * binomial(j, m, q)
    assert 0.92 < covered < 0.99
