"""One episode: the benchmark's own environment on one side, a player on the other.

The environment decides everything about the score; this module carries answers to it and writes
down what it said. A failure is an outcome, never an answer: what the environment is not given,
it cannot score.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pbclient.benchmark import Environment, environment_class, guarded
from pbclient.books import Books
from pbclient.budget import BudgetExhausted
from pbclient.dataset import Sample
from pbclient.errors import PbclientError
from pbclient.players import Player, Reply, View
from providers import Json, ProviderError, RequestRefused


@dataclass(frozen=True, slots=True)
class Rules:
    """How the environment is run: `--hint` and `--reference`, as the package defines them."""

    hint: bool = False
    reference: bool = False


@dataclass
class Episode:
    """One episode while it runs, and its line in the run folder at the end."""

    sample: Sample
    repeat: int
    rules: Rules
    player: Player
    books: Books
    clock: Callable[[], float] = time.monotonic
    turns: list[dict[str, Json]] = field(default_factory=list)

    async def play(self, row: Mapping[str, Any]) -> dict[str, Json]:
        """Run to its end; returns the episode line. Only cancellation and bugs of ours pass."""
        try:
            environment = self._environment(row)
            while not environment.stop:
                failure = await self._turn(environment)
                if failure is not None:
                    return self._line(*failure)
        except BudgetExhausted as error:
            return self._line("budget", str(error))
        except RequestRefused as error:
            return self._line("refused", str(error))
        except (ProviderError, PbclientError) as error:
            return self._line("failed", str(error))
        statistics = environment.get_statistics()
        return self._line(
            "resolved",
            correct=bool(statistics["correct_prediction"]),
            suggestions=int(statistics["num_turns"]) - 1,
        )

    def _environment(self, row: Mapping[str, Any]) -> Environment:
        make = environment_class(self.sample.dataset)
        # An empty data folder keeps the paths that it gives relative: the frame store resolves them.
        return guarded(lambda: make(entry=row, data_dir="", reference=self.rules.reference))

    async def _turn(self, environment: Environment) -> tuple[str, str] | None:
        """One question and its answer; the outcome and the reason when the answer cannot be scored."""
        state = guarded(lambda: environment.get_state(hint=self.rules.hint))
        view = View(
            environment, state, self.sample.dataset, self.sample.id, self.repeat, environment.num_turns
        )
        started = self.clock()
        reply = await self.player.answer(view)
        turn = self._record(state, reply, self.clock() - started)
        failure = _unscorable(reply)
        if failure is None:
            guarded(lambda: environment.evaluate_generated_answer(reply.text))
            turn["action"] = environment.action_evaluation_history[-1]
            turn["category"] = environment.category_evaluation_history[-1]
        return failure

    def _record(self, state: Mapping[str, Any], reply: Reply, seconds: float) -> dict[str, Json]:
        booked = self.books.entry(reply)
        turn: dict[str, Json] = {
            "image": state["image_path"],
            "prompt": state["prompt"],
            "options": list(state["options"]),
            "answer": reply.text,
            "action": None,
            "category": None,
            **booked,
            "usage": asdict(reply.usage) if reply.usage else None,
            "seconds": 0.0 if booked["cached"] else round(seconds, 3),
            "key": reply.key,
        }
        if reply.model:
            turn["model"] = reply.model
        self.turns.append(turn)
        return turn

    def _line(
        self, outcome: str, error: str | None = None, *, correct: bool = False, suggestions: int | None = None
    ) -> dict[str, Json]:
        line: dict[str, Json] = {
            "dataset": self.sample.dataset,
            "sample": self.sample.id,
            "repeat": self.repeat,
            "outcome": outcome,
            "correct": correct,
            "suggestions": max(len(self.turns) - 1, 0) if suggestions is None else suggestions,
        }
        if error:
            line["error"] = error
        line["turns"] = list(self.turns)
        return line


def _unscorable(reply: Reply) -> tuple[str, str] | None:
    if reply.finish == "refusal":
        return "refused", f"The model or a filter declined to answer: {reply.text or 'no text'}"
    if reply.finish == "length":
        return "truncated", "The answer was cut off by the output limit: raise --max-tokens."
    return None
