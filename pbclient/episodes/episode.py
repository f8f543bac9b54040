"""Play one episode: the benchmark's own environment on one side, a player on the other.

An open-ended episode is the first state's question without options, an answer, and a judge's verdict.

The environment decides everything about the score; this module carries answers to it and records
what it says. A failure is an outcome, never an answer: what the environment is not given, it cannot score.
Under the paper's protocol it is given every answer, however that ended; a failure still is no answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pbclient import record
from pbclient.benchmark.open_ended import hint, valid_answers
from pbclient.benchmark.package import Environment, State, guarded
from pbclient.benchmark.protocol import PAPER
from pbclient.data.folder import Sample
from pbclient.episodes.judge import Judge, Question
from pbclient.episodes.players import Player, View
from pbclient.episodes.rules import Examples, Exchange, Rules
from pbclient.errors import PbclientError
from pbclient.money.books import Books
from pbclient.money.budget import BudgetExhausted
from pbclient.record import Record
from pbclient.scores.trajectory import result_of
from providers import ImageRejected, Json, ProviderError, RequestRefused, Response

type Failure = tuple[str, str]


@dataclass
class Episode:
    """One episode while it runs, and its record at the end.

    `examples` draws the other samples' episodes that precede the question.
    """

    sample: Sample
    repeat: int
    rules: Rules
    player: Player
    books: Books
    examples: Examples | None = None
    turns: list[Record] = field(default_factory=list)
    _past: list[Exchange] = field(default_factory=list)
    _shown: list[Json] = field(default_factory=list)

    @property
    def calls(self) -> int:
        """How many answers it has had so far."""
        return len(self.turns)

    async def play(self, row: Mapping[str, Any]) -> Record:
        """Run to its end; returns the record. Only cancellation and bugs of ours pass."""
        stopped: dict[str, str] = {}
        try:
            for sample, exchanges in self.examples.of(self.sample) if self.examples else ():
                self._shown.append(sample.id)
                self._past.extend(exchanges)
            environment = self.rules.environment(self.sample, row)
            while not environment.stop and not stopped:
                try:
                    failure = await self._turn(environment)
                except ImageRejected as error:
                    if self.rules.protocol != PAPER:
                        raise
                    # The published example breaks off its loop here and counts what there is.
                    stopped = {"stopped": str(error)}
                    break
                if failure is not None:
                    return self._failed(*failure)
        except (ProviderError, PbclientError) as error:
            return self._failed(*failure_of(error))
        return self._ended(environment, **stopped)

    async def _turn(self, environment: Environment) -> Failure | None:
        """One question and its answer; the outcome and the reason when the answer cannot be scored."""
        state = self.rules.state(environment)
        response = await self._ask(environment, state)
        failure = self._unscorable(response)
        if failure is None:
            self._evaluate(environment, response.text)
            if self.rules.history:
                self._past.append(Exchange(state, response.text))
        return failure

    def _evaluate(self, environment: Environment, answer: str) -> None:
        """Give the environment an answer, and record its words about it."""
        turn = self.turns[-1]
        shown: Any = turn["options"]
        if shown:
            right = [
                text for each in guarded(environment._get_correct_options_and_categories) for text in each
            ]
            turn["right_answers"] = [option for option in shown if option in right]
        self.rules.evaluate(environment, self.sample, self.repeat, answer)
        turn["action"] = environment.action_evaluation_history[-1]
        turn["category"] = environment.category_evaluation_history[-1]
        if shown:
            turn["result"] = result_of(turn)

    async def _ask(self, environment: Environment, state: State) -> Response:
        """The player's answer to a state, recorded as a turn that the environment has not evaluated."""
        sample, turn, past = self.sample, environment.num_turns, tuple(self._past)
        examples = len(past) - turn if self.rules.history else len(past)
        view = View(environment, state, sample.dataset, sample.id, self.repeat, turn, past, examples)
        response = await self.player.answer(view)
        call = record.call(response, self.books.entry(response, view.images))
        # What is scored ends in a stop, unless the paper's protocol takes it as it is.
        ending: Record = {} if response.finish == "stop" else {"finish": response.finish}
        self.turns.append(record.turn(state, {**call, **ending}))
        return response

    def _unscorable(self, response: Response) -> Failure | None:
        return None if self.rules.protocol == PAPER else unscorable(response)

    def _ended(self, environment: Environment, **more: Any) -> Record:
        """The record of an episode that the environment has scored."""
        statistics = environment.get_statistics()
        # As the published example counts: an episode that ends before its first answer has -1.
        suggestions = int(statistics["num_turns"]) - 1
        correct = bool(statistics["correct_prediction"])
        return self._record("resolved", correct=correct, suggestions=suggestions, **more)

    def _failed(self, outcome: str, error: str) -> Record:
        return self._record(outcome, suggestions=max(len(self.turns) - 1, 0), error=error)

    def _record(self, outcome: str, **more: Any) -> Record:
        sample = self.sample
        shown: dict[str, Any] = {"examples": self._shown} if self._shown else {}
        return record.episode(sample.dataset, sample.id, self.repeat, outcome, self.turns, **more, **shown)


def failure_of(error: ProviderError | PbclientError) -> Failure:
    """The outcome and the reason when there is no answer."""
    if isinstance(error, BudgetExhausted):
        return "budget", str(error)
    if isinstance(error, RequestRefused):
        return "refused", str(error)
    return "failed", str(error)


def unscorable(response: Response) -> Failure | None:
    """The outcome and the reason when an answer is none that can be scored."""
    if response.finish == "refusal":
        return "refused", f"The model or a filter declined to answer: {response.text or 'no text'}"
    if response.finish == "length":
        return "truncated", "The answer was cut off by the output limit: raise --max-tokens."
    if response.key and not response.text.strip():
        # From afar nothing is a fault and is asked for again; a model here has ended its answer itself.
        return "refused", "The model said nothing."
    return None


@dataclass
class OpenEpisode(Episode):
    """One open-ended episode; with `judge` None it is recorded only.

    The answer is recorded whether or not a judge is there; without a verdict it has no score. Whatever
    keeps the judge from a verdict is the outcome of the episode and leaves the answer recorded.
    """

    judge: Judge | None = None

    async def play(self, row: Mapping[str, Any]) -> Record:
        """Run to its end; returns the record. Only cancellation and bugs of ours pass."""
        try:
            environment = self.rules.environment(self.sample, row)
            state = open_state(environment, self.rules)
            valid = valid_answers(environment)
            response = await self._ask(environment, state)
            self.turns[-1]["options"] = []
            failure = self._unscorable(response)
        except (ProviderError, PbclientError) as error:
            failure = failure_of(error)
        if failure is not None:
            return self._failed(*failure)
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


def open_state(environment: Environment, rules: Rules) -> State:
    """The state as the package's open-ended example shows it: its hint is a sentence of its own."""
    # The hint of multiple choice is another.
    state = guarded(lambda: environment.get_state(hint=False))
    return {**state, "prompt": state["prompt"] + hint()} if rules.hint else state
