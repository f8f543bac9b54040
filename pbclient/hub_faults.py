"""What goes wrong between us and the hub: each fault as one sentence, and whether it may pass.

Which attempts follow is the business of `hub`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pbclient.errors import DataError, InputError
from pbclient.published import FOLDER, REPOSITORY
from providers.retry_after import retry_after

if TYPE_CHECKING:
    from httpx import RequestError, Response
    from huggingface_hub.errors import HfHubHTTPError

ENDPOINT_VARIABLE = "HF_ENDPOINT"

# The hub is busy or has trouble: the same request may succeed a little later.
_PASSING = (408, 429, 500, 502, 503, 504)


class PassingError(InputError):
    """What may be gone at the next attempt, as the sentence for when it is not.

    `wait` is how many seconds the hub asks us to let pass before.
    """

    def __init__(self, sentence: str, wait: float = 0.0) -> None:
        super().__init__(sentence)
        self.wait = wait


@contextmanager
def sentences(endpoint: str, what: str) -> Iterator[None]:
    """Turn what `huggingface_hub` and the wire raise into one sentence."""
    import httpx
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except InputError:
        raise
    except HfHubHTTPError as error:
        raise _refusal(error, what) from error
    except OfflineModeIsEnabled as error:
        raise InputError("HF_HUB_OFFLINE forbids to ask the hub: unset it to download.") from error
    except httpx.InvalidURL as error:
        raise InputError(f"{endpoint} is no address ({error}): check {ENDPOINT_VARIABLE}.") from error
    except (httpx.LocalProtocolError, UnicodeEncodeError) as error:
        # What it says may show the token.
        raise InputError("HF_TOKEN holds characters that no token has: set it again.") from error
    except httpx.RequestError as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise PassingError(
            f"{_who(error, endpoint)} cannot be reached ({reason}): check the network and "
            f"{ENDPOINT_VARIABLE} and run the same command again, which goes on where this one stopped."
        ) from error


def _who(error: RequestError, endpoint: str) -> str:
    """Of whom a fault is: large files are not at the hub itself, and a firewall may know only one of them."""
    host = error.request.url.host
    return f"The hub at {endpoint}" if host in endpoint else f"{host}, to which the hub sends us for files,"


@contextmanager
def understood() -> Iterator[None]:
    """Around the reading of an answer: what it raises when the answer is not of a hub."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except (HfHubHTTPError, UnicodeEncodeError):
        raise  # some of these are ValueErrors
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"What answers is not the hub ({type(error).__name__}): check {ENDPOINT_VARIABLE}."
        ) from error


def _refusal(error: HfHubHTTPError, what: str) -> InputError:
    from huggingface_hub.errors import GatedRepoError, RemoteEntryNotFoundError, RevisionNotFoundError

    status = error.response.status_code
    if isinstance(error, GatedRepoError) or status in (401, 403):
        return InputError(
            f"The hub does not give {REPOSITORY} to you (status {status}): accept the terms on its page, if "
            "it has any, and set HF_TOKEN to a token that may read it."
        )
    if isinstance(error, RevisionNotFoundError):
        return InputError(f"{REPOSITORY} has no {what}: name another with --revision.")
    if isinstance(error, RemoteEntryNotFoundError):
        return DataError(
            f"{REPOSITORY} has no {_entry(what)} at this revision: name another with --revision."
        )
    if status == 404:
        return InputError(f"The hub has no data set repository {REPOSITORY}: check {ENDPOINT_VARIABLE}.")
    if status in _PASSING:
        wait = _wait(error.response)
        when = f"in {wait:.0f} seconds" if wait else "later"
        return PassingError(
            f"The hub has trouble (status {status}): run the same command again {when}.", wait
        )
    return InputError(f"The hub refuses {what} of {REPOSITORY} (status {status}).")


def _entry(what: str) -> str:
    return f"folder {FOLDER}/" if what.startswith("revision ") else what


def _wait(response: Response) -> float:
    """Seconds that a hub asks us to wait, in its own header or in the common ones."""
    from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

    limit = parse_ratelimit_headers(response.headers)
    if limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    return retry_after(response.headers, time.time()) or 0.0
