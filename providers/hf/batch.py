"""Requests as rows, run as one padded batch through transformers.

Its continuous batching takes token ids alone, no images, so a batch is one call of `generate`. Rows are
padded on the left, each has its own options and limit, and each is answered when its own end is reached.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from providers.errors import (
    BadRequest,
    ContextExceeded,
    ImageRejected,
    ImagesUnsupported,
    ProviderError,
    Unusable,
)
from providers.hf.model import Loaded, free, out_of_memory
from providers.hf.sampler import Options, Sampler, Vocabulary
from providers.replies.answers import visible
from providers.replies.error_text import one_line
from providers.types import EncodedImage, Finish, Request, Response
from providers.usage import Usage

_CHARACTERS_A_TOKEN = 3
_PIXELS_A_TOKEN = 28 * 28  # of the models whose image tokens grow with the image
_DEVICE_LOST = ("CUDA error", "device-side assert", "MPS backend")


class OutOfMemory(Exception):
    """A batch did not fit into the device's memory; what it took there has been freed."""


@dataclass(eq=False)
class Row:
    """A request as a row of a batch, settled as soon as its own answer ends, whatever the others still do.

    `text` is the prompt in the model's own template, `images` are RGB pictures of PIL in their order,
    `special` is whether the tokenizer still has to add its own first token. `options` have no gaps,
    `began` hears when its batch begins.
    """

    text: str
    images: tuple[Any, ...]
    special: bool
    options: Options
    began: Callable[[], None] = lambda: None
    future: Future[Response] = field(default_factory=Future)
    gone: bool = False  # its asker waits no more
    ids: list[int] = field(default_factory=list)
    read: Sequence[int] = ()  # the tokens of the prompt, images included
    room: int = 0  # tokens that the answer may have

    @property
    def kind(self) -> Hashable:
        """Rows of different kinds never share a batch: many processors take images of all rows or of none."""
        return bool(self.images), self.special

    @property
    def shape(self) -> Hashable:
        """Rows of different shapes share a batch unless the model turns out not to take that."""
        return tuple(image.size for image in self.images)

    @property
    def size(self) -> int:
        """About how many tokens it has."""
        pixels = sum(int(image.width * image.height) for image in self.images)
        return len(self.text) // _CHARACTERS_A_TOKEN + pixels // _PIXELS_A_TOKEN

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


def render(loaded: Loaded, request: Request, images: Sequence[EncodedImage], options: Options) -> Row:
    """The request as a row; `images` are those of its messages in their order.

    Raises `ImagesUnsupported`, or `BadRequest` for an image or messages that cannot be read.
    """
    from PIL import Image

    if images and not loaded.sees:
        raise ImagesUnsupported(f"{loaded.name} sees no images: it is a text model.")
    try:
        # As the benchmark's own loop hands them to a processor.
        decoded = tuple(Image.open(BytesIO(image.data)).convert("RGB") for image in images)
    except (OSError, ValueError, SyntaxError) as error:
        raise BadRequest(f"An image of the request cannot be decoded: {error}.") from None
    if loaded.plain:
        if len(decoded) != 1:
            raise BadRequest(f"{loaded.name} takes one image with a question, and {len(decoded)} are shown.")
        text = "\n".join(
            part for message in request.messages for part in message.parts if isinstance(part, str)
        )
        return Row(text, decoded, True, options.completed(loaded.model.generation_config))
    chat: list[dict[str, Any]] = []
    for message in request.messages:
        parts = [
            {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
            for part in message.parts
        ]
        content = parts if loaded.sees else "".join(map(str, message.parts))
        chat.append({"role": message.role, "content": content})
    writer = loaded.processor or loaded.tokenizer
    try:
        text = str(
            writer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True, **options.template)
        )
    except Exception as error:  # a template may raise anything, in its own words
        reason = one_line(str(error))
        raise BadRequest(f"The chat template of {loaded.name} does not take this request: {reason}") from None
    # As transformers itself does it: most templates write the first token, and two of them are one too many.
    first = loaded.tokenizer.bos_token
    special = loaded.sees and not (first is not None and text.startswith(first))
    return Row(text, decoded, special, options.completed(loaded.model.generation_config))


def run(loaded: Loaded, rows: Sequence[Row], closing: Callable[[], bool]) -> None:
    """Answer the rows, or stop early when `closing` says so.

    Raises `OutOfMemory` when the batch did not fit (what it took is freed then), `Unusable` when the
    device itself failed, and whatever transformers raises for rows that it takes one by one alone.
    """
    try:
        _run(loaded, rows, closing)
        return
    except Exception as error:
        if not out_of_memory(error):
            if any(words in str(error) for words in _DEVICE_LOST):
                raise Unusable(f"The device failed: {one_line(str(error))}") from None
            raise
    # Here the error is gone, and with it the frames that held the batch.
    free()
    raise OutOfMemory("It does not fit into the memory of the device.")


def _run(loaded: Loaded, rows: Sequence[Row], closing: Callable[[], bool]) -> None:
    import torch

    rows, inputs = _readable(loaded, [row for row in rows if not row.over])
    if not rows:
        return
    settings = copy.deepcopy(loaded.model.generation_config)
    settings.update(
        do_sample=False,  # a sampled row brings its own noise
        num_beams=1,
        num_return_sequences=1,
        repetition_penalty=1.0,
        max_length=None,
        max_new_tokens=max(row.room for row in rows),
        pad_token_id=loaded.tokenizer.pad_token_id or 0,
        eos_token_id=list(loaded.vocabulary.ends) or None,
    )
    samplers = [
        Sampler(row.options, row.read, loaded.vocabulary) if row.options.steered else None for row in rows
    ]

    def choose(ids: Any, scores: Any) -> Any:
        """The scores with which the greedy choice is each row's own."""
        for index, (row, sampler) in enumerate(zip(rows, samplers, strict=True)):
            if sampler is None or row.over:
                continue
            try:
                scores[index] = sampler(scores[index], row.ids)
            except BadRequest as error:
                row.fail(error)
        return scores

    def stop(ids: Any, scores: Any) -> Any:
        """Which rows are over."""
        for row, token in zip(rows, ids[:, -1].tolist(), strict=True):
            if not row.over:
                row.take(token, loaded.vocabulary)
        ending = closing()
        return ids.new_tensor([ending or row.over for row in rows], dtype=bool)

    with torch.inference_mode():
        loaded.model.generate(
            **inputs, generation_config=settings, logits_processor=[choose], stopping_criteria=[stop]
        )


def _readable(loaded: Loaded, rows: list[Row]) -> tuple[list[Row], Any]:
    """The rows that the model has room for, and these as its inputs; the other rows fail."""
    if not rows:
        return [], None
    try:
        inputs = _inputs(loaded, rows)
    except Exception as error:
        if len(rows) > 1 or out_of_memory(error):
            raise  # they are tried one by one
        sizes = ", ".join(f"{image.width}x{image.height}" for image in rows[0].images)
        what = f"these images ({sizes} pixels)" if sizes else "this text"
        # These two are what the benchmark's own loop expects of a picture that is too small, say.
        kind = ImageRejected if sizes and isinstance(error, ValueError | TypeError) else BadRequest
        reason = one_line(str(error))
        raise kind(f"The processor of {loaded.name} does not take {what}: {reason}") from None
    masks = inputs["attention_mask"].bool()
    if not masks[:, -1].all():
        # It would change the answers, with no more than a warning. Alone a row needs no padding.
        raise ValueError("The processor pads on the right.")
    for row, ids, mask in zip(rows, inputs["input_ids"], masks, strict=True):
        try:
            row.begin(ids[mask].tolist(), loaded.context)
        except ContextExceeded as error:
            row.fail(error)
    begun = [row for row in rows if not row.over]
    return (rows, inputs) if len(begun) == len(rows) else _readable(loaded, begun)


def _inputs(loaded: Loaded, rows: Sequence[Row]) -> Any:
    texts = [row.text for row in rows]
    options: dict[str, Any] = {"padding": True, "padding_side": "left", "return_tensors": "pt"}
    if loaded.processor is None:
        read = loaded.tokenizer(texts, add_special_tokens=False, **options).to(loaded.model.device)
        return {name: read[name] for name in ("input_ids", "attention_mask")}
    images: list[Any] = [list(row.images) for row in rows]
    if loaded.plain:
        images = [image for own in images for image in own]
    read = loaded.processor(
        text=texts,
        images=images if any(images) else None,
        add_special_tokens=rows[0].special,
        **options,
    )
    if loaded.plain:
        # Its second reader counts places from the left: padding there would change what it reads.
        again = loaded.processor.qformer_tokenizer(texts, **{**options, "padding_side": "right"})
        for name in ("input_ids", "attention_mask"):
            read[f"qformer_{name}"] = again[name]
    return read.to(loaded.model.device, loaded.model.dtype)
