"""Which token each row of a batch takes next: its own temperature, penalties, grammar and seed.

Rows with different options share a batch. A sampled row adds its own Gumbel noise, so the likeliest
token of what is left is a draw, and one that depends on the row's seed and not on its batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from providers.hf.grammar import Pattern
from providers.hf.options import Options


class Unspellable(Exception):
    """No token of the model may come next."""


class Vocabulary:
    """The texts of a tokenizer's tokens, read once when the first grammar asks for them."""

    def __init__(self, tokenizer: Any, size: int, ends: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._size = size
        self.ends = tuple(ends)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of these tokens, without special ones."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def spelling(self, alphabet: frozenset[str]) -> list[int]:
        """The tokens that are made of these characters alone."""
        return [number for number, text in enumerate(self._texts) if text and alphabet.issuperset(text)]

    @cached_property
    def _texts(self) -> list[str]:
        length = min(self._size, len(self._tokenizer))
        texts = self._tokenizer.batch_decode([[number] for number in range(length)])
        special = set(self._tokenizer.all_special_ids)
        return ["" if number in special else text for number, text in enumerate(texts)]


class Constraint:
    """Holds one answer to a grammar: which tokens may come next."""

    def __init__(self, grammar: Pattern, vocabulary: Vocabulary) -> None:
        import regex  # comes with transformers; unlike `re` it can match the beginning of an answer

        self._vocabulary = vocabulary
        self._regex = regex.compile(grammar.regex)
        self._spelling = vocabulary.spelling(grammar.alphabet)

    def allowed(self, ids: Sequence[int]) -> list[int]:
        """The tokens that may follow `ids`. Raises `Unspellable` when there is none."""
        said = self._vocabulary.decode(ids)
        allowed = [token for token in self._spelling if self._begins([*ids, token], said)]
        if self._regex.fullmatch(said) is not None:
            allowed += self._vocabulary.ends
        if not allowed:
            raise Unspellable("The model's tokenizer cannot spell what the grammar asks for.")
        return allowed

    def _begins(self, ids: Sequence[int], said: str) -> bool:
        text = self._vocabulary.decode(ids)
        # A token that adds no text could be added for ever.
        return len(text) > len(said) and self._regex.fullmatch(text, partial=True) is not None


class Chooser:
    """Changes the scores of one row so that the highest one is the token to take.

    `options` have no gaps, `prompt` are the row's own tokens, for the repetition penalty.
    """

    def __init__(self, options: Options, prompt: Sequence[int], vocabulary: Vocabulary) -> None:
        self._options = options
        self._prompt = frozenset(prompt) if options.repetition_penalty != 1 else frozenset()
        self._constraint = Constraint(options.grammar, vocabulary) if options.grammar else None
        self._random: Any = None

    def __call__(self, scores: Any, ids: Sequence[int]) -> Any:
        """The scores of the vocabulary, one dimension of float32, after the tokens `ids` of the answer.

        Raises `Unspellable`.
        """
        scores = self._penalized(scores, ids)
        if self._constraint is not None:
            allowed = scores.new_tensor(self._constraint.allowed(ids), dtype=int)
            held = scores.new_full(scores.shape, -math.inf)
            scores = held.index_copy(0, allowed, scores[allowed])
        return self._drawn(scores) if self._options.temperature else scores

    def _penalized(self, scores: Any, ids: Sequence[int]) -> Any:
        options = self._options
        penalty = options.repetition_penalty or 1.0
        if penalty != 1:
            seen = scores.new_tensor(sorted(self._prompt.union(ids)), dtype=int)
            found = scores[seen]
            changed = found.where(found > 0, found * penalty**2)
            scores = scores.index_copy(0, seen, changed / penalty)
        if ids and (options.presence_penalty or options.frequency_penalty):
            counts = scores.new_tensor(ids, dtype=int).bincount(minlength=len(scores))
            scores = scores - options.frequency_penalty * counts - options.presence_penalty * (counts > 0)
        return scores

    def _drawn(self, scores: Any) -> Any:
        """The scores with noise, so that the highest is a draw from what top_k and top_p leave."""
        import torch

        options = self._options
        scores = scores / options.temperature
        if options.top_k:
            least = scores.topk(min(options.top_k, len(scores))).values[-1]
            scores = scores.masked_fill(scores < least, -math.inf)
        if options.top_p is not None and options.top_p < 1:
            ordered, places = scores.sort(descending=True)
            shares = ordered.softmax(0)
            before = shares.cumsum(0) - shares
            scores = scores.index_fill(0, places[before >= options.top_p], -math.inf)
        if self._random is None:
            # On the processor, where a seed draws the same for every device.
            self._random = torch.Generator()
            self._random.seed() if options.seed is None else self._random.manual_seed(options.seed)
        noise = torch.empty(len(scores)).exponential_(generator=self._random)
        return scores - noise.log().to(scores.device)
