"""Whether a request's images are what its provider takes, said before anything is sent or held.

Too many, or too many bytes, fail the episode in one sentence; edges that are too long are shrunk, which
`players` decides and `pictures` does. What each provider takes stands in `providers.image_limits`.
"""

from __future__ import annotations

from collections.abc import Sequence

from providers import BadRequest
from providers.image_limits import MIB, ImageLimits, encoded

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
