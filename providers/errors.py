"""Everything that can go wrong in one call, named by what the caller should do about it.

    ProviderError
    |- TransientError                 try the same call again
    |  |- RateLimited                 429: slow down first
    |  |- ServerFault                 5xx, 529: the provider's trouble
    |  |- ConnectionFailed            refused, reset, name not found
    |  |- AttemptTimedOut             the wall-clock deadline of one attempt passed
    |  `- MalformedResponse           a success that holds no answer: HTML, torn JSON
    |     `- EmptyAnswer              the model said nothing
    |- BadRequest                     this request will never be answered
    |  |- ParameterRejected           the model does not take one of our options
    |  |- ContextExceeded             more tokens than the model can read
    |  |- ImageRejected               its processor does not take one of the images
    |  `- RequestRefused              a content filter stopped it before the model
    `- Unusable                       no request with this key and model will be answered
       |- AuthenticationFailed        401
       |- AccessDenied                403
       |- ModelNotFound               404
       |- QuotaExhausted              402, 429 insufficient_quota
       |- ImagesUnsupported           the model does not see
       `- Unreachable                  for a long while nobody has answered at all

An error says what is known of its bill: `billed` is false only when nothing was sent, or when the
provider said no in its own words before any work. docs/money.md says which answers are which.
"""

from __future__ import annotations

from providers.rate_limit import RateLimit
from providers.usage import Usage


class ProviderError(Exception):
    """One call failed. `str()` is one clear sentence that never holds a key.

    `billed` is false only where no bill can have been made (nothing was sent, or the
    provider said no before working); `retry_after` is in seconds, when the provider named it;
    `status` is the HTTP status where there was one; `limits` are what the provider announced with it,
    `usage` the tokens that it counted although this is no answer: they are billed.
    """

    def __init__(
        self,
        message: str,
        *,
        billed: bool = False,
        retry_after: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.billed = billed
        self.retry_after = retry_after
        self.status = status
        self.limits: tuple[RateLimit, ...] = ()
        self.usage: Usage | None = None


class TransientError(ProviderError):
    """The same call may well succeed later."""


class RateLimited(TransientError):
    """429: too many requests or tokens for now."""


class ServerFault(TransientError):
    """5xx or 529: the provider failed or is overloaded."""


class ConnectionFailed(TransientError):
    """No response: refused (not billed) or broken off after sending (perhaps billed)."""


class AttemptTimedOut(TransientError):
    """The attempt's deadline passed; the provider may have worked and billed."""


class MalformedResponse(TransientError):
    """A success status without an answer in it; perhaps billed."""


class EmptyAnswer(MalformedResponse):
    """An answer that is whole and empty; billed."""


class BadRequest(ProviderError):
    """The provider will never answer this request."""


class ParameterRejected(BadRequest):
    """The model does not take `parameter`; `instead` is the name it asks for, when it says so."""

    def __init__(
        self, message: str, parameter: str, *, instead: str | None = None, status: int | None = None
    ) -> None:
        super().__init__(message, status=status)
        self.parameter = parameter
        self.instead = instead


class ContextExceeded(BadRequest):
    """The request holds more tokens than the model can read."""


class ImageRejected(BadRequest):
    """The processor of a model on this machine does not take one of the images, such as a very small one."""


class RequestRefused(BadRequest):
    """A content filter stopped the request before the model saw it."""


class Unusable(ProviderError):
    """No request will be answered with this key and model until somebody mends something."""


class AuthenticationFailed(Unusable):
    """401: the key is missing or wrong."""


class AccessDenied(Unusable):
    """403: the key may not use this model."""


class ModelNotFound(Unusable):
    """404: there is no such model or endpoint."""


class QuotaExhausted(Unusable):
    """The account has no money or quota left."""


class ImagesUnsupported(Unusable):
    """The model does not take images."""


class Unreachable(Unusable):
    """No connection for so long that trying on makes no sense: no network, or nobody listens there."""
