"""Which token each row of a batch takes next: its own temperature, penalties, verdict and seed.

Rows with different options share a batch. A sampled row adds its own Gumbel noise, so the likeliest
token of what is left is a draw, and one that depends on the row's seed and not on its batch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from providers.errors import BadRequest
from providers.hf.options import Options

_BEGINNING_OF_VERDICT = re.compile(r"([01],)*[01]?")


class Vocabulary:
    """The texts of a tokenizer's tokens; `ends` are those that end an answer."""

    def __init__(self, tokenizer: Any, size: int, ends: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._size = size
        self.ends = tuple(ends)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of these tokens, without special ones."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    @cached_property
    def _of_verdicts(self) -> list[int]:
        # Looked up once, for the first verdict: it decodes every token.
        length = min(self._size, len(self._tokenizer))
        texts = self._tokenizer.batch_decode([[token] for token in range(length)])
        special = set(self._tokenizer.all_special_ids)
        return [
            token
            for token, text in enumerate(texts)
            if token not in special and text and set(text) <= set("01,")
        ]

    def verdict_tokens(self, count: int, ids: Sequence[int]) -> list[int]:
        """The tokens that may follow `ids` in a verdict of `count` zeros and ones, such as `0,1`.

        Raises `BadRequest` when there is none.
        """
        text, length = self.decode(ids), 2 * count - 1
        allowed = list(self.ends) if len(text) == length else []
        for token in self._of_verdicts:
            longer = self.decode([*ids, token])
            # A token that adds no text could be added for ever.
            if len(text) < len(longer) <= length and _BEGINNING_OF_VERDICT.fullmatch(longer):
                allowed.append(token)
        if not allowed:
            raise BadRequest("The model's tokenizer cannot spell a verdict.")
        return allowed


class Sampler:
    """Changes the scores of one row so that the highest one is the token to take.

    `options` have no gaps, `prompt` are the row's own tokens, for the repetition penalty.
    """

    def __init__(self, options: Options, prompt: Sequence[int], vocabulary: Vocabulary) -> None:
        self._options = options
        self._prompt = frozenset(prompt) if options.repetition_penalty != 1 else frozenset()
        self._vocabulary = vocabulary
        self._random: Any = None

    def __call__(self, scores: Any, ids: Sequence[int]) -> Any:
        """The scores of the vocabulary, one dimension of float32, after the tokens `ids` of the answer.

        Raises `BadRequest` when no token may come next.
        """
        options = self._options
        penalty = options.repetition_penalty or 1.0
        if penalty != 1:
            seen = scores.new_tensor(sorted(self._prompt.union(ids)), dtype=int)
            before = scores[seen]
            changed = before.where(before > 0, before * penalty**2)
            scores = scores.index_copy(0, seen, changed / penalty)
        if ids and (options.presence_penalty or options.frequency_penalty):
            counts = scores.new_tensor(ids, dtype=int).bincount(minlength=len(scores))
            scores = scores - options.frequency_penalty * counts - options.presence_penalty * (counts > 0)
        if options.verdicts:
            allowed = scores.new_tensor(self._vocabulary.verdict_tokens(options.verdicts, ids), dtype=int)
            held = scores.new_full(scores.shape, -math.inf)
            scores = held.index_copy(0, allowed, scores[allowed])
        return self._drawn(scores) if options.temperature else scores

    def _drawn(self, scores: Any) -> Any:
        """The scores with noise, so that the highest is a draw from what top_k and top_p leave."""
        import torch

        options = self._options
        scores = scores / options.temperature
        if options.top_k:
            least = scores.topk(min(options.top_k, len(scores))).values[-1]
            scores = scores.masked_fill(scores < least, -math.inf)
        if options.top_p is not None and options.top_p < 1:
            ordered, indices = scores.sort(descending=True)
            probabilities = ordered.softmax(0)
            above = probabilities.cumsum(0) - probabilities
            scores = scores.index_fill(0, indices[above >= options.top_p], -math.inf)
        if self._random is None:
            # On the processor, where a seed draws the same for every device.
            self._random = torch.Generator()
            self._random.seed() if options.seed is None else self._random.manual_seed(options.seed)
        noise = torch.empty(len(scores)).exponential_(generator=self._random)
        return scores - noise.log().to(scores.device)
