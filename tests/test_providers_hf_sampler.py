"""The choice of a token, held against the processors that transformers itself has."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from providers import BadRequest
from providers.hf.sampler import Options, Sampler, Vocabulary

torch = pytest.importorskip("torch", reason="the extra transformers is not installed")
hf = pytest.importorskip("transformers", reason="the extra transformers is not installed")

pytestmark = pytest.mark.slow

TEXTS = ["</s>", "0", "1", ",", " ", "1,", ", ", "10", "yes", "", "0,1"]
PROMPT = [3, 5, 5]


class Tokens:
    """A tokenizer whose token n is the text n."""

    all_special_ids = (0,)

    def __len__(self) -> int:
        return len(TEXTS)

    def decode(self, ids: Any, **_: Any) -> str:
        return "".join(TEXTS[number] for number in ids if number)

    def batch_decode(self, ids: Any) -> list[str]:
        return ["".join(TEXTS[number] for number in row) for row in ids]


def vocabulary(ends: tuple[int, ...] = (0,)) -> Vocabulary:
    return Vocabulary(Tokens(), len(TEXTS), ends)


def sampler(**options: Any) -> Sampler:
    completed = Options(max_tokens=9, **options).completed(SimpleNamespace())
    return Sampler(completed, PROMPT, vocabulary())


@pytest.fixture
def scores() -> Any:
    return torch.randn(len(TEXTS), generator=torch.Generator().manual_seed(3)) * 2


def test_without_options_nothing_changes(scores):
    assert sampler()(scores, [1]) is scores


def test_the_repetition_penalty_is_that_of_the_library(scores):
    theirs = hf.RepetitionPenaltyLogitsProcessor(1.7)(torch.tensor([[*PROMPT, 1, 8]]), scores[None])[0]
    torch.testing.assert_close(sampler(repetition_penalty=1.7)(scores, [1, 8]), theirs)


def test_penalties_count_what_was_answered(scores):
    changed = sampler(presence_penalty=0.5, frequency_penalty=0.25)(scores, [2, 2, 7])
    expected = scores.clone()
    expected[2] -= 1.0
    expected[7] -= 0.75
    torch.testing.assert_close(changed, expected)


@pytest.mark.parametrize(("top_p", "top_k"), [(0.5, 0), (0.9, 0), (1.0, 3), (0.8, 4), (1e-9, 0), (1.0, 99)])
def test_draws_come_from_what_the_library_would_leave(scores, top_p, top_k):
    kept = scores[None] / 1.3
    if top_k:
        kept = hf.TopKLogitsWarper(top_k)(None, kept)
    kept = hf.TopPLogitsWarper(top_p)(None, kept) if top_p < 1 else kept
    shares = kept.softmax(-1)[0]
    choose = sampler(temperature=1.3, top_p=top_p, top_k=top_k, seed=11)
    drawn = Counter(int(choose(scores, []).argmax()) for _ in range(4000))
    assert set(drawn) <= set(shares.nonzero().flatten().tolist())
    for token, share in enumerate(shares.tolist()):
        # Five standard deviations; the seed makes it the same every time.
        assert abs(drawn[token] / 4000 - share) <= 5 * (share * (1 - share) / 4000) ** 0.5


def test_a_seed_draws_the_same(scores):
    def draws(seed: int) -> list[int]:
        choose = sampler(temperature=2.0, seed=seed)
        return [int(choose(scores, []).argmax()) for _ in range(20)]

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)


@pytest.mark.parametrize(
    ("count", "ids", "allowed"),
    [
        (1, [], {1, 2}),
        (1, [1], {0}),
        (2, [], {1, 2, 5, 10}),
        (2, [1], {3}),
        (2, [5], {1, 2}),
        (2, [1, 3], {1, 2}),
        (2, [10], {0}),
        (3, [10], {3}),
        (3, [1, 3], {1, 2, 5, 10}),
    ],
)
def test_a_verdict_allows_what_can_still_become_one(count, ids, allowed):
    assert set(vocabulary().verdict_tokens(count, ids)) == allowed


def test_what_cannot_be_spelled_is_told():
    with pytest.raises(BadRequest, match="cannot spell"):
        vocabulary(ends=()).verdict_tokens(1, [1])


def test_a_verdict_holds_also_when_drawing(scores):
    choose = sampler(temperature=9.0, seed=1, verdicts=1)
    assert {int(choose(scores, []).argmax()) for _ in range(50)} == {1, 2}
    assert int(choose(scores, [1]).argmax()) == 0
