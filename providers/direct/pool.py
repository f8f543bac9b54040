"""One attempt of the direct wire: a POST that ends by its deadline, over one pool of connections.

No redirects, no cookies, no second attempt, an answer of bounded length.
"""

from __future__ import annotations

import asyncio
import math
import os
import ssl
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.request import getproxies, proxy_bypass

import aiohttp
import certifi
from aiohttp.http_exceptions import ContentEncodingError
from aiohttp.payload import Payload
from multidict import CIMultiDict
from yarl import URL

from providers.catalog.target import Asked
from providers.deadline import deadline
from providers.errors import AttemptTimedOut, ConnectionFailed, ProviderError, ServerFault, Unusable
from providers.replies.bodies import LONGEST, LONGEST_ERROR
from providers.replies.error_text import one_line

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

# No waits of its own: the deadline of an attempt is one, over everything.
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)

# Bodies at once that are put together or on their way out: each may hold megabytes of images. Where a
# connection takes 0.2 s to open, these are 1,280 new ones a second.
_LEAVING = 256
# Seconds after which a call goes on without a place: what a server does not take holds up no others.
_PATIENCE = 10.0
# Bytes that are handed to a connection at a time: TLS encrypts whatever it is given in one go.
_SLICE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Arrived:
    """One response. `content` is cut off where none can be that long, and one byte longer then."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300


class _Sending(Payload):
    """A JSON body that is let go as soon as it is sent; `begun` from the moment it may have left."""

    _autoclose = True

    def __init__(self, content: bytes, place: ExitStack) -> None:
        super().__init__(content, content_type="application/json")
        self._size = len(content)
        self._place = place
        self.begun = False

    async def write(self, writer: AbstractStreamWriter) -> None:
        self.begun = True
        # Thousands may wait for their answers: none of them keeps its images meanwhile.
        content, self._value = self._value, b""
        if writer.transport is not None:
            # To drain is to have all of it gone; over TLS all but the last slice, which is encrypted by then.
            writer.transport.set_write_buffer_limits(high=1, low=0)
        for start in range(0, len(content), _SLICE):
            await writer.write(content[start : start + _SLICE])
            await writer.drain()
        self._place.close()

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return str(self._value, encoding, errors)


class Pool:
    """Connections to one URL: as many as there are calls, opened in the loop of the first one."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._url = URL(url)
        self._headers = CIMultiDict({"User-Agent": "pbclient", **headers})
        self._proxy = proxy_for(self._url)
        self._trust = _trusted() if self._url.scheme == "https" else True
        self._session: aiohttp.ClientSession | None = None
        self._room = asyncio.Semaphore(_LEAVING)

    async def post(
        self, body: Callable[[], Awaitable[bytes]], asked: Asked, timeout: float
    ) -> Arrived | ProviderError:
        """What came, or why nothing did: returned, since an error's context would hold the key.

        The body is put together once there is room for it, before the deadline begins; what that raises
        is raised.
        """
        # A place in the room, given back when the body has left, or when it never will. Who has waited long
        # enough goes on without one.
        with ExitStack() as place:
            room = self._room
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE if room.locked() else None):
                    await room.acquire()
                    place.callback(room.release)
            sending = _Sending(await body(), place)
            outer = sys.exception()  # what the caller is dealing with, if anything
            ends: asyncio.Timeout | None = None
            try:
                async with deadline(timeout) as ends:
                    return await self._post(sending)
            except (aiohttp.ClientError, OSError, UnicodeError) as error:  # the last: a host that is no name
                _let_go(error, outer)
                if ends is not None and ends.expired():
                    said = f"{asked.who} did not answer within {timeout:g} s."
                    return AttemptTimedOut(said, billed=sending.begun)
                return _broken(error, asked, sending.begun)

    async def close(self) -> None:
        """Close every connection; a later call opens new ones."""
        session, self._session = self._session, None
        self._room = asyncio.Semaphore(_LEAVING)  # it may be another loop's by then
        if session is not None:
            await session.close()

    async def _post(self, sending: _Sending) -> Arrived:
        if self._session is None:
            # As many connections as calls at once; without `inf` all idle ones were due at one full second.
            connector = aiohttp.TCPConnector(
                limit=0, ssl=self._trust, ttl_dns_cache=300, timeout_ceil_threshold=math.inf
            )
            jar = aiohttp.DummyCookieJar()
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=jar, timeout=_NO_TIMEOUT)
        # No headers of the session's: aiohttp would show those, and the key, to a proxy as well.
        response = await self._session.post(
            self._url, data=sending, headers=self._headers, allow_redirects=False, proxy=self._proxy
        )
        try:
            limit = LONGEST if 200 <= response.status < 300 else LONGEST_ERROR
            return Arrived(response.status, response.headers, await _read(response.content, limit))
        finally:
            # With its end aiohttp has closed it and kept the connection; what has none yet is of no use.
            if not response.closed:
                response.close()


async def _read(stream: aiohttp.StreamReader, limit: int) -> bytes:
    content = bytearray()
    # aiohttp unpacks each part to 64 KB at most: a bomb grows no further than this.
    while len(content) <= limit and not stream.at_eof():
        content += await stream.readany()
    return bytes(content[: limit + 1])


def _let_go(error: BaseException | None, outer: BaseException | None) -> None:
    """Forget where it came from, up to `outer`: aiohttp's frames hold errors, and with them the body."""
    # One whose traceback is gone already ends the walk, too: nobody promises that the chain is no ring.
    while error is not None and error is not outer and error.__traceback__ is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _broken(error: Exception, asked: Asked, begun: bool) -> ProviderError:
    said = one_line(str(error) or type(error).__name__, asked.secrets)
    if not begun:
        return ConnectionFailed(f"{asked.who} cannot be reached: {said}.", billed=False)
    if isinstance(error, aiohttp.ClientResponseError) or isinstance(error.__cause__, ContentEncodingError):
        return ServerFault(f"{asked.who} sent what is no HTTP: {said}.", billed=True)
    return ConnectionFailed(f"{asked.who} broke the connection off: {said}.", billed=True)


def _trusted() -> ssl.SSLContext:
    """The certificates that LiteLLM trusts."""
    named = os.environ.get("SSL_CERT_FILE")
    try:
        return ssl.create_default_context(cafile=named or certifi.where())
    except OSError as error:
        raise Unusable(f"SSL_CERT_FILE is {named}, which holds no certificates: {error}.") from None


def proxy_for(url: URL) -> str | None:
    """The proxy that the environment names for this URL; none for a server on this machine."""
    host = url.host or ""
    if _is_here(host) or proxy_bypass(host):
        return None
    proxies = getproxies()
    named = proxies.get(url.scheme) or proxies.get("all")
    return f"http://{named}" if named and "://" not in named else named


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
