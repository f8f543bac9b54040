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
from dataclasses import asdict, astuple, dataclass, field, replace
from math import sqrt
from pathlib import Path
from statistics import NormalDist
from typing import Any

from pbclient.benchmark.open_ended import MANY, judge_messages, turn_suggestions, valid_answers
from pbclient.benchmark.package import OEG
from pbclient.config import RunConfig
from pbclient.data.folder import Sample
from pbclient.episodes.judge import DRAWS
from pbclient.episodes.players import View
from pbclient.forecast.assumptions import Notes, assumptions
from pbclient.forecast.costs import ASSUMED_ACCURACY, Forecast, Forecaster, Range, forecast_verdict
from pbclient.forecast.history import RESULTS, read_history
from pbclient.forecast.longest import LongestPath, Step, longest_answer, longest_path
from pbclient.forecast.replay import Replayed, replay
from pbclient.forecast.walks import likely_turns
from pbclient.models.model import Model
from pbclient.money.amounts import dollars
from pbclient.scheduler.plan import DEFAULTS, Plan, prepare
from pbclient.scores.intervals import stratified_mean, wilson
from runs import Balance, Episodes, Identity, RunFolder, identity

# What samples can tell; accuracies are fractions here, not percent.
SIGNIFICANCE = 0.05
POWER = 0.80

type Stratum = tuple[float, int]


@dataclass(frozen=True, slots=True)
class Reach:
    """How far the money goes: episodes, and what their accuracy then tells, in percentage points.

    `acc_half_width` is that of the 95 % interval; `detectable` is what a comparison of two models on
    so many samples detects. Both are None where there is nothing to tell.
    """

    episodes: int
    acc_half_width: float | None
    detectable: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a data set, or of all: `cost` is in dollars, `stored` episodes are answered already.

    `buys` is reached when calls cost what is expected, `buys_at_worst` when each costs its most.
    """

    episodes: int
    stored: int
    calls: Range
    cost: Range
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
        """As `--json` prints it: the fields of this and of `Figures`, by their names."""
        return {**asdict(self), "assumptions": list(self.assumptions)}


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
        self._forecaster = None
        if plan.model is not None:
            history = read_history(plan, results)
            self._forecaster = Forecaster(plan.model, history, plan.config.mode == OEG, likely_turns(plan))

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
        judge = self._plan.judge
        if replayed.judged is not None:
            return await self._after_answer(sample, replayed, forecaster, ahead, shared=shared)
        if replayed.view is not None:
            steps = await self._steps(sample, replayed, replayed.view, ahead)
            self._notes.turns = max(self._notes.turns, replayed.turns + len(steps))
            forecast = forecaster.forecast(sample.dataset, replayed.turns, steps, shared=shared)
            if judge is not None:
                turns = range(len(steps))
                chances = (forecaster.chance(sample.dataset, replayed.turns, turn) for turn in turns)
                verdicts = Range(1, sum(chances), len(steps))
                forecast += (await self._verdict(sample, replayed.view, forecaster, judge)).times(verdicts)
            return forecast
        return Forecast()

    async def _verdict(self, sample: Sample, view: View, forecaster: Forecaster, judge: Model) -> Forecast:
        """Of a verdict on an answer that is yet to come; over several turns the longest list is shown."""
        # Another environment: each look at this one's list may change it.
        row = self._plan.row(sample)
        environment = self._plan.rules.environment(sample, row)
        if self._plan.rules.turns == MANY:
            valid = ", ".join([*turn_suggestions(sample.dataset, environment), row["answer"]])
        else:
            valid, _ = valid_answers(environment)
        messages = judge_messages(view.state["prompt"], valid, "")
        answer = longest_answer(forecaster.model), forecaster.output(sample.dataset)[0]
        # An answer that is cut off gets no verdict.
        return await forecast_verdict(judge, messages, draws=DRAWS, least=0, answer=answer)

    async def _after_answer(
        self, sample: Sample, replayed: Replayed, forecaster: Forecaster, ahead: LongestPath, *, shared: bool
    ) -> Forecast:
        """What the rest of an episode costs whose last answer is there, without its verdict."""
        judge, request, view = self._plan.judge, replayed.judged, replayed.view
        assert judge is not None
        assert request is not None
        forecast = Forecast()
        if not shared:
            draws = DRAWS - request.repeat
            forecast = await forecast_verdict(judge, request.messages, draws=draws, least=1)
        if view is None or self._plan.rules.turns != MANY:
            return forecast
        steps, played = await ahead.longest(sample, view), replayed.turns - 1
        self._notes.turns = max(self._notes.turns, played + len(steps))
        forecast += forecaster.forecast(sample.dataset, played, steps, shared=False, answered=True)
        later = range(1, len(steps))
        chances = (forecaster.chance(sample.dataset, played, turn) for turn in later)
        verdicts = Range(0, sum(chances), len(later))
        return forecast + (await self._verdict(sample, view, forecaster, judge)).times(verdicts)

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
            assumptions=(*sentences, *assumptions(plan, self._forecaster, self._notes, self._cost)),
        )

    @property
    def _cost(self) -> Range:
        """Of all that is asked, in picodollars."""
        return sum(self._forecasts.values(), Forecast()).cost

    def _figures(self, names: list[str]) -> Figures:
        forecast = sum((self._forecasts[name] for name in names), Forecast())
        calls, cost = forecast.calls, forecast.cost
        return Figures(
            episodes=sum(self._episodes[name] for name in names),
            stored=sum(self._complete[name] for name in names),
            calls=replace(calls, expected=round(calls.expected, 2)),
            cost=Range(*(dollars(round(value)) for value in astuple(cost))),
            buys=self._reach(self._expected, names),
            buys_at_worst=self._reach(self._worst, names),
        )

    def _reach(self, purchases: _Purchases, names: list[str]) -> Reach:
        strata, episodes = [], 0
        for name in names:
            accuracy = ASSUMED_ACCURACY if self._forecaster is None else self._forecaster.accuracy(name)
            by_repeat = [count for (dataset, _), count in purchases.bought.items() if dataset == name]
            episodes += sum(by_repeat)
            # Repeats of a sample are no new samples.
            strata.append((accuracy, max(by_repeat, default=0)))
        return Reach(episodes, _points(half_width(strata)), _points(detectable(strata)))


def _points(fraction: float | None) -> float | None:
    return None if fraction is None else round(100 * fraction, 2)


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
