"""`pbclient estimate`: what a run will cost before it is started, and what its money will show.

No call is made, no key is needed, nothing is written. Every episode of the plan is played out of
the cache as far as that goes; the rest is bounded by the longest path through the environment and
expected by what earlier runs taught. Retries and calls that fail are not foreseen.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pbclient.benchmark.package import OEG
from pbclient.config import RunConfig
from pbclient.data.folder import Sample
from pbclient.episodes.players import View
from pbclient.forecast.assumptions import Notes, assumptions
from pbclient.forecast.costs import ASSUMED_ACCURACY, Forecast, Forecaster, JudgeForecaster
from pbclient.forecast.history import RESULTS, read_history
from pbclient.forecast.longest import LongestPath, Step, longest_path
from pbclient.forecast.power import detectable, half_width
from pbclient.forecast.replay import Replayed, replay
from pbclient.money.amounts import dollars
from pbclient.scheduler.plan import DEFAULTS, Plan, prepare
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
    sentences: list[str] = []
    with prepare(config, sentences.append, asks=False) as plan:
        survey = _Survey(plan, results)
        await survey.make()
        return survey.estimate(sentences)


def _finished(plan: Plan) -> tuple[frozenset[Identity], int]:
    """What the run in --out has behind it, if there is one: episodes not done again, and what it spent."""
    if not (plan.out / "run.json").exists():
        return frozenset(), 0
    folder = RunFolder.read(plan.out)
    folder.refuse_another(plan.manifest, DEFAULTS)
    last = {identity(episode): episode["outcome"] for episode in Episodes(folder.episodes).read()}
    finished = frozenset(which for which, outcome in last.items() if outcome not in plan.owed)
    return finished, Balance.read(folder.ledger).spent_or_held


@dataclass
class _Purchases:
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

    def by_repeat(self, dataset: str) -> list[int]:
        return [count for (name, _), count in self.bought.items() if name == dataset]


class _Survey:
    """Goes through the episodes of a plan in their order."""

    def __init__(self, plan: Plan, results: Path) -> None:
        self._plan = plan
        self._finished, spent = _finished(plan)
        self._notes = Notes(spent=spent)
        self._episodes: Counter[str] = Counter()
        self._complete: Counter[str] = Counter()
        self._forecasts = dict.fromkeys(plan.counts, Forecast())
        left = None if plan.limit is None else max(plan.limit - spent, 0)
        self._expected, self._worst = _Purchases(left), _Purchases(left)
        self._asked: set[str] = set()
        self._first_steps: dict[tuple[str, str], tuple[Step, ...]] = {}
        # Nobody is asked by a baseline.
        self._forecaster = self._judge = None
        if plan.model is not None:
            history = read_history(plan, results)
            self._forecaster = Forecaster(plan.model, history, open_ended=plan.config.mode == OEG)
            if plan.judge is not None:
                self._judge = JudgeForecaster(plan, plan.judge, plan.model)

    async def make(self) -> None:
        """Look at every episode."""
        if self._forecaster is None:
            for sample, repeat in self._plan.order:
                self._count(sample, repeat, Forecast(), complete=False)
            return
        model = self._forecaster.model
        with replay(self._plan, model) as stored, longest_path(self._plan, model) as ahead:
            for sample, repeat in self._plan.order:
                if (sample.dataset, sample.id, repeat) in self._finished:
                    self._notes.finished += 1
                    self._count(sample, repeat, Forecast(), complete=True)
                else:
                    replayed = await stored.play(sample, repeat)
                    self._notes.note(replayed)
                    forecast = await self._forecast(sample, replayed, self._forecaster, ahead)
                    self._count(sample, repeat, forecast, complete=replayed.complete)

    async def _forecast(
        self, sample: Sample, replayed: Replayed, forecaster: Forecaster, ahead: LongestPath
    ) -> Forecast:
        """What the rest of an episode costs."""
        if replayed.key is None or self._plan.config.offline:
            return Forecast()
        shared = replayed.key in self._asked
        self._asked.add(replayed.key)
        if replayed.view is not None:
            steps = await self._steps(sample, replayed, replayed.view, ahead)
            self._notes.turns = max(self._notes.turns, replayed.turns + len(steps))
            forecast = forecaster.forecast(sample.dataset, replayed.turns, steps, shared=shared)
            if self._judge is not None:
                tokens, _ = forecaster.output(sample.dataset)
                forecast += await self._judge.of_coming(sample, replayed.view, tokens)
            return forecast
        if self._judge is not None and replayed.judged is not None and not shared:
            return await self._judge.of_answer(replayed.judged)
        return Forecast()

    async def _steps(
        self, sample: Sample, replayed: Replayed, view: View, ahead: LongestPath
    ) -> tuple[Step, ...]:
        # Every repeat begins in the same place, but where it goes on by chance the chance is its own.
        if replayed.turns or self._plan.config.repeat == 1 or self._plan.rules.random_options:
            return await ahead.longest(sample, view)
        which = sample.dataset, sample.id
        if which not in self._first_steps:
            self._first_steps[which] = await ahead.longest(sample, view)
        return self._first_steps[which]

    def _count(self, sample: Sample, repeat: int, forecast: Forecast, *, complete: bool) -> None:
        self._episodes[sample.dataset] += 1
        self._complete[sample.dataset] += complete
        self._forecasts[sample.dataset] += forecast
        self._expected.buy(sample.dataset, repeat, forecast.cost.expected, forecast.hold)
        self._worst.buy(sample.dataset, repeat, forecast.cost.most, forecast.hold)

    def estimate(self, sentences: Sequence[str]) -> Estimate:
        """What was seen, added up; `sentences` come before the assumptions."""
        plan = self._plan
        return Estimate(
            datasets={name: self._figures([name]) for name in plan.counts},
            total=self._figures(list(plan.counts)),
            limit=None if plan.limit is None else dollars(plan.limit),
            assumptions=(*sentences, *assumptions(plan, self._forecaster, self._notes)),
        )

    def _figures(self, names: list[str]) -> Figures:
        return Figures(
            episodes=sum(self._episodes[name] for name in names),
            stored=sum(self._complete[name] for name in names),
            forecast=sum((self._forecasts[name] for name in names), Forecast()),
            buys=self._reach(self._expected, names),
            buys_at_worst=self._reach(self._worst, names),
        )

    def _reach(self, purchases: _Purchases, names: list[str]) -> Reach:
        strata, episodes = [], 0
        for name in names:
            accuracy = ASSUMED_ACCURACY if self._forecaster is None else self._forecaster.accuracy(name)
            by_repeat = purchases.by_repeat(name)
            episodes += sum(by_repeat)
            # Repeats of a sample are no new samples.
            strata.append((accuracy, max(by_repeat, default=0)))
        return Reach(episodes, _points(half_width(strata)), _points(detectable(strata)))


def _points(fraction: float | None) -> float | None:
    return None if fraction is None else round(100 * fraction, 2)


def _figures(figures: Figures) -> dict[str, Any]:
    calls, cost = figures.forecast.calls, figures.forecast.cost
    buys, at_worst = (
        {"episodes": of.episodes, "acc_half_width": of.half_width, "detectable": of.difference}
        for of in (figures.buys, figures.buys_at_worst)
    )
    return {
        "episodes": figures.episodes,
        "stored": figures.stored,
        "calls": {"least": calls.least, "expected": round(calls.expected, 2), "most": calls.most},
        "cost": {
            "least": dollars(cost.least),
            "expected": dollars(round(cost.expected)),
            "most": dollars(cost.most),
        },
        "buys": buys,
        "buys_at_worst": at_worst,
    }
