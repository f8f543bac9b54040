"""The sampling options of a model in this process, and the tokens that they make the rows of a batch take.

What a request leaves open is as the model's own generation settings have it. Rows with different options
share a batch. A sampled row adds its own Gumbel noise, so the likeliest token of what is left is a draw,
and one that depends on the row's seed and not on its batch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from providers.errors import BadRequest, ParameterRejected
from providers.types import Json

_TOP_K = 50  # what `generate` takes where nobody says anything
_BEGINNING_OF_VERDICT = re.compile(r"([01],)*[01]?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How one answer is made; None is what the model's own settings say.

    Penalties as their inventors defined them: `repetition_penalty` divides (CTRL), the other two are
    subtracted (OpenAI). `verdicts` is how many zeros and ones the answer must be, 0 for a free answer.
    `template` are arguments of the chat template, such as `enable_thinking`.
    """

    max_tokens: int
    do_sample: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    verdicts: int = 0
    template: Mapping[str, Json] = field(default_factory=dict)

    @property
    def steered(self) -> bool:
        """Whether another token than the likeliest may be taken, where no option is left open."""
        penalties = (self.presence_penalty, self.frequency_penalty, self.repetition_penalty != 1)
        return bool(self.temperature or self.verdicts or any(penalties))

    def completed(self, config: Any) -> Options:
        """Without gaps: what is open is as in `config`, the model's `GenerationConfig`."""
        samples = getattr(config, "do_sample", False) if self.do_sample is None else self.do_sample
        top_k = getattr(config, "top_k", None)
        defaults: dict[str, Any] = {
            "temperature": (getattr(config, "temperature", None) or 1.0) if samples else 0.0,
            "top_p": getattr(config, "top_p", None) or 1.0,
            "top_k": top_k or (_TOP_K if samples and top_k is None else 0),
            "repetition_penalty": getattr(config, "repetition_penalty", None) or 1.0,
        }
        return replace(
            self, **{name: value for name, value in defaults.items() if getattr(self, name) is None}
        )


def read_options(params: Mapping[str, Json]) -> Options:
    """Raises `ParameterRejected` for an option that is not known, `BadRequest` for a value that cannot be."""
    read: dict[str, Any] = {}
    for name, value in params.items():
        if name not in _READERS:
            known = ", ".join(sorted(_READERS))
            raise ParameterRejected(f"A local model does not know the option {name}; it knows {known}.", name)
        field_name, reader, wanted = _READERS[name]
        try:
            read[field_name] = reader(value)
        except ValueError:
            raise BadRequest(f"The option {name} is {value!r:.60}, but must be {wanted}.") from None
    if "max_tokens" not in read:
        raise BadRequest("The request has no max_tokens.")
    return Options(**read)


def _number(least: float, most: float, whole: bool = False, above: bool = False) -> Callable[[Json], float]:
    """A reader of numbers from `least`, or `above` it, to `most`."""

    def read(value: Json) -> float:
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise ValueError
        if not least <= value <= most or (above and value == least):
            raise ValueError
        return value if whole else float(value)

    return read


def _texts(value: Json) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise ValueError
    return tuple(str(text) for text in texts)


def _truth(value: Json) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _verdicts(value: Json) -> int:
    # llama.cpp reads any grammar; here there is the one that judges are given.
    if not isinstance(value, str) or not re.fullmatch(r'root ::= \[01\]( "," \[01\])*', value):
        raise ValueError
    return value.count("[01]")


def _arguments(value: Json) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise ValueError
    return value


_PENALTY = (_number(-2, 2), "a number from -2 to 2")
_READERS: Mapping[str, tuple[str, Callable[[Json], Any], str]] = {
    "max_tokens": ("max_tokens", _number(1, 10**7, whole=True), "a whole number of at least 1"),
    "do_sample": ("do_sample", _truth, "true or false"),
    "temperature": ("temperature", _number(0, 100), "a number of at least 0"),
    "top_p": ("top_p", _number(0, 1, above=True), "a number above 0 and up to 1"),
    "top_k": ("top_k", _number(0, 10**7, whole=True), "a whole number, 0 for no limit"),
    "repetition_penalty": ("repetition_penalty", _number(0, 100, above=True), "a number above 0"),
    "presence_penalty": ("presence_penalty", *_PENALTY),
    "frequency_penalty": ("frequency_penalty", *_PENALTY),
    "seed": ("seed", _number(-(2**63), 2**63 - 1, whole=True), "a whole number of 64 bits"),
    "stop": ("stop", _texts, "a text or a list of texts"),
    "grammar": ("verdicts", _verdicts, 'the grammar of a verdict, such as root ::= [01] "," [01]'),
    "chat_template_kwargs": ("template", _arguments, "an object"),
}


@dataclass
class Vocabulary:
    """The texts of a tokenizer's tokens; `ends` are those that end an answer."""

    tokenizer: Any
    size: int
    ends: Sequence[int]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of these tokens, without special ones."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    @cached_property
    def _of_verdicts(self) -> list[int]:
        # Looked up once, for the first verdict: it decodes every token.
        length = min(self.size, len(self.tokenizer))
        texts = self.tokenizer.batch_decode([[token] for token in range(length)])
        special = set(self.tokenizer.all_special_ids)
        return [
            token
            for token, text in enumerate(texts)
            if token not in special and text and set(text) <= set("01,")
        ]

    def verdict_tokens(self, count: int, ids: Sequence[int]) -> list[int]:
        """The tokens that may follow `ids` in a verdict of `count` zeros and ones, or `BadRequest`."""
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
        """The scores of the vocabulary, one dimension of float32, after the tokens `ids` of the answer."""
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
