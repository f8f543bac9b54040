"""What one episode will probably cost, and what it costs at least and at most.

The most is certain and comes from the walk; the least is certain and all but nothing; between them
stands what earlier runs taught, or, where there are none, the assumptions below, which are said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from pbclient.learned import Learned, Tokens
from pbclient.model import Model
from pbclient.prices import Price, cost
from pbclient.walks import Step
from providers import Usage, price_map

ASSUMED_TURNS = 1.6
ASSUMED_OUTPUT = 16
ASSUMED_OPEN_ANSWER = 64
ASSUMED_THINKING = 512
# Half of the answers right is where an interval is widest.
ASSUMED_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Range:
    """Calls or picodollars."""

    least: int = 0
    expected: float = 0
    most: int = 0

    def __add__(self, other: Range) -> Range:
        return Range(self.least + other.least, self.expected + other.expected, self.most + other.most)


@dataclass(frozen=True, slots=True)
class Forecast:
    """Of one episode, or the sum of several. `hold` is that of the dearest call."""

    calls: Range = Range()
    cost: Range = Range()
    hold: int = 0

    def __add__(self, other: Forecast) -> Forecast:
        return Forecast(self.calls + other.calls, self.cost + other.cost, max(self.hold, other.hold))


NOTHING = Forecast()


@dataclass(frozen=True)
class Forecaster:
    """Knows the price, the output limit and what was learned; `thinks` when the model reasons first."""

    price: Price
    limit: int
    learned: Learned
    floor: int
    thinks: bool
    open_ended: bool = False

    @classmethod
    def of(cls, model: Model, learned: Learned, *, open_ended: bool = False) -> Self:
        """For the episodes that this model is asked."""
        row = price_map.find(model.provider, model.name) or {}
        tells_cost = model.provider == "openrouter" or model.identity.get("endpoint") is not None
        return cls(
            price=model.price,
            limit=model.output_limit,
            learned=learned,
            # Who states the cost of a call itself may state any.
            floor=0 if tells_cost else _floor(model.price),
            thinks=bool(row.get("supports_reasoning")),
            open_ended=open_ended,
        )

    def forecast(self, dataset: str, played: int, steps: Sequence[Step], *, shared: bool) -> Forecast:
        """The rest of an episode of which `played` turns are in the cache and `steps` may still come.

        `shared`: an earlier episode of the run asks the next question too, so it is bought once.
        """
        if not steps:
            return NOTHING
        chances = [self._chance(dataset, played, ahead) for ahead in range(len(steps))]
        if shared:
            chances[0] = 0.0
        first = 0 if shared else 1
        expected = sum(
            chance * self._call(dataset, step) for chance, step in zip(chances, steps, strict=True)
        )
        return Forecast(
            Range(first, sum(chances), len(steps)),
            Range(first * self.floor, expected, sum(step.hold for step in steps)),
            max(step.hold for step in steps),
        )

    def output(self, dataset: str) -> Tokens | None:
        """What is known of a call's output: from this data set, else from the others."""
        return self.learned.tokens(dataset) or self.learned.output()

    @property
    def assumed_output(self) -> int:
        """Tokens of an answer, when nothing is known of the model's."""
        spoken = ASSUMED_OPEN_ANSWER if self.open_ended else ASSUMED_OUTPUT
        return min(ASSUMED_THINKING if self.thinks else spoken, self.limit)

    def share(self, dataset: str) -> float:
        """The share correct that an interval is reckoned with."""
        record = self.learned.own.get(dataset)
        return record.share() if record else ASSUMED_SHARE

    def _chance(self, dataset: str, played: int, ahead: int) -> float:
        """That an episode which has come to the turn after `played` also has the one `ahead` of it."""
        record = self.learned.turns(dataset)
        if record is None:
            return (1 - 1 / ASSUMED_TURNS) ** ahead
        reached = sum(count for turns, count in record.turns.items() if turns > played)
        going_on = sum(count for turns, count in record.turns.items() if turns > played + ahead)
        return going_on / reached if reached else float(ahead == 0)

    def _call(self, dataset: str, step: Step) -> int:
        known, output = self.learned.tokens(dataset), self.output(dataset)
        into = round(known.input) if known else step.tokens
        out = round(output.output) if output else self.assumed_output
        thought = out if (output.thinks if output else self.thinks) else 0
        # A bound is a bound, whatever was seen elsewhere.
        return min(
            max(cost(self.price, Usage(into, out, thought), images=step.images), self.floor), step.hold
        )


def _floor(price: Price) -> int:
    """The least that an answered call costs: a token in and a token out at the lowest rates."""
    into = min(min(rates.input, rates.cached_input, rates.cache_write) for rates in price.tiers)
    out = min(min(rates.output, rates.reasoning) for rates in price.tiers)
    return price.request + price.image + into + out
