"""What a judge's answer says about an open-ended answer, by the benchmark's own parser.

Which part of the answer counts, and whether it held a verdict at all: the parser gives zeros for
both "neither" and "no verdict". Asking judges and recording them is the business of others.
"""

from __future__ import annotations

from dataclasses import dataclass

_EXCHANGED = str.maketrans("01", "10")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The package's three figures, each 0 or 1, and whether the judge's answer held them.

    Where `parsed` is false the figures are the zeros that the package counts: no score of ours.
    """

    proactive_suggestion: int
    category_prediction: int
    aggregate: int
    parsed: bool

    def figures(self) -> dict[str, int]:
        """The three figures, as the package's parser names them."""
        return {
            "proactive_suggestion": self.proactive_suggestion,
            "category_prediction": self.category_prediction,
            "aggregate": self.aggregate,
        }


def read_verdict(valid_first: str, valid_second: str, text: str, dataset: str) -> Verdict:
    """The verdict in `text`, a judge's whole answer with its thinking, on a sample of `dataset` (acronym).

    `valid_first` and `valid_second` are what `get_open_ended_gen_answers` of one environment gave
    when called twice, as the package's example calls it: the judge is shown the first, its answer
    is parsed with the second. They differ only for CIT where the first frame lies inside the film
    (each call adds an option there); a verdict as long as the list that the judge saw then does
    not parse, and that is the benchmark's rule. Both are taken so that the choice is made here.
    """
    from proactivebench.open_ended_gen import parse_judge_prediction

    said = text.rpartition("</think>")[2].strip("\n")

    def parse(output: str) -> dict[str, int]:
        found: dict[str, int] = parse_judge_prediction(
            valid_answers=valid_second, raw_judge_output=output, dataset=dataset
        )
        return found

    found = parse(said)
    # A verdict has at least one figure: all zeros, exchanged, are all ones; what has no verdict stays 0.
    parsed = bool(found["aggregate"] or parse(said.translate(_EXCHANGED))["aggregate"])
    return Verdict(found["proactive_suggestion"], found["category_prediction"], found["aggregate"], parsed)
