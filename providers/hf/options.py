"""The sampling options that a model in this process takes, read from a request and checked.

What a request leaves open is as the model's own generation settings have it; a temperature of 0 takes the
likeliest token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from providers.errors import BadRequest, ParameterRejected
from providers.types import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How one answer is made; None is what the model's own settings say.

    Penalties as their inventors defined them: `repetition_penalty` divides (CTRL), the other two are
    subtracted (OpenAI). `verdicts` is how many zeros and ones the answer must be, 0 for a free answer.
    `template` are arguments of the chat template, such as `enable_thinking`.
    """

    max_tokens: int
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
        samples = getattr(config, "do_sample", False)
        defaults: dict[str, Any] = {
            "temperature": (getattr(config, "temperature", None) or 1.0) if samples else 0.0,
            "top_p": getattr(config, "top_p", None) or 1.0,
            "top_k": getattr(config, "top_k", None) or 0,
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


def _number(least: float, most: float, *, open_below: bool = False) -> Callable[[Json], float]:
    def read(value: Json) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError
        if not least <= value <= most or (open_below and value == least):
            raise ValueError
        return float(value)

    return read


def _whole(least: int, most: int) -> Callable[[Json], int]:
    def read(value: Json) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError
        return value

    return read


def _texts(value: Json) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise ValueError
    return tuple(str(text) for text in texts)


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
    "max_tokens": ("max_tokens", _whole(1, 10**7), "a whole number of at least 1"),
    "temperature": ("temperature", _number(0, 100), "a number of at least 0"),
    "top_p": ("top_p", _number(0, 1, open_below=True), "a number above 0 and up to 1"),
    "top_k": ("top_k", _whole(0, 10**7), "a whole number, 0 for no limit"),
    "repetition_penalty": ("repetition_penalty", _number(0, 100, open_below=True), "a number above 0"),
    "presence_penalty": ("presence_penalty", *_PENALTY),
    "frequency_penalty": ("frequency_penalty", *_PENALTY),
    "seed": ("seed", _whole(-(2**63), 2**63 - 1), "a whole number of 64 bits"),
    "stop": ("stop", _texts, "a text or a list of texts"),
    "grammar": ("verdicts", _verdicts, 'the grammar of a verdict, such as root ::= [01] "," [01]'),
    "chat_template_kwargs": ("template", _arguments, "an object"),
}
