"""A run held against the paper's figures of its own condition: differences, intervals, tests.

The paper publishes values and, by its counts of samples, what they are shares of; no intervals and no
episodes. So its samples count as another draw than the run's, though they are mostly the same: where
a run answers as the paper's did, the difference of the two varies less than is allowed for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import erf, erfc, sqrt
from statistics import NormalDist
from typing import Any

from pbclient.benchmark.package import OEG, STEMS
from pbclient.benchmark.paper import AVERAGE, Found, Table, paper
from pbclient.compare.paired import holm
from pbclient.compare.recorded import Recorded
from pbclient.compare.run_figures import RunFigures, read_figures
from pbclient.scores.figures import percent, rounded
from pbclient.scores.intervals import Interval, stratified_mean, wilson

ROUNDING = 0.05  # the paper's figures are rounded to a tenth
_Z95 = NormalDist().inv_cdf(0.975)
_LARGEST_Z = 8.0  # p = 1.2e-15: beyond it floats tell nothing

METHOD = {
    "interval_of_difference": "run less paper, 95 %: variances recovered from the limits of both (MOVER; for "
    "shares Newcombe's method 10), widened by the paper's rounding to 0.1 on either side",
    "limits_of_shares": "Wilson's, of the run over the samples it resolved, of the paper over its published "
    "number of samples",
    "limits_of_means": "the run's bootstrap interval; the paper's spread is not published: as the run's",
    "p": "two-sided: 1 less the confidence at which the interval of the difference reaches 0",
    "p_holm": "Holm over data sets and runs, for each figure of a table; for averages over the runs",
    "samples": "the paper's as another draw, though mostly the same: errs towards no difference",
}

type _Limits = Callable[[float], Interval | None]  # from a normal quantile


@dataclass(frozen=True, slots=True)
class Held:
    """The paper's figure, and the run's less it; `ci` and `p` are None where the run's has no interval."""

    published: float
    difference: float
    ci: Interval | None
    p: float | None
    p_holm: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As `compare --with paper --json` has it."""
        return {
            "published": self.published,
            "difference": self.difference,
            "ci": None if self.ci is None else list(self.ci),
            "p": self.p,
            "p_holm": self.p_holm,
        }


def held_against(found: Found, of: RunFigures, figure: str) -> dict[str, Held]:
    """One figure of a run against its row of the paper: by data set, and averaged where it has all seven."""
    table, row = found.table, found.row
    if table is None or row is None or figure not in table.figures:
        return {}
    ours, theirs = {}, {}
    for name in STEMS:
        entry = of.entries.get(name)
        if entry is not None and entry.get(figure) is not None:
            share = figure in table.shares
            ours[name], theirs[name] = _limits(
                entry, figure, row[figure][name], of.samples[name], table.samples[name], share
            )
    held = {
        name: _held(of.entries[name][figure], row[figure][name], ours[name], theirs[name]) for name in ours
    }
    if len(ours) == len(STEMS):
        values = {name: of.entries[name][figure] for name in STEMS}
        held[AVERAGE] = _held(
            of.entries[AVERAGE][figure],
            row[figure][AVERAGE],
            lambda z: _averaged((values[name], ours[name](z)) for name in STEMS),
            lambda z: _averaged((row[figure][name], theirs[name](z)) for name in STEMS),
        )
    return held


def _limits(
    entry: Mapping[str, Any], figure: str, published: float, samples: int, of_paper: int, is_share: bool
) -> tuple[_Limits, _Limits]:
    """The limits of a run's figure and of the paper's, at any confidence."""
    value, interval = entry[figure], entry[f"{figure}_ci"]
    if is_share:
        return _of_share(value, samples), _of_share(published, of_paper)
    below, above = (abs(value - limit) / _Z95 for limit in interval)
    scale = sqrt(samples / of_paper)
    return (
        lambda z: (value - z * below, value + z * above),
        lambda z: (published - z * scale * below, published + z * scale * above),
    )


def _of_share(value: float, n: int) -> _Limits:
    def limits(z: float) -> Interval | None:
        found = wilson(value / 100 * n, n, erf(z / sqrt(2)))
        return None if found is None else percent(found)

    return limits


def _averaged(strata: Iterable[tuple[float, Interval | None]]) -> Interval | None:
    return stratified_mean([(value, limits) for value, limits in strata if limits is not None])


def _held(value: float, published: float, ours: _Limits, theirs: _Limits) -> Held:
    difference = value - published

    def interval(z: float) -> Interval | None:
        mine, its = ours(z), theirs(z)
        if mine is None or its is None or mine[0] == mine[1]:
            return None  # an interval without width tells nothing of other samples
        below = sqrt((value - mine[0]) ** 2 + (its[1] - published) ** 2) + ROUNDING
        above = sqrt((mine[1] - value) ** 2 + (published - its[0]) ** 2) + ROUNDING
        return difference - below, difference + above

    limits = interval(_Z95)
    ci = None if limits is None else (rounded(limits[0]), rounded(limits[1]))
    shown = rounded(difference) + 0.0
    if abs(difference) <= ROUNDING + 1e-9:
        return Held(published, shown, ci, 1.0)
    if ci is None:
        return Held(published, shown, None, None)
    low, high = 0.0, _LARGEST_Z
    for _ in range(40):
        z = (low + high) / 2
        limits = interval(z)
        if limits is not None and not limits[0] <= 0 <= limits[1]:
            low = z
        else:
            high = z
    return Held(published, shown, ci, erfc(high / sqrt(2)))


def adjusted(family: Sequence[dict[str, Held]]) -> list[dict[str, Held]]:
    """The same with `p_holm`: over the data sets of all, and over their averages."""
    found: list[dict[str, Held]] = [dict(held) for held in family]
    for averages in (False, True):
        places = [
            (number, name)
            for number, held in enumerate(found)
            for name, each in held.items()
            if (name == AVERAGE) is averages and each.p is not None
        ]
        values = [found[number][name].p or 0.0 for number, name in places]
        for (number, name), p in zip(places, holm(values), strict=True):
            found[number][name] = replace(found[number][name], p_holm=p)
    return found


def beside_paper(runs: Sequence[Recorded]) -> dict[str, Any]:
    """What the paper has beside each of these runs, over all that the run resolved, as JSON."""
    read = [read_figures(run) for run in runs]
    tables: list[Table] = []
    for of in read:
        if of.found.table is not None and of.found.table not in tables:
            tables.append(of.found.table)
    held: list[dict[str, dict[str, Held]]] = [{} for _ in read]
    for table in tables:
        ours = [number for number, of in enumerate(read) if of.found.table is table]
        for figure in table.figures:
            family = adjusted([held_against(read[number].found, read[number], figure) for number in ours])
            for number, by_name in zip(ours, family, strict=True):
                held[number][figure] = by_name
    return {
        "source": paper().cited,
        "judge": paper().judge if any(of.condition.mode == OEG and of.found.table for of in read) else None,
        "tables": [table.to_json() for table in tables],
        "training": {
            "number": paper().training.number,
            "title": paper().training.title,
            "models": {
                name: row
                for of in read
                if of.found.table is paper().tables["zero-shot", "filtered"]
                for name, row in paper().trained(of.found.model or "").items()
            },
        },
        "runs": [
            {
                "label": of.run.label,
                "condition": str(of.condition),
                "table": None if of.found.table is None else of.found.table.number,
                "model": of.found.model,
                "note": of.found.note,
                "episodes": of.episodes,
                "without_score": of.episodes - len(of.scores),
                "figures": {
                    figure: {
                        name: {"value": of.entries[name][figure], **each.to_json()}
                        for name, each in by_name.items()
                    }
                    for figure, by_name in by_figure.items()
                    if by_name
                },
            }
            for of, by_figure in zip(read, held, strict=True)
        ],
        "method": METHOD,
    }
