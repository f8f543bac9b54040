"""Planning figures against hand-made ones and against simulated comparisons."""

from __future__ import annotations

import random
from math import sqrt

import pytest

from pbclient.forecast.estimate import detectable, half_width
from pbclient.scores.intervals import wilson


def test_half_width_is_that_of_the_interval():
    low, high = wilson(50, 100)
    assert half_width([(0.5, 100)]) == pytest.approx((high - low) / 2)
    assert half_width([(0.5, 100)]) == pytest.approx(0.0961, abs=1e-3)


def test_a_mean_over_data_sets_is_surer_than_each():
    one = half_width([(0.5, 100)])
    assert half_width([(0.5, 100)] * 4) == pytest.approx(one / 2)
    assert detectable([(0.5, 100)] * 4) == pytest.approx(detectable([(0.5, 100)]) / 2)


def test_detectable_difference_by_the_formula():
    assert detectable([(0.5, 100)]) == pytest.approx((1.959964 + 0.841621) * sqrt(0.5 / 100), rel=1e-5)


def test_what_is_not_sampled_tells_nothing():
    assert half_width([]) is None
    assert detectable([(0.5, 0)]) is None
    assert detectable([(0.5, 2)]) is None
    assert half_width([(0.5, 0), (0.3, 40)]) == half_width([(0.3, 40)])


def test_four_comparisons_in_five_find_the_difference():
    n, rng, found, pairs = 300, random.Random(1), 0, 1500
    difference = detectable([(0.5, n)])
    low, high = 0.5 - difference / 2, 0.5 + difference / 2
    for _ in range(pairs):
        a, b = rng.binomialvariate(n, low) / n, rng.binomialvariate(n, high) / n
        error = sqrt((a * (1 - a) + b * (1 - b)) / n)
        found += abs(a - b) > 1.959964 * error
    assert found / pairs == pytest.approx(0.8, abs=0.04)
