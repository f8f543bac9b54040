"""LiteLLM's exceptions as ours: by what happened on the wire first, by their class last.

LiteLLM names its exceptions by looking for words in messages, reports broken connections as
`InternalServerError` and a success that it cannot read as almost anything. The exceptions
behind its own tell more:

    1. an HTTP status of 300 and up    `refusals` knows what it means
    2. an error inside of a success    the same, by the status that it names
    3. a connection that failed        was anything sent?
    4. a success that cannot be read   perhaps billed
    5. nothing of these                the table below, by class

Who retries, waits or stops is decided elsewhere.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping

from providers.catalog.target import Asked
from providers.errors import (
    AccessDenied,
    AttemptTimedOut,
    AuthenticationFailed,
    BadRequest,
    ConnectionFailed,
    ContextExceeded,
    MalformedResponse,
    ModelNotFound,
    ParameterRejected,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    RequestRefused,
    ServerFault,
    Unusable,
)
from providers.replies.bodies import BodyError
from providers.replies.error_bodies import rejected_option
from providers.replies.error_text import LOOKED_AT, one_line
from providers.replies.refusals import RedirectError, no_answer, redirected, refused

# Classes of `litellm.exceptions`, most specific first; in `openai` those that it derives from.
TABLE: tuple[tuple[str, type[ProviderError]], ...] = (
    ("litellm.exceptions.UnsupportedParamsError", BadRequest),
    ("litellm.exceptions.ContextWindowExceededError", ContextExceeded),
    ("litellm.exceptions.ContentPolicyViolationError", RequestRefused),
    ("litellm.exceptions.RejectedRequestError", RequestRefused),
    ("litellm.exceptions.GuardrailRaisedException", RequestRefused),
    ("litellm.exceptions.BlockedPiiEntityError", RequestRefused),
    ("litellm.exceptions.ModifyResponseException", RequestRefused),
    ("litellm.exceptions.SensitiveDataRouteException", RequestRefused),
    ("litellm.exceptions.PaymentRequiredError", QuotaExhausted),
    ("litellm.exceptions.BudgetExceededError", QuotaExhausted),
    ("litellm.exceptions.LiteLLMUnknownProvider", BadRequest),
    ("litellm.exceptions.ModelNotMappedError", BadRequest),
    ("litellm.exceptions.MidStreamFallbackError", MalformedResponse),
    ("openai.APITimeoutError", AttemptTimedOut),
    ("openai.APIConnectionError", ConnectionFailed),
    ("openai.APIResponseValidationError", MalformedResponse),
    ("openai.AuthenticationError", AuthenticationFailed),
    ("openai.PermissionDeniedError", AccessDenied),
    ("openai.NotFoundError", ModelNotFound),
    ("openai.RateLimitError", RateLimited),
    ("openai.ConflictError", ServerFault),
    ("openai.BadRequestError", BadRequest),
    ("openai.UnprocessableEntityError", BadRequest),
    ("openai.InternalServerError", ServerFault),
    ("openai.APIStatusError", ServerFault),
    ("openai.LengthFinishReasonError", MalformedResponse),
    ("openai.ContentFilterFinishReasonError", RequestRefused),
    ("openai.APIError", ServerFault),
    ("openai.OpenAIError", ServerFault),
)

# LiteLLM says these before it sends anything. Of any other class it cannot be told.
_SAID_BEFORE_SENDING = ("UnsupportedParamsError", "LiteLLMUnknownProvider", "AuthenticationError")

_NOT_CONNECTED = frozenset(
    {
        "httpx.ConnectTimeout",
        "httpx.PoolTimeout",
        "httpx.ProxyError",
        "httpx.UnsupportedProtocol",
        "httpcore.ConnectError",
        "aiohttp.ClientConnectorError",
        "aiohttp.ClientHttpProxyError",
        "aiohttp.ConnectionTimeoutError",
        "aiohttp.InvalidURL",
        "builtins.ConnectionRefusedError",
        "socket.gaierror",
    }
)
# LiteLLM turns a reset after sending (`ClientOSError`) into httpx's `ConnectError`, so that name
# proves nothing. Compared by exact name: `ClientConnectorError` is a `ClientOSError` too.
_BROKEN_OFF = frozenset(
    {
        "aiohttp.ClientOSError",
        "aiohttp.ClientPayloadError",
        "aiohttp.ServerDisconnectedError",
        "aiohttp.ClientConnectionResetError",
        "httpx.ReadError",
        "httpx.WriteError",
        "httpx.CloseError",
        "httpx.RemoteProtocolError",
    }
)
# Bytes that are no HTTP, or not packed as they say.
_GARBLED = frozenset({"aiohttp.ClientResponseError", "httpx.DecodingError"})
_SLOW = frozenset(
    {"httpx.ReadTimeout", "httpx.WriteTimeout", "httpx.TimeoutException", "openai.APITimeoutError"}
)

_UNREADABLE_CLASSES = frozenset(
    {"json.JSONDecodeError", "pydantic_core.ValidationError", "openai.APIResponseValidationError"}
)
_UNREADABLE = re.compile(
    r"Unable to get json response|Error converting to valid response|Empty or invalid response"
    r"|Invalid response object|provider returned (?:a response with no )?'choices'"
)

_PREFIX = re.compile(r"^(?:litellm\.\w+: |\w+Error: |\w+(?:Exception|Error) - )+")
_ADVICE = re.compile(r" To drop these| To drop unsupported|Traceback|File an issue|\n")


def translate(error: Exception, asked: Asked, now: float) -> ProviderError:
    """Our error for LiteLLM's; `now` is in seconds since the epoch."""
    chain = list(_chain(error))
    names = [_names(link) for link in chain]
    refusal = next((found for link in chain if (found := _refusal(link))), None)
    if refusal is not None:
        return refused(*refusal, asked, now)
    redirect = next((link for link in chain if isinstance(link, RedirectError)), None)
    if redirect is not None:
        return redirected(redirect, asked)
    unusable = next((link for link in chain if isinstance(link, BodyError)), None)
    if unusable is not None:
        return no_answer(unusable, asked, now)
    missing = next((link for link in chain if isinstance(link, ImportError)), None)
    if missing is not None:
        said = one_line(str(missing), asked.secrets)
        return Unusable(f"{asked.who} needs a Python package that is not installed: {said}.")
    return _not_connected(chain, names, asked) or _unreadable(chain, names, asked) or _by_class(error, asked)


def _not_connected(chain: list[BaseException], names: list[list[str]], asked: Asked) -> ProviderError | None:
    said = one_line(str(chain[-1]) or type(chain[-1]).__name__, asked.secrets)
    mine = {own[0] for own in names}
    if mine & _BROKEN_OFF:
        return ConnectionFailed(f"{asked.who} broke the connection off: {said}.", billed=True)
    if mine & _GARBLED:
        return ServerFault(f"{asked.who} sent what is no HTTP: {said}.", billed=True)
    if any(_NOT_CONNECTED & set(own) for own in names):
        return ConnectionFailed(f"{asked.who} cannot be reached: {said}.", billed=False)
    if any(_SLOW & set(own) for own in names):
        return AttemptTimedOut(f"{asked.who} did not answer in time.", billed=True)
    return None


def _unreadable(chain: list[BaseException], names: list[list[str]], asked: Asked) -> ProviderError | None:
    told = str(chain[0])
    reading = any(_UNREADABLE_CLASSES & set(own) for own in names)
    # A plain Python error under LiteLLM's: its code fell over the answer (a field was missing).
    fell_over = any(
        own[0] in ("builtins.KeyError", "builtins.AttributeError", "builtins.TypeError") for own in names[1:]
    )
    succeeded = any(getattr(link, "status_code", None) == 200 for link in chain)
    if not (reading or fell_over or succeeded or _UNREADABLE.search(told)):
        return None
    said = one_line(_words(told), asked.secrets)
    return MalformedResponse(f"{asked.who} sent a success that holds no answer: {said}", billed=True)


def _by_class(error: Exception, asked: Asked) -> ProviderError:
    kind = kind_of_class(type(error))
    words = _words(str(error))
    sentence = f"{asked.who} failed: {one_line(words, asked.secrets)}"
    name = type(error).__name__
    if name == "UnsupportedParamsError":
        rejected = rejected_option(words, "", asked.options)
        if rejected is not None:
            return ParameterRejected(sentence, rejected[0], instead=rejected[1])
    return kind(sentence, billed=name not in _SAID_BEFORE_SENDING, status=_status(error))


def _words(told: str) -> str:
    """LiteLLM's message without the names of its classes and its advice."""
    return _ADVICE.split(_PREFIX.sub("", told[:LOOKED_AT]), maxsplit=1)[0]


def kind_of_class(kind: type[BaseException]) -> type[ProviderError]:
    """Our class for one of LiteLLM's or OpenAI's; what is in no line of the table is a fault."""
    for name, ours in TABLE:
        theirs = resolve(name)
        if theirs is not None and issubclass(kind, theirs):
            return ours
    return ServerFault


def resolve(name: str) -> type[BaseException] | None:
    """The class of this full name, if its module is loaded."""
    module, _, attribute = name.rpartition(".")
    found = getattr(sys.modules.get(module), attribute, None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and everything behind it, the nearest first."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting and len(seen) < 32:
        link = waiting.pop(0)
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            yield link
            waiting += [link.__cause__, link.__context__]


def _names(error: BaseException) -> list[str]:
    """Its classes as `library.Name`, its own first; so no library is imported to compare."""
    return [f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__]


def _refusal(error: BaseException) -> tuple[int, Mapping[str, str], str] | None:
    """Status, headers and body, when the error is httpx's own on a status of 400 and up."""
    response = getattr(error, "response", None)
    if "httpx.HTTPStatusError" not in _names(error) or response is None:
        return None
    try:
        text = response.text
    except Exception:
        text = ""  # a body that was never read
    return int(response.status_code), response.headers, text


def _status(error: BaseException) -> int | None:
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None
