"""The most that one call can cost, known before it is made, and what it did cost.

Text is bounded by its bytes, images by the provider's own rule from their pixels as sent,
output by the limit that is always sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from pbclient.money.amounts import format_dollars, picodollars_up
from pbclient.money.prices import Price, cost, dearest, hold
from providers import BadRequest, Message, Request, Usage
from providers.catalog.image_limits import MIB, NO_LIMITS, ImageLimits, encoded
from providers.catalog.tokens import (
    NAMES,
    TOKENS_A_MESSAGE,
    image_bound,
    largest,
    rule_name,
    template_bound,
    text_bound,
)

_FEWER = "lower --shots, leave --history out or ask another model"
_SMALLER = "--resize makes frames smaller"


def refuse_too_many(limits: ImageLimits, images: int) -> None:
    """Raises `BadRequest` when the provider takes fewer images in a request."""
    if limits.images is not None and images > limits.images:
        raise BadRequest(
            f"The question with what stands before it has {images} images, and {limits.whose} takes "
            f"{limits.images} in a request: {_FEWER}."
        )


def refuse_too_large(limits: ImageLimits, sizes: Sequence[int]) -> None:
    """Raises `BadRequest` when an image, or all of them, have more bytes than the provider takes.

    `sizes` are the bytes of each image before base64, which is how the provider counts them.
    """
    sent = [encoded(size) for size in sizes]
    if limits.image_bytes is not None and max(sent, default=0) > limits.image_bytes:
        raise BadRequest(
            f"An image has {_mib(max(sent))} as base64, and {limits.whose} takes "
            f"{_mib(limits.image_bytes)}: {_SMALLER}."
        )
    if limits.request_bytes is not None and sum(sent) > limits.request_bytes:
        fix = _SMALLER if len(sent) == 1 else f"{_SMALLER}; or {_FEWER}"
        raise BadRequest(
            f"The request has {_mib(sum(sent))} of images as base64, and {limits.whose} takes "
            f"{_mib(limits.request_bytes)}: {fix}."
        )


def _mib(size: int) -> str:
    return f"{size / MIB:.1f} MiB"


@dataclass(frozen=True)
class Bounds:
    """Bounds for the calls to one model; `image_tokens` is the user's own bound for any image.

    `limits` is what the provider takes: a request beyond them has no bound, since it is refused.
    `flag` sets the output limit.
    """

    provider: str
    model: str
    price: Price
    image_tokens: int | None = None
    limits: ImageLimits = NO_LIMITS
    flag: str = "--max-tokens"

    async def of(self, request: Request) -> int:
        """Picodollars. Raises `FrameError` when an image cannot be made, `BadRequest` for too large ones."""
        if self.price.is_free and self.limits == NO_LIMITS:
            return 0  # and nothing is refused, whatever is asked
        tokens, images = await self.weigh(request.messages)
        refuse_too_large(self.limits, images)
        return self.hold(tokens, len(images), request)

    async def weigh(self, messages: Iterable[Message]) -> tuple[int, list[int]]:
        """The most input tokens of messages, without what stands around them; the bytes of each image."""
        tokens, images = 0, []
        for message in messages:
            tokens += TOKENS_A_MESSAGE
            for part in message.parts:
                if isinstance(part, str):
                    tokens += text_bound(part)
                else:
                    encoded = await part.encode()
                    tokens += self.image(encoded.width, encoded.height)
                    images.append(len(encoded.data))
        return tokens, images

    def hold(self, tokens: int, images: int, request: Request) -> int:
        """Picodollars for messages of so many tokens and images, sent with the options of `request`."""
        most = tokens + self._around + _options_bound(request)
        return hold(self.price, most, images, output_limit(request), caches=_caches(request))

    async def parts(self, request: Request) -> str:
        """Of what `of` is the sum, part by part, for people; and which option makes it smaller."""
        tokens = (await self.weigh(request.messages))[0] + self._around + _options_bound(request)
        into, out = dearest(self.price, tokens, caches=_caches(request))
        pictures = [
            await part.encode()
            for message in request.messages
            for part in message.parts
            if not isinstance(part, str)
        ]
        shown = sum(self.image(picture.width, picture.height) for picture in pictures)
        named = f"its {len(pictures)} pictures" if len(pictures) > 1 else "its picture"
        limit = output_limit(request)
        parts = [
            (self.price.request, "for the request itself"),
            (
                self.price.image * len(pictures) + into * shown,
                f"for {named} ({shown:,} tokens by {self._rule})",
            ),
            (into * (tokens - shown), f"for its text ({tokens - shown:,} tokens by its bytes)"),
            (out * limit, f"for up to {limit:,} output tokens ({self.flag} lowers it)"),
        ]
        return ", ".join(f"{format_dollars(amount)} {what}" for amount, what in parts if amount)

    def bill(self, images: int, usage: Usage | None, reported: float | None = None) -> int | None:
        """Picodollars of a call with so many images; None when nobody says what was used.

        A cost that the provider reports (in dollars; OpenRouter's is the bill) counts where it is more than
        what the price makes of the tokens: no server's word makes a bill smaller.
        """
        if usage is None:
            return None
        return max(cost(self.price, usage, images), picodollars_up(reported or 0))

    def image(self, width: int, height: int) -> int:
        """The most tokens that an image of so many pixels is billed for."""
        if self.image_tokens is not None:
            return self.image_tokens
        return image_bound(self.provider, self.model, width, height)

    @property
    def _rule(self) -> str:
        if self.image_tokens is not None:
            return "--image-tokens"
        rule = rule_name(self.provider, self.model)
        return f"{rule}: --image-tokens states its own" if rule == NAMES[largest] else rule

    @cached_property
    def _around(self) -> int:
        """What stands around the messages of any request."""
        return template_bound(self.provider, self.model, 0)


def images_of(request: Request) -> int:
    """How many images the request carries."""
    return sum(not isinstance(part, str) for message in request.messages for part in message.parts)


def output_limit(request: Request) -> int:
    """The output limit that the request carries, under either of its names."""
    limit = request.params.get("max_tokens", request.params.get("max_completion_tokens"))
    if not isinstance(limit, int):
        raise ValueError("a request without an output limit has no bound")
    return limit


def _caches(request: Request) -> bool:
    """Whether the request asks for the provider's cache."""
    return any(name.lower().replace("_", "") == "cachecontrol" for name in request.params)


def _options_bound(request: Request) -> int:
    """Tools and schemas among the options are read by the model, too."""
    options = {name: value for name, value in request.params.items() if isinstance(value, (dict, list))}
    return text_bound(json.dumps(options)) if options else 0
