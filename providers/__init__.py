"""Ask one model one thing. Knows nothing of caches, runs or benchmarks.

`Hosted` is loaded when it is used: most commands, and runs on the direct wire, never do.
"""

from typing import TYPE_CHECKING, Any

from providers.errors import (
    AccessDenied,
    AttemptTimedOut,
    AuthenticationFailed,
    BadRequest,
    ConnectionFailed,
    ContextExceeded,
    ImagesUnsupported,
    MalformedResponse,
    ModelNotFound,
    ParameterRejected,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    RequestRefused,
    ServerFault,
    TransientError,
    Unreachable,
    Unusable,
)
from providers.rate_limit import RateLimit
from providers.types import (
    EncodedImage,
    Finish,
    Image,
    Json,
    Message,
    Part,
    Provider,
    Request,
    Response,
    Usage,
)

if TYPE_CHECKING:
    from providers.hosted.wire import Hosted

__all__ = [
    "AccessDenied",
    "AttemptTimedOut",
    "AuthenticationFailed",
    "BadRequest",
    "ConnectionFailed",
    "ContextExceeded",
    "EncodedImage",
    "Finish",
    "Hosted",
    "Image",
    "ImagesUnsupported",
    "Json",
    "MalformedResponse",
    "Message",
    "ModelNotFound",
    "ParameterRejected",
    "Part",
    "Provider",
    "ProviderError",
    "QuotaExhausted",
    "RateLimit",
    "RateLimited",
    "Request",
    "RequestRefused",
    "Response",
    "ServerFault",
    "TransientError",
    "Unreachable",
    "Unusable",
    "Usage",
]


def __getattr__(name: str) -> Any:
    if name != "Hosted":
        raise AttributeError(f"module 'providers' has no attribute {name!r}")
    from providers.hosted.wire import Hosted

    return Hosted
