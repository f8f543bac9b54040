"""The most that one call can cost, known before it is made, and what it did cost.

Text is bounded by its bytes, images by the provider's own rule from their pixels as sent,
output by the limit that is always sent. What is held against it is `budget`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass

from pbclient.money import owed
from pbclient.prices import Price, cost, hold
from providers import Request, Response
from providers.image_tokens import bound as image_bound
from providers.text_tokens import template_bound, text_bound


@dataclass(frozen=True)
class Bounds:
    """Bounds for the calls to one model; `image_tokens` is the user's own bound for any image."""

    provider: str
    model: str
    price: Price
    image_tokens: int | None = None

    async def of(self, request: Request) -> int:
        """Picodollars. Raises `FrameError` when an image cannot be made."""
        if self.price.is_free:
            return 0
        tokens = template_bound(self.provider, self.model, len(request.messages))
        images = 0
        for message in request.messages:
            for part in message.parts:
                if isinstance(part, str):
                    tokens += text_bound(part)
                else:
                    encoded = await part.encode()
                    tokens += self.image(encoded.width, encoded.height)
                    images += 1
        return hold(self.price, tokens, images, output_limit(request))

    def bill(self, request: Request, response: Response) -> int | None:
        """Picodollars: what the provider says, else its usage at the price; None when it says neither."""
        if response.cost is not None:
            return owed(response.cost)
        return cost(self.price, response.usage, images_of(request)) if response.usage else None

    def image(self, width: int, height: int) -> int:
        """The most tokens that an image of so many pixels is billed for."""
        if self.image_tokens is not None:
            return self.image_tokens
        return image_bound(self.provider, self.model, width, height)


def images_of(request: Request) -> int:
    """How many images the request carries."""
    return sum(not isinstance(part, str) for message in request.messages for part in message.parts)


def output_limit(request: Request) -> int:
    """The output limit that the request carries, under either of its names."""
    limit = request.params.get("max_tokens", request.params.get("max_completion_tokens"))
    if not isinstance(limit, int):
        raise ValueError("a request without an output limit has no bound")
    return limit
