"""`pbclient estimate`: what a run will cost before it is started, and what its money will show.

No call is made, no key is needed, nothing is written. Every episode of the plan is played out of
the cache as far as that goes; the rest is bounded by a walk through the environment and expected by
what earlier runs taught. Retries and calls that fail are not foreseen.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pbclient.benchmark.package import OEG
from pbclient.config import RunConfig
from pbclient.data.folder import Sample
from pbclient.episodes.players import View
from pbclient.forecast.assumptions import Notes, assumptions
from pbclient.forecast.costs import ASSUMED_SHARE, NOTHING, Forecast, Forecaster, JudgeForecaster
from pbclient.forecast.history import RESULTS, read_history
from pbclient.forecast.longest import LongestPath, Step, longest_path
from pbclient.forecast.power import detectable, half_width
from pbclient.forecast.replay import Replay, Replayed, replay
from pbclient.money.amounts import dollars
from pbclient.scheduler.manifest import DEFAULTS
from pbclient.scheduler.plan import Plan, prepare
from runs import Balance, Episodes, Identity, RunFolder, identity


@dataclass(frozen=True, slots=True)
class Reach:
    """How far the money goes: episodes, and what their accuracy then tells, in percentage points.

    `half_width` is that of the 95 % interval; `difference` is what a comparison of two models on so
    many samples detects. Both are None where there is nothing to tell.
    """

    episodes: int
    half_width: float | None
    difference: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a data set, or of all: `cost` is in picodollars, `stored` episodes are answered already.

    `buys` is reached when calls cost what is expected, `buys_at_worst` when each costs its most.
    """

    episodes: int
    stored: int
    forecast: Forecast
    buys: Reach
    buys_at_worst: Reach


@dataclass(frozen=True)
class Estimate:
    """The answer. `limit` is what `--max-cost` leaves in dollars, None when it is lifted."""

    datasets: Mapping[str, Figures]
    total: Figures
    limit: float | None
    assumptions: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it:

        {"datasets": {"ROD": FIGURES, ...}, "total": FIGURES, "limit": dollars or null,
         "assumptions": [sentence, ...]}, where FIGURES is
        {"episodes", "stored", "calls": {"least", "expected", "most"}, "cost": {the same, in dollars},
         "buys": {"episodes", "acc_half_width", "detectable"}, "buys_at_worst": {the same}}
        with the last two of these in percentage points or null.
        """
        return {
            "datasets": {name: _figures(figures) for name, figures in self.datasets.items()},
            "total": _figures(self.total),
            "limit": self.limit,
            "assumptions": list(self.assumptions),
        }


def estimate(config: RunConfig, results: Path = RESULTS) -> Estimate:
    """What a run of `config` will cost; learns from the run folders in `results`.

    Raises what the run would raise for bad input, but for a missing key.
    """
    # A notebook has a running event loop of its own.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(_estimate(config, results))).result()


async def _estimate(config: RunConfig, results: Path) -> Estimate:
    said: list[str] = []
    with prepare(config, said.append, asks=False) as plan:
        forecaster = _forecaster(plan, results)
        survey = _Survey(plan, _Earlier.of(plan), forecaster)
        await survey.make()
        return survey.estimate((*said, *assumptions(plan, forecaster, survey.seen)))


def _forecaster(plan: Plan, results: Path) -> Forecaster | None:
    if plan.model is None:
        return None
    return Forecaster.of(plan.model, read_history(plan, results), open_ended=plan.config.mode == OEG)


@dataclass(frozen=True)
class _Earlier:
    """What the run in --out has behind it, when there is one: it is not done and not paid again."""

    finished: frozenset[Identity] = frozenset()
    spent: int = 0

    @classmethod
    def of(cls, plan: Plan) -> _Earlier:
        if not (plan.out / "run.json").exists():
            return cls()
        folder = RunFolder.read(plan.out)
        folder.refuse_another(plan.manifest, DEFAULTS)
        last = {identity(each): each["outcome"] for each in Episodes(folder.episodes).read()}
        finished = frozenset(which for which, outcome in last.items() if outcome not in plan.owed)
        return cls(finished, Balance.read(folder.ledger).spent_or_held)


@dataclass
class _Purse:
    """Buys episodes in the order of the run until one is too dear; what is free is never refused."""

    left: float | None
    open: bool = True
    bought: Counter[tuple[str, int]] = field(default_factory=Counter)

    def buy(self, dataset: str, repeat: int, price: float, hold: int) -> None:
        if price and self.left is not None:
            # A call is made only when its hold is covered, whatever it then costs.
            self.open = self.open and max(price, hold) <= self.left
            if not self.open:
                return
            self.left -= price
        self.bought[dataset, repeat] += 1

    def episodes(self, dataset: str) -> int:
        return sum(count for (name, _), count in self.bought.items() if name == dataset)

    def samples(self, dataset: str) -> int:
        """Repeats of a sample are no new samples."""
        return max((count for (name, _), count in self.bought.items() if name == dataset), default=0)


@dataclass
class _Tally:
    episodes: int = 0
    stored: int = 0
    forecast: Forecast = NOTHING

    def __add__(self, other: _Tally) -> _Tally:
        return _Tally(
            self.episodes + other.episodes, self.stored + other.stored, self.forecast + other.forecast
        )


class _Survey:
    """Goes through the episodes of a plan in their order. `forecaster` is None for a baseline."""

    def __init__(self, plan: Plan, earlier: _Earlier, forecaster: Forecaster | None) -> None:
        self.plan = plan
        self.seen = Notes(spent=earlier.spent)
        self._earlier = earlier
        self._forecaster = forecaster
        self._tallies = {name: _Tally() for name in plan.counts}
        left = None if plan.limit is None else max(plan.limit - earlier.spent, 0)
        self._expected, self._worst = _Purse(left), _Purse(left)
        self._asked: set[str] = set()
        self._walked: dict[tuple[str, str], tuple[Step, ...]] = {}
        self._judged = _judge_forecaster(plan)

    async def make(self) -> None:
        """Look at every episode."""
        if self._forecaster is None or self.plan.model is None:
            for sample, repeat in self.plan.order:
                self._count(sample, repeat, NOTHING, stored=False)
            return
        with replay(self.plan, self.plan.model) as stored, longest_path(self.plan, self.plan.model) as ahead:
            for sample, repeat in self.plan.order:
                await self._look(sample, repeat, self._forecaster, stored, ahead)

    async def _look(
        self, sample: Sample, repeat: int, forecaster: Forecaster, stored: Replay, ahead: LongestPath
    ) -> None:
        if (sample.dataset, sample.id, repeat) in self._earlier.finished:
            self.seen.finished += 1
            self._count(sample, repeat, NOTHING, stored=True)
            return
        rehearsed = await stored.play(sample, repeat)
        self.seen.note(rehearsed)
        forecast = NOTHING
        if rehearsed.key is not None and not self.plan.config.offline:
            shared = rehearsed.key in self._asked
            self._asked.add(rehearsed.key)
            if rehearsed.view is not None:
                steps = await self._steps(sample, rehearsed, rehearsed.view, ahead)
                forecast = forecaster.forecast(sample.dataset, rehearsed.turns, steps, shared=shared)
                forecast += await self._verdict(sample, rehearsed.view, forecaster)
            elif self._judged is not None and rehearsed.judged is not None and not shared:
                forecast = await self._judged.of_answer(rehearsed.judged)
        self._count(sample, repeat, forecast, stored=rehearsed.complete)

    async def _verdict(self, sample: Sample, view: View, forecaster: Forecaster) -> Forecast:
        if self._judged is None:
            return NOTHING
        known = forecaster.output(sample.dataset)
        tokens = round(known.output) if known else forecaster.assumed_output
        return await self._judged.of_coming(sample, view, tokens)

    async def _steps(
        self, sample: Sample, rehearsed: Replayed, view: View, ahead: LongestPath
    ) -> tuple[Step, ...]:
        # Every repeat begins in the same place, but where it goes on by chance the chance is its own.
        if rehearsed.turns or self.plan.config.repeat == 1 or self.plan.rules.random_options:
            return await ahead.longest(sample, view)
        where = (sample.dataset, sample.id)
        if where not in self._walked:
            self._walked[where] = await ahead.longest(sample, view)
        return self._walked[where]

    def _count(self, sample: Sample, repeat: int, forecast: Forecast, *, stored: bool) -> None:
        self._tallies[sample.dataset] += _Tally(1, int(stored), forecast)
        self._expected.buy(sample.dataset, repeat, forecast.cost.expected, forecast.hold)
        self._worst.buy(sample.dataset, repeat, forecast.cost.most, forecast.hold)

    def estimate(self, assumed: tuple[str, ...]) -> Estimate:
        """What was seen, added up."""
        total = sum(self._tallies.values(), _Tally())
        return Estimate(
            datasets={name: self._figures(tally, [name]) for name, tally in self._tallies.items()},
            total=self._figures(total, list(self._tallies)),
            limit=None if self.plan.limit is None else dollars(self.plan.limit),
            assumptions=assumed,
        )

    def _figures(self, tally: _Tally, names: list[str]) -> Figures:
        reaches = (self._reach(budget, names) for budget in (self._expected, self._worst))
        return Figures(tally.episodes, tally.stored, tally.forecast, *reaches)

    def _reach(self, budget: _Purse, names: list[str]) -> Reach:
        strata = [(self._share(name), budget.samples(name)) for name in names]
        episodes = sum(budget.episodes(name) for name in names)
        return Reach(episodes, _points(half_width(strata)), _points(detectable(strata)))

    def _share(self, name: str) -> float:
        return ASSUMED_SHARE if self._forecaster is None else self._forecaster.share(name)


def _judge_forecaster(plan: Plan) -> JudgeForecaster | None:
    if plan.model is None or plan.judge is None:
        return None
    return JudgeForecaster(plan, plan.judge, plan.model)


def _points(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 2)


def _figures(figures: Figures) -> dict[str, Any]:
    calls, cost = figures.forecast.calls, figures.forecast.cost
    return {
        "episodes": figures.episodes,
        "stored": figures.stored,
        "calls": {"least": calls.least, "expected": round(calls.expected, 2), "most": calls.most},
        "cost": {
            "least": dollars(cost.least),
            "expected": dollars(round(cost.expected)),
            "most": dollars(cost.most),
        },
        "buys": _reach(figures.buys),
        "buys_at_worst": _reach(figures.buys_at_worst),
    }


def _reach(reach: Reach) -> dict[str, Any]:
    return {
        "episodes": reach.episodes,
        "acc_half_width": reach.half_width,
        "detectable": reach.difference,
    }
