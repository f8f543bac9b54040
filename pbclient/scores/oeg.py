"""The figures of open-ended episodes: of one data set, and averaged over data sets.

`acc` is how often the right category was named, `ps` how often a valid suggestion was made, `agg`
how often either: shares of the judged episodes, in percent. Over several turns `psr` is how many suggestions
were carried out, the mean over episodes, as `ps` of multiple choice. Beside them stand the official
figures, as the package's example counts: of all samples, with 0 for whatever has no verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pbclient.scores.checks import Checks
from pbclient.scores.figures import (
    Figure,
    average,
    average_span,
    averages,
    entries,
    independent,
    rounded,
    share,
    span,
)
from pbclient.scores.intervals import Interval, bootstrap_mean
from runs import Episode

CHECKS: Checks = {}  # without a verdict there is no score

# Our names, as the package's example prints them, and those of its parser.
FIGURES = {"acc": "category_prediction", "ps": "proactive_suggestion", "agg": "aggregate"}


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one data set, by the names of `FIGURES`; None where nothing is judged."""

    judged: int
    shares: Mapping[str, Figure | None]
    bounds: Mapping[str, Interval]
    official: Mapping[str, float]
    psr: Figure | None = None
    several: bool = False

    def entry(self) -> dict[str, Any]:
        """As in a summary."""
        official = {name: rounded(value) for name, value in self.official.items()}
        psr = entries({"psr": self.psr}) if self.several else {}
        return {"judged": self.judged, **entries(self.shares, self.bounds), **psr, "official": official}


@dataclass(slots=True)
class Tally:
    """Counts over one data set: enough for every figure, whatever the number of episodes."""

    judged: Counter[int] = field(default_factory=Counter)  # by repeat
    positive: Counter[str] = field(default_factory=Counter)
    official: Counter[str] = field(default_factory=Counter)
    suggestions: Counter[int] = field(default_factory=Counter)  # over several turns
    several: bool = False

    def add(self, episode: Episode) -> None:
        """Count an episode whose fields have been checked."""
        verdict = episode.get("verdict")
        if verdict is None:
            return
        self.official.update({name: verdict["official"][key] for name, key in FIGURES.items()})
        self.several = self.several or "each" in verdict
        if episode["outcome"] == "resolved":
            if "each" in verdict:
                self.suggestions[len(verdict["each"]) - 1] += 1
            self.judged[episode["repeat"]] += 1
            self.positive.update({name: verdict[key] for name, key in FIGURES.items()})

    def figures(self, n: int) -> Figures:
        """Those of a data set with `n` episodes, all that are not counted here without a verdict."""
        judged = self.judged.total()
        samples = independent(self.judged.values())
        return Figures(
            judged=judged,
            shares={name: share(self.positive[name], judged, samples) for name in FIGURES},
            bounds={name: span(self.positive[name], n - judged, n) for name in FIGURES},
            official={name: 100 * self.official[name] / n for name in FIGURES},
            psr=self._suggestions(int(samples)),
            several=self.several,
        )

    def _suggestions(self, samples: int) -> Figure | None:
        # The same seed for every data set: which one it is is not known here, nor does it matter.
        interval = bootstrap_mean(self.suggestions, seed="suggestions", size=samples)
        total = sum(count * times for count, times in self.suggestions.items())
        return None if interval is None else (total / self.suggestions.total(), interval)


def averaged(datasets: Mapping[str, Figures]) -> dict[str, Any]:
    """The figures averaged over data sets: bounds and official ones over all, the rest over those judged."""
    figures = list(datasets.values())
    shares = averages(FIGURES, [of.shares for of in figures])
    bounds = {name: average_span(of.bounds[name] for of in figures) for name in FIGURES}
    official = {
        name: rounded(sum(of.official[name] for of in figures) / len(figures)) if figures else None
        for name in FIGURES
    }
    over = [dataset for dataset, of in datasets.items() if of.judged]
    psr = entries({"psr": average(of.psr for of in figures)}) if any(of.several for of in figures) else {}
    return {**entries(shares, bounds), **psr, "official": official, "over": over}
