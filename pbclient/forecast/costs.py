"""What one episode will probably cost, and what it costs at least and at most.

The most is certain and comes from the walk; the least is certain and all but nothing; between them
stands what earlier runs taught, or, where there are none, the assumptions below, which are said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from pbclient.benchmark.open_ended import judge_messages, valid_answers
from pbclient.data.folder import Sample
from pbclient.episodes.judge import DRAWS
from pbclient.episodes.players import View
from pbclient.forecast.history import History, Tokens
from pbclient.forecast.longest import BYTES_A_TOKEN, Step, hold_of, longest_answer
from pbclient.models.model import Model
from pbclient.money.prices import Price, cost
from pbclient.scheduler.plan import Plan
from providers import Message, Request, Usage
from providers.catalog import prices as price_map
from providers.catalog.text_tokens import text_bound

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
    learned: History
    floor: int
    thinks: bool
    open_ended: bool = False

    @classmethod
    def of(cls, model: Model, learned: History, *, open_ended: bool = False) -> Self:
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


# The package's messages ask it to think step by step before the verdict.
ASSUMED_VERDICT = 256


@dataclass(frozen=True)
class JudgeForecaster:
    """For the judge of a plan, on answers of its model."""

    plan: Plan
    judge: Model
    answering: Model

    async def of_answer(self, request: Request) -> Forecast:
        """A verdict that is not stored, on an answer that is; earlier draws without a verdict are."""
        return await self._forecast(request.messages, draws=DRAWS - request.repeat, least=1)

    async def of_coming(self, sample: Sample, view: View, answer_tokens: int) -> Forecast:
        """A verdict on the answer that is still to come; an answer that is cut off gets none."""
        # Another environment: each look at this one's list may change it.
        environment = self.plan.rules.environment(sample, self.plan.row(sample))
        messages = judge_messages(view.state["prompt"], valid_answers(environment)[0], "")
        return await self._forecast(
            messages, draws=DRAWS, least=0, answer=(longest_answer(self.answering), answer_tokens)
        )

    async def _forecast(
        self, messages: Sequence[Message], *, draws: int, least: int, answer: tuple[int, int] = (0, 0)
    ) -> Forecast:
        """`answer` are the most and the probable tokens that come to the messages."""
        weight = await self.judge.bounds.weigh(messages)
        texts = [text_bound(part) for each in messages for part in each.parts if isinstance(part, str)]
        tokens = sum(-(-size // BYTES_A_TOKEN) for size in texts) + answer[1]
        hold = hold_of(self.judge, weight.tokens + answer[0], 0)
        expected = cost(self.judge.price, Usage(tokens, self.assumed_output), images=0)
        return Forecast(Range(least, 1, draws), Range(0, min(expected, hold), draws * hold), hold)

    @property
    def assumed_output(self) -> int:
        """Tokens of a judge's answer."""
        return min(ASSUMED_VERDICT, self.judge.output_limit)
