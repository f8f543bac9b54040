"""Play one open-ended episode: the first state's question without options, an answer, a judge's verdict.

The answer is recorded whether or not a judge is there; without a verdict it has no score. Whatever
keeps the judge from a verdict is the outcome of the episode and leaves the answer recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pbclient import record
from pbclient.benchmark.open_ended import hint, valid_answers
from pbclient.benchmark.package import Environment, State, guarded
from pbclient.data.folder import Sample
from pbclient.episodes.judge import Judge, Question
from pbclient.episodes.mcqa import failure_of, unscorable
from pbclient.episodes.players import Player, View
from pbclient.episodes.rules import Rules
from pbclient.errors import PbclientError
from pbclient.money.books import Books
from pbclient.record import Record
from providers import ProviderError


@dataclass
class OpenEpisode:
    """One episode while it runs, and its record at the end. `judge` None records only."""

    sample: Sample
    repeat: int
    rules: Rules
    player: Player
    books: Books
    judge: Judge | None = None
    turns: list[Record] = field(default_factory=list)

    async def play(self, row: Mapping[str, Any]) -> Record:
        """Run to its end; returns the record. Only cancellation and bugs of ours pass."""
        try:
            environment = self.rules.environment(self.sample, row)
            state = open_state(environment, self.rules)
            valid = valid_answers(environment)
            view = View(environment, state, self.sample.dataset, self.sample.id, self.repeat, 0)
            response = await self.player.answer(view)
            call = record.call(response, self.books.entry(response, view.images))
            self.turns.append({**record.turn(state, call), "options": []})
            failure = unscorable(response)
        except (ProviderError, PbclientError) as error:
            failure = failure_of(error)
        if failure is not None:
            return self._record(failure[0], error=failure[1])
        if self.judge is None:
            return self._record("resolved", correct=None, suggestions=None, valid=list(valid))
        question = Question(self.sample.dataset, state["prompt"], valid, response.text)
        judged = await self.judge.judge(question)
        return self._record(
            judged.outcome,
            error=judged.error,
            correct=judged.correct,
            suggestions=judged.suggestions,
            valid=list(valid),
            verdict=judged.verdict,
        )

    def _record(self, outcome: str, **more: Any) -> Record:
        return record.episode(self.sample.dataset, self.sample.id, self.repeat, outcome, self.turns, **more)


def open_state(environment: Environment, rules: Rules) -> State:
    """The state as the package's open-ended example shows it: its hint is a sentence of its own."""
    # The hint of multiple choice is another.
    state = guarded(lambda: environment.get_state(hint=False))
    return {**state, "prompt": state["prompt"] + hint()} if rules.hint else state
