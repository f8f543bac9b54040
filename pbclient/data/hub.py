"""The published data on its hub: what there is at a revision, and one file of it, continued where it stopped.

Listing, addresses, tokens and errors are `huggingface_hub`'s. Its `hf_hub_download` is not used: since
1.18 it throws the part of a file away when it is interrupted (its issue 4196, kept so on purpose), and
so does `hf_xet`, whose files the hub also serves over plain HTTP, up to 50 GB each. Where files are put
is not known here.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pbclient.benchmark.paper import FOLDER, REPOSITORY
from pbclient.errors import DataError, InputError
from providers.replies.retry_after import retry_after

if TYPE_CHECKING:
    from httpx import RequestError, Response
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.hf_api import RepoFile


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


# Seconds before each further attempt, as long as nothing arrives.
WAITS = (1.0, 2.0, 4.0, 8.0)
# Seconds that a hub may ask us to wait; who asks for more is left alone.
PATIENCE = 60.0

type Tell = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of the published folder. `digest` is `sha256:` and hex for large files, `git:` and hex
    (the id of the git blob) for the others."""

    name: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of the published folder at one commit."""

    commit: str
    files: tuple[RemoteFile, ...]


@dataclass(frozen=True)
class Hub:
    """The hub at `endpoint`, by default at `HF_ENDPOINT` or where `huggingface_hub` looks itself."""

    endpoint: str | None = None
    waits: Sequence[float] = WAITS
    sleep: Callable[[float], object] = time.sleep

    def listing(self, revision: str | None = None) -> Listing:
        """What is there at a branch, tag or commit. Raises `InputError`."""
        from huggingface_hub.hf_api import RepoFile

        api = self._api()
        with sentences(api.endpoint, f"revision {revision or 'main'}"), understood():
            found = api.dataset_info(REPOSITORY, revision=revision, timeout=_timeout())
            commit = _commit(found.sha)
            entries = api.list_repo_tree(REPOSITORY, FOLDER, revision=commit, repo_type="dataset")
            files = [_remote(each) for each in entries if isinstance(each, RepoFile)]
        return Listing(commit, tuple(files))

    def fetch(self, commit: str, file: RemoteFile, part: Path, tell: Tell) -> None:
        """Get what `part` lacks of a file, and go on over a bad line; `tell` hears the bytes there are.

        What arrived stays in `part`, whatever happens, unless the hub knows no ranges and begins anew.
        Raises `InputError`, or `OSError` when the disk does not take it. The digest is not checked here.
        """
        api = self._api()
        url = _url(api, commit, file.name)
        waits, most = iter(self.waits), size_of(part)
        while size_of(part) < file.size:
            try:
                with sentences(api.endpoint, f"{FOLDER}/{file.name}"):
                    _go_on(url, file, part, tell)
                    if size_of(part) <= most:
                        raise PassingError(_nothing_new(file, most))
            except PassingError as error:
                if size_of(part) > most:
                    waits = iter(self.waits)
                self._pause(waits, error)
            # The most there ever was: who ignores ranges begins anew each time, and may never come further.
            most = max(most, size_of(part))

    def _pause(self, waits: Iterator[float], error: PassingError) -> None:
        """Wait before the next attempt. Raises `InputError` when there is none."""
        wait = next(waits, None)
        if wait is None or error.wait > PATIENCE:
            raise InputError(str(error)) from error
        self.sleep(max(wait, error.wait))

    def _api(self) -> HfApi:
        # It would ask its endpoint which program it is called by; nobody has asked for that.
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        from huggingface_hub import HfApi

        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
        # The library reads the variable when it is imported, which may have been long ago.
        endpoint = self.endpoint or os.environ.get(ENDPOINT_VARIABLE) or None
        return HfApi(endpoint=endpoint, library_name="pbclient")


def size_of(path: Path) -> int:
    """Bytes of a file; 0 when there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def digest_of(path: Path, like: str) -> str:
    """The digest of a file, of the kind that `like` is."""
    kind, _, _ = like.partition(":")
    with path.open("rb") as file:
        if kind == "sha256":
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        header = b"blob %d\0" % os.fstat(file.fileno()).st_size
        blob = hashlib.file_digest(file, lambda: hashlib.sha1(header, usedforsecurity=False))
        return f"git:{blob.hexdigest()}"


def _commit(sha: str | None) -> str:
    if not sha:
        raise ValueError("an answer without a commit")
    return sha


def _remote(entry: RepoFile) -> RemoteFile:
    name = entry.path.removeprefix(f"{FOLDER}/")
    if not name or name.startswith(".") or {"/", "\\", "\0"}.intersection(name):
        raise ValueError(f"no file name: {name!r}")
    if entry.lfs is not None:
        return RemoteFile(name, entry.lfs.size, f"sha256:{entry.lfs.sha256}")
    return RemoteFile(name, entry.size, f"git:{entry.blob_id}")


def _url(api: HfApi, commit: str, name: str) -> str:
    from huggingface_hub import hf_hub_url

    return hf_hub_url(
        REPOSITORY, f"{FOLDER}/{name}", repo_type="dataset", revision=commit, endpoint=api.endpoint
    )


def _timeout() -> float:
    """Seconds for connecting, and for each read; the user may have set the library's own variable."""
    from huggingface_hub import constants

    return float(constants.HF_HUB_DOWNLOAD_TIMEOUT)


def _go_on(url: str, file: RemoteFile, part: Path, tell: Tell) -> None:
    """One request for what is missing."""
    from huggingface_hub import get_session
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

    have = size_of(part)
    # Bytes can only be counted and continued when they come as they are stored.
    headers = {**build_hf_headers(library_name="pbclient"), "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with get_session().stream("GET", url, headers=headers, timeout=_timeout()) as response:
        with understood():
            hf_raise_for_status(response)
        _refuse_another_size(response, file)
        continued = have > 0 and _starts_at(response, have)
        with part.open("ab" if continued else "wb") as out:
            _save(response, file, out, have if continued else 0, tell)


def _save(response: Response, file: RemoteFile, out: BinaryIO, have: int, tell: Tell) -> None:
    for chunk in response.iter_bytes():
        out.write(chunk)
        out.flush()  # a kill takes no more than what is on the wire
        have += len(chunk)
        tell(min(have, file.size))
        if have > file.size:
            # Whatever this is, it is not the file of the listing: its digest will tell.
            return


def _nothing_new(file: RemoteFile, have: int) -> str:
    return (
        f"The hub sends nothing of {FOLDER}/{file.name} after {have:,} of {file.size:,} bytes: "
        "run the same command again later."
    )


def _refuse_another_size(response: Response, file: RemoteFile) -> None:
    """Raises before a page that stands in for the file takes the place of what is here."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        return
    ranged = response.status_code == 206
    said = response.headers.get("Content-Range" if ranged else "Content-Length", "").rpartition("/")[2]
    if said.isdecimal() and int(said) != file.size:
        raise PassingError(
            f"What answers for {FOLDER}/{file.name} has {int(said):,} bytes, and the hub lists "
            f"{file.size:,}: check the network (a proxy, a login page) and run the same command again later."
        )


def _starts_at(response: Response, have: int) -> bool:
    """Whether a server has heeded our range: some send the whole file instead."""
    said = response.headers.get("Content-Range", "")
    return response.status_code == 206 and said.startswith(f"bytes {have}-")
