"""Judge an open-ended answer: ask a language model whether it names what the benchmark accepts.

It is asked like any model (cache, money, retries) with the package's messages, and read by the
package's parser. An answer without a verdict is asked for once more, as another draw; after that
the judge has failed, which is an outcome and no score. Under the paper's protocol it is asked once, and what
the package cannot read counts as its zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pbclient import record
from pbclient.benchmark.open_ended import VERDICT_FIGURES, judge_messages, read_verdict
from pbclient.benchmark.protocol import PAPER, STRICT
from pbclient.errors import PbclientError
from pbclient.money.books import Books
from pbclient.money.budget import BudgetExhausted
from pbclient.record import Record
from providers import Json, Provider, ProviderError, Request

DRAWS = 2
MOST_ANSWERS = 1000


@dataclass(frozen=True, slots=True)
class Question:
    """What is put to a judge: the prompt and the answer, and what the benchmark accepts.

    `valid` is what the environment gave when asked twice: shown to the judge, and used to read it.
    """

    dataset: str
    prompt: str
    valid: tuple[str, str]
    answer: str


@dataclass(frozen=True, slots=True)
class Judged:
    """`outcome` is `resolved`, `judge_failed` or `budget`; `verdict` its record in the run folder."""

    outcome: str
    verdict: Record
    error: str | None = None

    @property
    def correct(self) -> bool:
        """Whether the right category was named."""
        return self.verdict["category_prediction"] == 1

    @property
    def suggestions(self) -> int:
        """Whether a valid suggestion was made, as 0 or 1."""
        return int(self.verdict["proactive_suggestion"] == 1)


@dataclass(frozen=True)
class Judge:
    """Asks one model. `params` are its options as sent; with `grammar` it can write nothing but a verdict."""

    title: str
    provider: Provider
    params: Mapping[str, Json]
    books: Books
    grammar: bool = False
    protocol: str = STRICT

    async def judge(self, question: Question, earlier: Sequence[Record] = ()) -> Judged:
        """The verdict on one answer; `earlier` are the recorded calls of attempts that gave none."""
        calls = list(earlier)
        error = "The judge gave no verdict that the benchmark can read."
        try:
            messages = judge_messages(question.prompt, question.valid[0], question.answer)
            params = {**self.params, "grammar": verdict_grammar(question)} if self.grammar else self.params
            # An attempt that was cut short is finished, one that came to its end followed by another.
            for repeat in range(len(calls), (len(calls) // DRAWS + 1) * DRAWS):
                # An episode whose answer is bought comes before one that has none yet.
                response = await self.provider.complete(Request(messages, params, repeat, turn=1))
                call = record.call(response, self.books.entry(response))
                calls.append({**call, "finish": response.finish})
                verdict, parsed = read_verdict(question.valid[1], response.text, question.dataset)
                if (parsed and response.finish == "stop") or self.protocol == PAPER:
                    return self._judged("resolved", question, calls, verdict)
                if response.finish == "length":
                    error = "The verdict was cut off by the output limit: raise --judge-max-tokens."
        except BudgetExhausted as exhausted:
            return self._judged("budget", question, calls, error=str(exhausted))
        except (ProviderError, PbclientError) as failure:
            error = f"The judge could not be asked: {failure}"
        return self._judged("judge_failed", question, calls, error=error)

    def _judged(
        self,
        outcome: str,
        question: Question,
        calls: Sequence[Record],
        verdict: Mapping[str, int] | None = None,
        error: str | None = None,
    ) -> Judged:
        # The package asks once, and counts what it cannot read as zeros.
        official = dict.fromkeys(VERDICT_FIGURES, 0)
        if calls:
            official, _ = read_verdict(question.valid[1], str(calls[0]["answer"]), question.dataset)
        record: Record = {
            "judge": self.title,
            **({"protocol": PAPER} if self.protocol == PAPER else {}),
            "valid": list(question.valid),
            **(verdict or dict.fromkeys(VERDICT_FIGURES)),
            "official": dict(official),
            "turns": list(calls),
        }
        return Judged(outcome, record, error)


def verdict_grammar(question: Question) -> str:
    """GBNF of a verdict on this question: as many zeros and ones as the benchmark's parser takes."""
    for count in range(1, MOST_ANSWERS):
        _, parsed = read_verdict(question.valid[1], ",".join("1" * count), question.dataset)
        if parsed:
            return "root ::= [01]" + ' "," [01]' * (count - 1)
    return "root ::= [01]"
