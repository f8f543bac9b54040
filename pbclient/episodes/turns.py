"""Play an open-ended episode over several turns: what the judge finds in an answer is what happens next.

A right category ends the episode; a suggestion brings the next frame, where the environment can carry it out,
and otherwise a valid one does that is drawn by the seed; anything else ends it. The environment decides as in
multiple choice: it is given the category, the option that was chosen, or nothing.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pbclient.benchmark.open_ended import affirmed, listed, means, over_turns, turn_suggestions
from pbclient.benchmark.package import Environment, State, guarded
from pbclient.episodes.episode import Episode, Failure, failure_of, open_state
from pbclient.episodes.judge import Judge, Judged, Question
from pbclient.errors import PbclientError
from pbclient.record import Record, turn_verdicts
from providers import ProviderError

NOTHING = ""  # which no environment takes for an option


@dataclass
class TurnsEpisode(Episode):
    """One open-ended episode of several turns.

    Each answer is judged before the next question; without a verdict there is none, and the episode has
    no score.
    """

    judge: Judge | None = None
    _judged: list[Judged] = field(default_factory=list)

    @property
    def calls(self) -> int:
        """How many answers it has had so far, of its model and its judge."""
        return len(self.turns) + sum(map(len, (judged.verdict["turns"] for judged in self._judged)))  # type: ignore[arg-type]

    async def play(self, row: Mapping[str, Any]) -> Record:
        """Run to its end; returns the record. Only cancellation and bugs of ours pass."""
        try:
            environment = self.rules.environment(self.sample, row)
            suggestions = turn_suggestions(self.sample.dataset, environment)
            while not environment.stop:
                state = open_state(environment, self.rules)
                valid = listed(suggestions, environment)
                failure = await self._judged_turn(environment, state, valid)
                if failure is not None:
                    return self._failed(*failure)
        except (ProviderError, PbclientError) as error:
            return self._failed(*failure_of(error))
        return self._ended(environment)

    async def _judged_turn(self, environment: Environment, state: State, valid: str) -> Failure | None:
        """One question, its answer and the verdict on it; the outcome and the reason where one is missing."""
        assert self.judge is not None
        response = await self._ask(environment, state)
        self.turns[-1]["options"] = []
        failure = self._unscorable(response)
        if failure is not None:
            return failure
        question = Question(self.sample.dataset, state["prompt"], (valid, valid), response.text)
        judged = await self.judge.judge(question)
        self._judged.append(judged)
        if judged.outcome != "resolved":
            return judged.outcome, judged.error or ""
        where = f"{self.rules.seed}/{self.sample.dataset}/{self.sample.id}/{self.repeat}"
        rng = random.Random(f"{where}/{environment.num_turns}/suggestion")
        given = chosen(environment, judged, self.sample.dataset, rng)
        self.turns[-1]["given"] = given
        self._evaluate(environment, given)
        return None

    def _record(self, outcome: str, **more: Any) -> Record:
        if self._judged:
            more["verdict"] = joined(self._judged, resolved=outcome == "resolved")
        return super()._record(outcome, **more)


def chosen(environment: Environment, judged: Judged, dataset: str, rng: random.Random) -> str:
    """What the environment is given for an answer with this verdict.

    Of several suggestions the first that it can carry out now; where it can carry out none of them, one
    that it can, drawn by `rng`.
    """
    if judged.correct:
        _, categories = guarded(environment._get_correct_options_and_categories)
        return categories[0]
    offered = guarded(environment.get_state)["options"]
    possible = [option for option in dict.fromkeys(environment.correct_options) if option in offered]
    if not judged.suggestions or not possible:
        return NOTHING
    for suggestion in affirmed(dataset, judged.verdict):
        for option in possible:
            if means(environment, suggestion) & means(environment, option):
                return option
    return rng.choice(possible)


async def judged_again(judge: Judge, episode: Mapping[str, Any]) -> Judged:
    """Another judge's verdict on a recorded episode, up to where it would have led elsewhere.

    What the environment is given follows from the category and the suggestions that a verdict finds: where
    these are the recorded ones, so is the next turn. An episode that ends sooner is judged; of one
    that would have gone another way nothing is recorded.
    """
    dataset, judged = episode["dataset"], list[Judged]()
    for turn, recorded in zip(episode["turns"], turn_verdicts(episode["verdict"]), strict=False):
        shown, read = recorded["valid"]
        judged.append(await judge.judge(Question(dataset, turn["prompt"], (shown, read), turn["answer"])))
        verdict = judged[-1].verdict
        if judged[-1].outcome != "resolved":
            break
        goes_on = not judged[-1].correct and judged[-1].suggestions
        if not goes_on:
            return Judged("resolved", joined(judged, resolved=True))
        if recorded["category_prediction"] or affirmed(dataset, verdict) != affirmed(dataset, recorded):
            error = f"Its verdict on turn {len(judged)} leads to where the run has no answers."
            return Judged("judge_failed", joined(judged, resolved=False), error)
    else:
        # The environment had no more to show.
        return Judged("resolved", joined(judged, resolved=True))
    return Judged(judged[-1].outcome, joined(judged, resolved=False), judged[-1].error)


def joined(judged: Sequence[Judged], *, resolved: bool) -> Record:
    """The verdict of an episode from those of its turns, whose calls stand in one list."""
    each: list[Any] = []
    calls: list[Any] = []
    for verdict in (one.verdict for one in judged):
        own: list[Any] = verdict["turns"]  # type: ignore[assignment]
        calls += own
        kept = {name: value for name, value in verdict.items() if name not in ("judge", "turns")}
        each.append({**kept, "calls": len(own)})
    last: dict[str, Any] = {name: value for name, value in judged[-1].verdict.items() if name != "turns"}
    figures, official = over_turns(each, resolved=resolved)
    return {**last, **figures, "official": official, "each": each, "turns": calls}
