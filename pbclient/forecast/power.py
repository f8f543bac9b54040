"""How much so many samples can tell: the half-width of an interval and the difference that shows.

Planning figures, made before anything is known. Accuracies are fractions here, not percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist

from pbclient.scores.intervals import stratified_mean, wilson

SIGNIFICANCE = 0.05
POWER = 0.80

type Stratum = tuple[float, int]


def half_width(strata: Sequence[Stratum]) -> float | None:
    """Half of the 95 % interval of an accuracy: of one (accuracy, n), or of the mean over several.

    Wilson's interval for each, joined as the run's own average is; None where nothing is sampled.
    """
    intervals = [(accuracy, wilson(accuracy * n, n)) for accuracy, n in strata if n]
    mean = stratified_mean([(accuracy, interval) for accuracy, interval in intervals if interval])
    return (mean[1] - mean[0]) / 2 if mean else None


def detectable(strata: Sequence[Stratum]) -> float | None:
    """The smallest difference between two models, each run on so many samples, that is found
    significant at 5 % (two-sided) in 80 % of such pairs of runs.

    (z_.975 + z_.80) * sqrt(2 p (1 - p) / n), the normal approximation for two independent proportions
    (J. L. Fleiss, B. Levin, M. C. Paik, "Statistical Methods for Rates and Proportions", 3rd ed. 2003,
    chapter 4); for a mean over k data sets the variances are added and divided by k squared. Runs on
    the same samples that are compared in pairs find smaller ones. None where nothing is sampled, or
    where no difference would do.
    """
    sampled = [(accuracy, n) for accuracy, n in strata if n]
    if not sampled:
        return None
    variance = sum(2 * accuracy * (1 - accuracy) / n for accuracy, n in sampled) / len(sampled) ** 2
    normal = NormalDist()
    difference = (normal.inv_cdf(1 - SIGNIFICANCE / 2) + normal.inv_cdf(POWER)) * sqrt(variance)
    return difference if difference <= 1 else None
