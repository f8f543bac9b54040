"""Make a provider's no our error: a redirect, a status of 400 and up, or an error inside of a success.

Both wires end here with what the server said, so that one refusal is one error, whichever wire it
came over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from providers.catalog.prices import near
from providers.catalog.target import Asked
from providers.errors import (
    BadRequest,
    MalformedResponse,
    ModelNotFound,
    ParameterRejected,
    ProviderError,
    RequestRefused,
    Unusable,
)
from providers.replies.bodies import BodyError
from providers.replies.error_bodies import ErrorBody, is_free, kind_of, read_body, rejected_option, status_in
from providers.replies.error_text import LOOKED_AT, one_line
from providers.replies.rate_limits import rate_limits
from providers.replies.retry_after import retry_after, retry_after_in_body

REDIRECTS = frozenset({301, 302, 303, 307, 308})


class RedirectError(Exception):
    """A server that names another one: to ask that would be a second request, which no hold covers."""

    def __init__(self, status: int, where: str) -> None:
        super().__init__(f"redirects to {where}")
        self.status = status


def redirect(status: int, headers: Mapping[str, str]) -> RedirectError | None:
    """The error of a response that sends us away, also to nowhere; None for any other."""
    where = headers.get("location")
    return RedirectError(status, where or "nowhere") if status in REDIRECTS and where is not None else None


def redirected(error: RedirectError, asked: Asked) -> Unusable:
    """The next request would be sent away as well; this one was read before."""
    sentence = f"{asked.who} {one_line(str(error), asked.secrets)}: name that server as the base URL."
    return Unusable(sentence, billed=True, status=error.status)


def refused(status: int, headers: Mapping[str, str], text: str, asked: Asked, now: float) -> ProviderError:
    """The error of a response with this status and body; `now` is in seconds since the epoch."""
    body = read_body(text)
    sentence = _sentence(asked, str(status), body)
    if kind_of(status, body) is ModelNotFound:
        sentence = f"{sentence} {_where_it_may_be(asked, body)}".rstrip()
    return _by_body(status, headers, body, asked, now, sentence)


def _where_it_may_be(asked: Asked, body: ErrorBody) -> str:
    """What is likely wrong with the name of a model, or of a server, that is not there."""
    if asked.endpoint is None:
        return near(asked.provider, asked.model)
    version = re.search(r"/v\d", asked.endpoint) or asked.provider == "anthropic"  # which is given without
    if version or "model" in body.message.lower():
        return ""
    return f"Most servers answer below /v1: try the base URL {asked.endpoint}/v1."


def no_answer(error: BodyError, asked: Asked, now: float) -> ProviderError:
    """An error inside of a success: what it says of itself decides, and without that it is transient."""
    if not error.text:
        return MalformedResponse(f"{asked.who} sent {one_line(str(error), asked.secrets)}", billed=True)
    body = read_body(error.text)
    status = status_in(body)
    sentence = _sentence(asked, "with an error in a success", body)
    if status is None:
        malformed = MalformedResponse(sentence, billed=True)
        malformed.usage = body.usage
        return malformed
    refusal = _by_body(status, error.headers, body, asked, now, sentence)
    # It had begun to answer: only a plain no is known to cost nothing.
    refusal.billed = refusal.billed or status >= 500
    return refusal


def _by_body(
    status: int, headers: Mapping[str, str], body: ErrorBody, asked: Asked, now: float, sentence: str
) -> ProviderError:
    kind = kind_of(status, body)
    if kind is BadRequest and status in (400, 422):
        rejected = rejected_option(body.message[:LOOKED_AT], body.parameter, asked.options, body.code)
        if rejected is not None and is_free(status, body):
            return ParameterRejected(sentence, rejected[0], instead=rejected[1], status=status)
    wait = retry_after(headers, now)
    if wait is None:
        wait = retry_after_in_body(body.raw)
    # Azure and xAI bill what their filters stop.
    billed = kind is RequestRefused or not is_free(status, body)
    error = kind(sentence, billed=billed, retry_after=wait, status=status)
    error.limits = rate_limits(headers)
    error.usage = body.usage
    return error


def _sentence(asked: Asked, how: str, body: ErrorBody) -> str:
    words = one_line(body.message, asked.secrets).removeprefix(f"{how}:").strip()
    return f"{asked.who} answered {how}: {words}" if words else f"{asked.who} answered {how}."
