"""Run rows as one padded batch through transformers.

Its continuous batching takes token ids alone, no images, so a batch is one call of `generate`. Rows are
padded on the left, each has its own options and limit, and each is answered when its own end is reached.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from providers.errors import BadRequest, ContextExceeded, ImagesUnsupported, Unusable
from providers.hf.gatherer import OutOfMemory
from providers.hf.model import Loaded, free, out_of_memory
from providers.hf.row import Prompt, Row
from providers.hf.sampler import Sampler
from providers.replies.error_text import one_line
from providers.types import Json, Message

_DEVICE_LOST = ("CUDA error", "device-side assert", "MPS backend")


def render(
    loaded: Loaded, messages: Sequence[Message], images: Sequence[Any], template: Mapping[str, Json]
) -> Prompt:
    """A prompt in the model's own template; `images` are decoded, in the order of the messages.

    Raises `ImagesUnsupported`, or `BadRequest` when the template does not take the messages.
    """
    if images and not loaded.sees:
        raise ImagesUnsupported(f"{loaded.name} sees no images: it is a text model.")
    chat: list[dict[str, Any]] = []
    for message in messages:
        parts = [
            {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
            for part in message.parts
        ]
        content = parts if loaded.sees else "".join(map(str, message.parts))
        chat.append({"role": message.role, "content": content})
    writer = loaded.processor or loaded.tokenizer
    try:
        text = str(writer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True, **template))
    except Exception as error:  # a template may raise anything, in its own words
        reason = one_line(str(error))
        raise BadRequest(f"The chat template of {loaded.name} does not take this request: {reason}") from None
    # As transformers itself does it: most templates write the first token, and two of them are one too many.
    first = loaded.tokenizer.bos_token
    special = loaded.sees and not (first is not None and text.startswith(first))
    return Prompt(text, tuple(images), special)


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
    steering = _Steering(loaded, rows, closing)
    with torch.inference_mode():
        loaded.model.generate(
            **inputs,
            generation_config=settings,
            logits_processor=[steering.choose],
            stopping_criteria=[steering.stop],
        )


def _readable(loaded: Loaded, rows: list[Row]) -> tuple[list[Row], Any]:
    """The rows that the model can read, and these as its inputs; the other rows fail."""
    while rows:
        try:
            inputs = _inputs(loaded, rows)
        except Exception as error:
            readable = [row for row in rows if _reads(loaded, row)] if len(rows) > 1 else []
            if readable == rows or out_of_memory(error):
                raise
            if len(rows) == 1:
                rows[0].fail(_unreadable(loaded, rows[0], error))
            rows = readable
            continue
        masks = inputs["attention_mask"].bool()
        if not masks[:, -1].all():
            # It would change the answers, with no more than a warning. Alone a row needs no padding.
            raise ValueError("The processor pads on the right.")
        begun = []
        for row, ids, mask in zip(rows, inputs["input_ids"], masks, strict=True):
            try:
                row.begin(ids[mask].tolist(), loaded.context)
                begun.append(row)
            except ContextExceeded as error:
                row.fail(error)
        if len(begun) == len(rows):
            return rows, inputs
        rows = begun
    return [], None


def _inputs(loaded: Loaded, rows: Sequence[Row]) -> Any:
    texts = [row.prompt.text for row in rows]
    options: dict[str, Any] = {"padding": True, "padding_side": "left", "return_tensors": "pt"}
    if loaded.processor is None:
        read = loaded.tokenizer(texts, add_special_tokens=False, **options).to(loaded.model.device)
        return {name: read[name] for name in ("input_ids", "attention_mask")}
    images = [list(row.prompt.images) for row in rows]
    read = loaded.processor(
        text=texts,
        images=images if any(images) else None,
        add_special_tokens=rows[0].prompt.special,
        **options,
    )
    return read.to(loaded.model.device, loaded.model.dtype)


def _reads(loaded: Loaded, row: Row) -> bool:
    try:
        _inputs(loaded, [row])
    except Exception as error:
        row.fail(_unreadable(loaded, row, error))
        return False
    return True


def _unreadable(loaded: Loaded, row: Row, error: Exception) -> BadRequest:
    sizes = ", ".join(f"{image.width}x{image.height}" for image in row.prompt.images)
    what = f"these images ({sizes} pixels)" if sizes else "this text"
    return BadRequest(f"The processor of {loaded.name} does not take {what}: {one_line(str(error))}")


class _Steering:
    """What `generate` calls at each step: rows choose their tokens, and are told which they got."""

    def __init__(self, loaded: Loaded, rows: Sequence[Row], closing: Callable[[], bool]) -> None:
        self._rows = rows
        self._vocabulary = loaded.vocabulary
        self._closing = closing
        self._samplers = {
            index: Sampler(row.options, row.read, loaded.vocabulary)
            for index, row in enumerate(rows)
            if row.options.steered
        }

    def choose(self, ids: Any, scores: Any) -> Any:
        """The scores with which the greedy choice is each row's own."""
        for index, sampler in self._samplers.items():
            row = self._rows[index]
            if row.over:
                continue
            try:
                scores[index] = sampler(scores[index], row.ids)
            except BadRequest as error:
                row.fail(error)
        return scores

    def stop(self, ids: Any, scores: Any) -> Any:
        """Which rows are over."""
        for row, token in zip(self._rows, ids[:, -1].tolist(), strict=True):
            if not row.over:
                row.take(token, self._vocabulary)
        closing = self._closing()
        return ids.new_tensor([closing or row.over for row in self._rows], dtype=bool)
