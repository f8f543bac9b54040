"""LiteLLM's exceptions as ours: the table is complete, and what happened on the wire comes first.

The wire itself is real in the tests of `hosted`; here are classes, and chains that a loopback
server cannot make.
"""

import inspect
import socket
from collections.abc import Iterator

import aiohttp
import httpx
import pytest

from providers.catalog.target import Asked
from providers.errors import (
    AttemptTimedOut,
    AuthenticationFailed,
    BadRequest,
    ConnectionFailed,
    MalformedResponse,
    ParameterRejected,
    ProviderError,
    ServerFault,
    Unusable,
)
from providers.hosted.errors import TABLE, kind_of_class, resolve, translate
from providers.hosted.library import load

ASKED = Asked("openai", "m", ("max_tokens", "temperature", "seed"), ("sesame-open",))
NOW = 1e9


@pytest.fixture(autouse=True)
def _litellm() -> None:
    load()


def foreign() -> Iterator[type[BaseException]]:
    """Every exception that LiteLLM defines, and every one of OpenAI's that can leak."""
    import litellm.exceptions
    import openai

    for module in (litellm.exceptions, openai):
        for found in list(vars(module).values()):
            if inspect.isclass(found) and issubclass(found, BaseException):
                yield found


def test_no_exception_is_unmapped() -> None:
    lines = [kind for name, _ in TABLE if (kind := resolve(name)) is not None]
    unmapped = {kind.__name__ for kind in foreign() if not issubclass(kind, tuple(lines))}
    # A webhook's bad signature is no model's answer.
    assert unmapped <= {"InvalidWebhookSignatureError"}


def test_every_line_of_the_table_is_real_and_reached() -> None:
    seen: list[type[BaseException]] = []
    for name, ours in TABLE:
        theirs = resolve(name)
        assert theirs is not None, name
        assert not any(issubclass(theirs, earlier) for earlier in seen), f"{name} stands behind its base"
        assert kind_of_class(theirs) is ours
        seen.append(theirs)


def test_resolve_finds_exceptions_only() -> None:
    assert resolve("no.such.Class") is None
    assert resolve("litellm.exceptions.RateLimitType") is None


def caused(*links: BaseException) -> Exception:
    """A LiteLLM exception with these behind it, the nearest first."""
    import litellm

    outer: BaseException = litellm.InternalServerError("words", "openai", "m")
    first = outer
    for link in links:
        outer.__context__ = link
        outer = link
    assert isinstance(first, Exception)
    return first


def refused() -> aiohttp.ClientConnectorError:
    from aiohttp.client_reqrep import ConnectionKey

    key = ConnectionKey("h", 1, False, None, None, None, None, None)  # type: ignore[call-arg, arg-type]
    return aiohttp.ClientConnectorError(key, ConnectionRefusedError(111, "refused"))


@pytest.mark.parametrize(
    ("links", "kind", "billed"),
    [
        ((httpx.ConnectError("x"), refused()), ConnectionFailed, False),
        ((httpx.ConnectTimeout("x"),), ConnectionFailed, False),
        ((httpx.ConnectError("x"), OSError("dns"), socket.gaierror(-2, "no name")), ConnectionFailed, False),
        # LiteLLM's name for a reset after sending.
        ((httpx.ConnectError("x"), aiohttp.ClientOSError(104, "reset")), ConnectionFailed, True),
        # First sent and broken off, then not connected: the first may be billed.
        ((refused(), aiohttp.ServerDisconnectedError()), ConnectionFailed, True),
        ((httpx.RemoteProtocolError("x"),), ConnectionFailed, True),
        ((httpx.ReadTimeout("x"),), AttemptTimedOut, True),
        ((ValueError("x"), KeyError("usage")), MalformedResponse, True),
        ((ModuleNotFoundError("No module named 'boto3'"),), Unusable, False),
        ((), ServerFault, True),
    ],
)  # fmt: skip
def test_what_stands_behind_decides(
    links: tuple[BaseException, ...], kind: type[ProviderError], billed: bool
) -> None:
    error = translate(caused(*links), ASKED, NOW)
    assert type(error) is kind
    assert error.billed is billed
    assert str(error).startswith("openai (m) ")


def test_what_litellm_itself_refuses_is_not_billed() -> None:
    import litellm

    told = (
        "openai does not support parameters: ['seed'], for model=m. To drop these, set `litellm.drop_params`"
    )
    error = translate(litellm.UnsupportedParamsError(told, "openai", "m"), ASKED, NOW, sent=False)
    assert isinstance(error, ParameterRejected)
    assert (error.parameter, error.instead, error.billed) == ("seed", None, False)
    assert "drop" not in str(error)

    missing = litellm.AuthenticationError("no key: sesame-open", "openai", "m")
    error = translate(missing, ASKED, NOW, sent=False)
    assert type(error) is AuthenticationFailed
    assert not error.billed
    assert "sesame" not in str(error)

    unsupported = litellm.UnsupportedParamsError("tools are not supported", "openai", "m")
    assert type(translate(unsupported, ASKED, NOW, sent=False)) is BadRequest


@pytest.mark.parametrize(
    ("links", "sent", "kind", "billed"),
    [
        ((ValueError("a line break in a header"),), False, Unusable, False),
        ((KeyError("deployment"), TypeError("x")), False, Unusable, False),
        ((ValueError("odd"),), True, ServerFault, True),
        # A library that sends by another way than LiteLLM's transport.
        ((httpx.ReadError("x"),), False, ConnectionFailed, True),
        ((refused(),), False, ConnectionFailed, False),
    ],
)
def test_what_never_left_is_free_and_final(links, sent, kind, billed) -> None:
    error = translate(caused(*links), ASKED, NOW, sent=sent)
    assert (type(error), error.billed) == (kind, billed)


def test_any_exception_at_all_is_one_of_ours() -> None:
    error = translate(ZeroDivisionError("odd"), ASKED, NOW)
    assert isinstance(error, ServerFault)
    assert error.billed
    assert "odd" in str(error)
