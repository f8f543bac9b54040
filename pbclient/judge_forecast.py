"""What the verdict on one open-ended answer will cost: nothing at least, and two draws at most.

A stored answer is put to the judge as a run would put it. One that is still to come is bounded by the
output limit of the model that gives it. Which verdicts are stored is `rehearsal`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pbclient.dataset import Sample
from pbclient.forecast import Forecast, Range
from pbclient.judge import DRAWS
from pbclient.model import Model
from pbclient.open_ended import judge_messages, valid_answers
from pbclient.plan import Plan
from pbclient.players import View
from pbclient.prices import cost
from pbclient.walks import BYTES_A_TOKEN, hold_of, longest_answer
from providers import Message, Request, Usage
from providers.text_tokens import text_bound

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
