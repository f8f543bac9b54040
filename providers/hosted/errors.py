"""Translate LiteLLM's exceptions into ours: by what happened on the wire first, by their class last.

LiteLLM names its exceptions by looking for words in messages, reports broken connections as
`InternalServerError` and a success that it cannot read as almost anything. The exceptions
behind its own tell more:

    1. an HTTP status of 300 and up    `refusals` knows what it means
    2. an error inside of a success    the same, by the status that it names
    3. nothing was sent                free, and as wrong the next time
    4. a connection that failed        was anything sent?
    5. a success that cannot be read   perhaps billed
    6. nothing of these                the table below, by class
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

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
    TransientError,
    Unusable,
)
from providers.replies.bodies import BodyError
from providers.replies.error_bodies import rejected_option
from providers.replies.error_text import LOOKED_AT, one_line
from providers.replies.refusals import RedirectError, no_answer, redirected, refused

# Classes of `litellm.exceptions`, most specific first; in `openai` those that it derives from.
TABLE: tuple[tuple[str, type[ProviderError]], ...] = (
    ("litellm.exceptions.ContextWindowExceededError", ContextExceeded),
    ("litellm.exceptions.ContentPolicyViolationError", RequestRefused),
    ("litellm.exceptions.RejectedRequestError", RequestRefused),
    ("litellm.exceptions.GuardrailRaisedException", RequestRefused),
    ("litellm.exceptions.BlockedPiiEntityError", RequestRefused),
    ("litellm.exceptions.ModifyResponseException", RequestRefused),
    ("litellm.exceptions.SensitiveDataRouteException", RequestRefused),
    ("litellm.exceptions.PaymentRequiredError", QuotaExhausted),
    ("litellm.exceptions.BudgetExceededError", QuotaExhausted),
    ("litellm.exceptions.ModelNotMappedError", BadRequest),
    ("openai.APITimeoutError", AttemptTimedOut),
    ("openai.APIConnectionError", ConnectionFailed),
    ("openai.APIResponseValidationError", MalformedResponse),
    ("openai.AuthenticationError", AuthenticationFailed),
    ("openai.PermissionDeniedError", AccessDenied),
    ("openai.NotFoundError", ModelNotFound),
    ("openai.RateLimitError", RateLimited),
    ("openai.BadRequestError", BadRequest),
    ("openai.UnprocessableEntityError", BadRequest),
    ("openai.LengthFinishReasonError", MalformedResponse),
    ("openai.ContentFilterFinishReasonError", RequestRefused),
    ("openai.OpenAIError", ServerFault),
)

# Libraries that send. Our patch notes what passes LiteLLM's own transport; an error out of one of these
# may come by another way.
_SENDERS = frozenset({"aiohttp", "botocore", "grpc", "httpcore", "httpx", "requests", "urllib3"})

# Classes as `library.Name`, so that no library is imported to compare.
_NOT_CONNECTED = frozenset(
    {
        "aiohttp.ClientConnectorError", "aiohttp.ClientHttpProxyError", "aiohttp.ConnectionTimeoutError",
        "aiohttp.InvalidURL", "builtins.ConnectionRefusedError", "httpcore.ConnectError",
        "httpx.ConnectTimeout", "httpx.PoolTimeout", "httpx.ProxyError", "httpx.UnsupportedProtocol",
        "socket.gaierror",
    }
)  # fmt: skip
# LiteLLM turns a reset after sending (`ClientOSError`) into httpx's `ConnectError`, so that name
# proves nothing. Compared by exact name: `ClientConnectorError` is a `ClientOSError` too.
_BROKEN_OFF = frozenset(
    {
        "aiohttp.ClientConnectionResetError", "aiohttp.ClientOSError", "aiohttp.ClientPayloadError",
        "aiohttp.ServerDisconnectedError", "httpx.CloseError", "httpx.ReadError",
        "httpx.RemoteProtocolError", "httpx.WriteError",
    }
)  # fmt: skip
# Bytes that are no HTTP, or not packed as they say.
_GARBLED = frozenset({"aiohttp.ClientResponseError", "httpx.DecodingError"})
_SLOW = frozenset(
    {"httpx.ReadTimeout", "httpx.WriteTimeout", "httpx.TimeoutException", "openai.APITimeoutError"}
)
# A plain Python error under LiteLLM's: its code fell over the answer (a field was missing).
_FELL_OVER = frozenset({"builtins.AttributeError", "builtins.KeyError", "builtins.TypeError"})
_UNREADABLE = frozenset(
    {"json.JSONDecodeError", "openai.APIResponseValidationError", "pydantic_core.ValidationError"}
)
_UNREADABLE_WORDS = re.compile(
    r"Unable to get json response|Error converting to valid response|Empty or invalid response"
    r"|Invalid response object|provider returned (?:a response with no )?'choices'"
)

_PREFIX = re.compile(r"^(?:litellm\.\w+: |\w+Error: |\w+(?:Exception|Error) - )+")
_ADVICE = re.compile(r" To drop these| To drop unsupported|Traceback|File an issue|\n")


def translate(error: Exception, asked: Asked, now: float, *, sent: bool = True) -> ProviderError:
    """Our error for LiteLLM's; `now` is in seconds since the epoch, `sent` whether anything may have left."""
    import httpx  # LiteLLM has loaded it

    chain = list(_chain(error))

    def first[E: BaseException](kind: type[E]) -> E | None:
        return next((link for link in chain if isinstance(link, kind)), None)

    refusal = first(httpx.HTTPStatusError)
    if refusal is not None:
        response = refusal.response
        try:
            text = response.text
        except httpx.StreamError:
            text = ""  # a body that was never read
        return refused(response.status_code, response.headers, text, asked, now)
    redirect = first(RedirectError)
    if redirect is not None:
        return redirected(redirect, asked)
    unusable = first(BodyError)
    if unusable is not None:
        return no_answer(unusable, asked, now)
    missing = first(ImportError)
    if missing is not None:
        reason = one_line(str(missing), asked.secrets)
        return Unusable(f"{asked.who} needs a Python package that is not installed: {reason}.")
    if not sent and not any(type(link).__module__.partition(".")[0] in _SENDERS for link in chain):
        return _unsent(error, asked)
    return _by_chain(chain, asked) or _by_class(error, asked)


def _by_chain(chain: list[BaseException], asked: Asked) -> ProviderError | None:
    """A connection that failed, or a success that LiteLLM could not read."""
    families = [
        [f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(link).__mro__]
        for link in chain
    ]
    exact = {family[0] for family in families}
    every = {name for family in families for name in family}
    reason = one_line(str(chain[-1]) or type(chain[-1]).__name__, asked.secrets)
    if exact & _BROKEN_OFF:
        return ConnectionFailed(f"{asked.who} broke the connection off: {reason}.", billed=True)
    if exact & _GARBLED:
        return ServerFault(f"{asked.who} sent what is no HTTP: {reason}.", billed=True)
    if every & _NOT_CONNECTED:
        return ConnectionFailed(f"{asked.who} cannot be reached: {reason}.", billed=False)
    if every & _SLOW:
        return AttemptTimedOut(f"{asked.who} did not answer in time.", billed=True)
    if (
        every & _UNREADABLE
        or any(family[0] in _FELL_OVER for family in families[1:])
        or any(getattr(link, "status_code", None) == 200 for link in chain)
        or _UNREADABLE_WORDS.search(str(chain[0]))
    ):
        reason = one_line(_words(chain[0]), asked.secrets)
        return MalformedResponse(f"{asked.who} sent a success that holds no answer: {reason}", billed=True)
    return None


def _unsent(error: Exception, asked: Asked) -> ProviderError:
    """What LiteLLM itself refused, or fell over, before anything left this machine: free, and final."""
    words = _words(error)
    sentence = f"{asked.who} was not asked: {one_line(words, asked.secrets)}"
    if type(error).__name__ == "UnsupportedParamsError":
        rejected = rejected_option(words, "", asked.options)
        if rejected is not None:
            return ParameterRejected(sentence, rejected[0], instead=rejected[1])
    kind = kind_of_class(type(error))
    return Unusable(sentence) if issubclass(kind, TransientError) else kind(sentence)


def _by_class(error: Exception, asked: Asked) -> ProviderError:
    sentence = f"{asked.who} failed: {one_line(_words(error), asked.secrets)}"
    status = getattr(error, "status_code", None)
    return kind_of_class(type(error))(
        sentence, billed=True, status=status if isinstance(status, int) else None
    )


def _words(error: BaseException) -> str:
    """LiteLLM's message without the names of its classes and its advice."""
    return _ADVICE.split(_PREFIX.sub("", str(error)[:LOOKED_AT]), maxsplit=1)[0]


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
    kind = getattr(sys.modules.get(module), attribute, None)
    return kind if isinstance(kind, type) and issubclass(kind, BaseException) else None


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
