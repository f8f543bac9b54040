"""What one episode makes of answers, errors and rows: always a line, never an exception."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pbclient.data.folder import open_data
from pbclient.episodes.episode import Episode
from pbclient.episodes.players import BaselinePlayer, View, baselines
from pbclient.episodes.rules import Rules
from pbclient.errors import FrameError
from pbclient.money.books import Books
from pbclient.money.budget import BudgetExhausted
from pbclient.scores.checks import OUTCOMES
from pbclient.scores.rescore import rescore
from providers import BadRequest, RequestRefused, Response, ServerFault


@cache
def rows(folder) -> list:
    with open_data(folder) as data:
        return [(sample, data.row(sample)) for found in data.samples.values() for sample in found]


def play(sample, row, player, rules: Rules = Rules()) -> dict:  # noqa: B008  # a frozen value
    return asyncio.run(Episode(sample, 0, rules, player, Books()).play(row))


ANSWERS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["A", "b.", "C. Move", "Z", ".", "A.B.C.", "\0", "ÄÖ.", "A" * 5000, "Rewind the video."]),
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), hint=st.booleans(), reference=st.booleans())
def test_any_answers_end_in_a_line_that_scores_itself(samples, data, hint, reference):
    sample, row = data.draw(st.sampled_from(rows(samples)))

    def policy(view: View) -> str:
        options = st.sampled_from(list(view.state["options"]))
        return data.draw(st.one_of(ANSWERS, options, st.sampled_from("ABCDEFG")))

    line = play(sample, row, BaselinePlayer(policy), Rules(hint, reference))
    assert line["outcome"] == "resolved"
    assert line["suggestions"] == len(line["turns"]) - 1
    rescore(line)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_row_that_the_environment_cannot_take_is_a_failed_episode(samples, data):
    sample, row = data.draw(st.sampled_from(rows(samples)))
    field = data.draw(st.sampled_from(sorted(row)))
    broken = {**row, field: data.draw(st.sampled_from([None, "", [], {}, 0, -1, "nonsense", ["x"]]))}
    line = play(sample, broken, BaselinePlayer(baselines(0)["oracle"]))
    assert line["outcome"] in ("resolved", "failed")
    if line["outcome"] == "failed":
        assert line["error"].startswith("The benchmark's environment failed")


@dataclass
class Failing:
    """Suggests once, then fails."""

    error: Exception
    asked: int = 0

    async def answer(self, view: View) -> Response:
        self.asked += 1
        if self.asked == 2:
            raise self.error
        return Response(baselines(0)["always-ask"](view), "stop")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ServerFault("The server failed."), "failed"),
        (BadRequest("The image is too large."), "failed"),
        (FrameError("The frame x.jpg is missing."), "failed"),
        (RequestRefused("A filter stopped it."), "refused"),
        (BudgetExhausted(0, 7), "budget"),
    ],
)
def test_errors_are_outcomes_with_their_sentence_and_the_turns_before(samples, error, outcome):
    sample, row = next(found for found in rows(samples) if found[0].dataset == "ROD")
    line = play(sample, row, Failing(error))
    assert line["outcome"] == outcome
    assert line["error"] == str(error)
    assert len(line["turns"]) == 1
    assert not line["correct"]
    assert outcome in OUTCOMES


@pytest.mark.parametrize("finish", ["refusal", "length"])
def test_what_is_no_answer_never_reaches_the_environment(samples, finish):
    class Declining:
        async def answer(self, view: View) -> Response:
            return Response("A", finish)

    sample, row = rows(samples)[0]
    line = play(sample, row, Declining())
    assert line["outcome"] == {"refusal": "refused", "length": "truncated"}[finish]
    assert [turn["action"] for turn in line["turns"]] == [None]


def test_bugs_and_cancellation_pass(samples):
    sample, row = rows(samples)[0]
    for error in (ZeroDivisionError, asyncio.CancelledError):

        class Broken:
            async def answer(self, view: View, error: type[BaseException] = error) -> Response:
                raise error

        with pytest.raises(error):
            play(sample, row, Broken())


@pytest.mark.parametrize("hint", [False, True])
def test_the_baselines_are_what_their_names_say(samples, hint):
    policies = baselines(seed=3)
    for name in ("oracle", "always-abstain", "always-ask"):
        lines = [
            play(sample, row, BaselinePlayer(policies[name]), Rules(hint=hint))
            for sample, row in rows(samples)
        ]
        if name == "oracle":
            assert all(line["correct"] for line in lines)
        else:
            assert not any(line["correct"] for line in lines)
        if name == "always-abstain":
            assert {line["suggestions"] for line in lines} == {0}
        if name == "always-ask":
            assert min(line["suggestions"] for line in lines) >= 1


def test_the_random_baseline_is_seeded_by_its_place_and_by_the_seed(samples):
    def answers(seed: int) -> list:
        player = BaselinePlayer(baselines(seed)["random"])
        return [[turn["answer"] for turn in play(*found, player)["turns"]] for found in rows(samples)]

    assert answers(1) == answers(1)
    assert answers(1) != answers(2)


def test_a_model_that_says_nothing_has_no_answer(samples):
    @dataclass
    class Silent:
        async def answer(self, view: View) -> Response:
            return Response("\n", "stop", key="0")

    sample, row = rows(samples)[0]
    line = play(sample, row, Silent())
    assert (line["outcome"], line["error"]) == ("refused", "The model said nothing.")
    assert line["turns"][0]["action"] is None
