"""One request to a model in this process, as a row of a batch: its prompt, its tokens, its end.

A row is settled as soon as its own answer ends, whatever the others of its batch still do.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from providers.errors import BadRequest, ContextExceeded, ProviderError
from providers.hf.options import Options
from providers.hf.sampler import Vocabulary
from providers.replies.answers import visible
from providers.replies.error_text import one_line
from providers.types import Finish, Response, Usage

_CHARACTERS_A_TOKEN = 3
_PIXELS_A_TOKEN = 28 * 28  # of the models whose image tokens grow with the image


@dataclass(frozen=True)
class Prompt:
    """A prompt in the model's own template; `images` are RGB pictures of PIL in their order.

    `special` is whether the tokenizer still has to add its own first token.
    """

    text: str
    images: tuple[Any, ...]
    special: bool


@dataclass(eq=False)
class Row:
    """A request in the queue of a `Gatherer`; `options` have no gaps. `began` hears when its batch begins."""

    prompt: Prompt
    options: Options
    began: Callable[[], None] = lambda: None
    future: Future[Response] = field(default_factory=Future)
    gone: bool = False  # its asker waits no more
    ids: list[int] = field(default_factory=list)
    read: Sequence[int] = ()  # the tokens of the prompt, images included
    room: int = 0  # tokens that the answer may have

    @property
    def kind(self) -> Hashable:
        """Rows of different kinds never share a batch."""
        # Many processors do not take one in which only some rows have images.
        return bool(self.prompt.images), self.prompt.special

    @property
    def shape(self) -> Hashable:
        """Rows of different shapes share a batch unless the model turns out not to take that."""
        return tuple(image.size for image in self.prompt.images)

    @property
    def size(self) -> int:
        """About how many tokens it has."""
        pixels = sum(int(image.width * image.height) for image in self.prompt.images)
        return len(self.prompt.text) // _CHARACTERS_A_TOKEN + pixels // _PIXELS_A_TOKEN

    @property
    def over(self) -> bool:
        """Whether it is answered or failed, or nobody waits for it any more."""
        return self.gone or self.future.done()

    def begin(self, prompt: Sequence[int], context: int | None) -> None:
        """Its batch begins (again): `prompt` are its tokens, of which the model can read `context`.

        Raises `ContextExceeded`.
        """
        self.ids.clear()
        self.read = prompt
        room = self.options.max_tokens if context is None else context - len(prompt)
        if room < 1:
            raise ContextExceeded(
                f"The prompt has {len(prompt)} tokens with its images, but the model reads {context} "
                "and needs room for an answer."
            )
        self.room = min(room, self.options.max_tokens)
        self.began()

    def take(self, token: int, vocabulary: Vocabulary) -> None:
        """One more token of the answer, which may be its last."""
        self.ids.append(token)
        ended = token in vocabulary.ends
        if not ended and not self.options.stop and len(self.ids) < self.room:
            return
        text = vocabulary.decode(self.ids)
        stops = [index for stop in self.options.stop if (index := text.find(stop)) >= 0]
        if stops:
            text = text[: min(stops)]
        if ended or stops:
            finish: Finish = "stop"
        elif len(self.ids) >= self.room:
            finish = "length"
        else:
            return
        # It may be empty: the model chose to say nothing, as in llama.cpp, and is not asked for it again.
        answer = Response(visible(text), finish, Usage(len(self.read), len(self.ids)))
        with suppress(InvalidStateError):
            self.future.set_result(answer)

    def fail(self, error: Exception) -> None:
        """Ends it without an answer; what is no `ProviderError` yet becomes one."""
        if not isinstance(error, ProviderError):
            reason = one_line(str(error)) or type(error).__name__
            error = BadRequest(f"The model could not answer this request: {reason}")
        with suppress(InvalidStateError):  # its asker may go at any time
            self.future.set_exception(error)
