"""Estimate what one episode costs: at least, probably, at most.

The most is certain and comes from the longest path; the least is certain and all but nothing; between
them stands what earlier runs taught, or, where there are none, the assumptions below, which are said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from pbclient.forecast.history import History
from pbclient.forecast.longest import Step, hold_of, text_tokens
from pbclient.models.model import Model
from pbclient.money.prices import cost
from providers import Message, Usage
from providers.catalog import prices as price_map

ASSUMED_TURNS = 1.6
ASSUMED_OUTPUT = 16
ASSUMED_OPEN_ANSWER = 64
ASSUMED_THINKING = 512
# The package's messages ask a judge to think step by step before the verdict.
ASSUMED_VERDICT = 256
# Half of the answers right is where an interval is widest.
ASSUMED_ACCURACY = 0.5


@dataclass(frozen=True, slots=True)
class Range:
    """Calls, picodollars or dollars. `likely` is the worst that is likely, `most` the worst there is."""

    least: float = 0
    expected: float = 0
    most: float = 0
    likely: float = 0

    def __add__(self, other: Range) -> Range:
        return Range(
            self.least + other.least,
            self.expected + other.expected,
            self.most + other.most,
            self.likely + other.likely,
        )


@dataclass(frozen=True, slots=True)
class Forecast:
    """Of one episode, or the sum of several. `hold` is that of the dearest call."""

    calls: Range = Range()
    cost: Range = Range()
    hold: int = 0

    def __add__(self, other: Forecast) -> Forecast:
        return Forecast(self.calls + other.calls, self.cost + other.cost, max(self.hold, other.hold))

    def times(self, factor: Range) -> Forecast:
        """Of so many of this."""
        calls, cost = self.calls, self.cost
        return Forecast(
            Range(calls.least * factor.least, calls.expected * factor.expected, calls.most * factor.most),
            Range(cost.least * factor.least, cost.expected * factor.expected, cost.most * factor.most),
            self.hold if factor.most else 0,
        )


@dataclass(frozen=True)
class Forecaster:
    """For the episodes of a plan, which `model` is asked."""

    model: Model
    history: History
    open_ended: bool = False
    likely_turns: Mapping[str, int] = field(default_factory=dict)

    def forecast(
        self, dataset: str, played: int, steps: Sequence[Step], *, shared: bool, answered: bool = False
    ) -> Forecast:
        """The rest of an episode of which `played` turns are in the cache and `steps` may still come.

        `shared`: an earlier episode of the run asks the next question too, so it is bought once.
        `answered`: it is in the cache, and perhaps the last one.
        """
        chances = [self.chance(dataset, played, ahead) for ahead in range(len(steps))]
        if answered:
            steps, chances, shared = steps[1:], chances[1:], True
        if not steps:
            return Forecast()
        if shared and not answered:
            chances[0] = 0.0
        first = 0 if shared else 1
        expected = sum(
            chance * self._call(dataset, step) for chance, step in zip(chances, steps, strict=True)
        )
        ahead = max(1, self.likely_turns.get(dataset, 1) - played)
        likely = sum(self._call(dataset, step) for step in steps[1 - first : ahead])
        return Forecast(
            Range(first, sum(chances), len(steps), len(steps[1 - first : ahead])),
            Range(first * self.floor, expected, sum(step.hold for step in steps), max(expected, likely)),
            max(step.hold for step in steps),
        )

    @cached_property
    def floor(self) -> int:
        """The least that an answered call costs: a token in and a token out at the lowest rates.

        Nothing where the server may state the cost of a call itself: it may state any.
        """
        price = self.model.price
        if self.model.provider == "openrouter" or self.model.identity.get("endpoint") is not None:
            return 0
        into = min(min(rates.input, rates.cached_input, rates.cache_write) for rates in price.tiers)
        out = min(min(rates.output, rates.reasoning) for rates in price.tiers)
        return price.request + price.image + into + out

    @cached_property
    def thinks(self) -> bool:
        """Whether the model reasons before it answers, as far as is published."""
        row = price_map.find(self.model.provider, self.model.name) or {}
        return bool(row.get("supports_reasoning"))

    def output(self, dataset: str) -> tuple[int, bool]:
        """Tokens of an answer, from this data set or else from the others, and whether some are thought."""
        known = self.history.tokens(dataset) or self.history.output()
        if known is not None:
            return round(known.mean_output), known.reasoning > 0
        spoken = ASSUMED_OPEN_ANSWER if self.open_ended else ASSUMED_OUTPUT
        return min(ASSUMED_THINKING if self.thinks else spoken, self.model.output_limit), self.thinks

    def accuracy(self, dataset: str) -> float:
        """The accuracy that an interval is reckoned with."""
        record = self.history.own.get(dataset)
        return record.accuracy if record else ASSUMED_ACCURACY

    def chance(self, dataset: str, played: int, ahead: int) -> float:
        """That an episode which has come to the turn after `played` also has the one `ahead` of it."""
        record = self.history.turns(dataset)
        if record is None:
            return (1 - 1 / ASSUMED_TURNS) ** ahead
        reached = sum(count for turns, count in record.turns.items() if turns > played)
        going_on = sum(count for turns, count in record.turns.items() if turns > played + ahead)
        return going_on / reached if reached else float(ahead == 0)

    def _call(self, dataset: str, step: Step) -> int:
        known, (out, thinks) = self.history.tokens(dataset), self.output(dataset)
        usage = Usage(round(known.mean_input) if known else step.tokens, out, out if thinks else 0)
        # A bound is a bound, whatever was seen elsewhere.
        return min(max(cost(self.model.price, usage, images=step.images), self.floor), step.hold)


async def forecast_verdict(
    judge: Model, messages: Sequence[Message], *, draws: int, least: int, answer: tuple[int, int] = (0, 0)
) -> Forecast:
    """Of a verdict that is not stored; `answer` are the most and the probable tokens yet to come."""
    tokens, _ = await judge.bounds.weigh(messages)
    hold = hold_of(judge, tokens + answer[0], 0)
    usage = Usage(text_tokens(messages)[1] + answer[1], min(ASSUMED_VERDICT, judge.output_limit))
    expected = min(cost(judge.price, usage, images=0), hold)
    return Forecast(Range(least, 1, draws, 1), Range(0, expected, draws * hold, expected), hold)
