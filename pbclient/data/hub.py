"""The published data on its hub: list a revision, fetch one file of it, say in one sentence what fails.

All that is on the wire is `huggingface_hub`'s: addresses, tokens, Xet, the retries of a broken line.
Since 1.18 it throws away the part of a file whose process ends (its issue 4196, kept so on purpose):
the next command goes on with whole files.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pbclient.benchmark.paper import FOLDER, REPOSITORY
from pbclient.errors import DataError, InputError

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.hf_api import RepoFile

ENDPOINT_VARIABLE = "HF_ENDPOINT"
_AGAIN = "run the same command again later, which goes on with the files that are missing"

type Tell = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class DataFile:
    """Bytes and digest of a file of the published folder. `digest` is `sha256:` and hex for large files,
    `git:` and hex (the id of the git blob) for the others."""

    size: int
    digest: str


def list_files(revision: str | None = None) -> tuple[str, dict[str, DataFile]]:
    """The commit at a branch, tag or commit, and the published folder's files there by name.

    Raises `InputError`, as `fetch` does.
    """
    from huggingface_hub.hf_api import RepoFile

    api = _api()
    with _faults(api.endpoint, revision or "main", f"{FOLDER}/"):
        commit = api.dataset_info(REPOSITORY, revision=revision).sha
        if not commit:
            raise ValueError("an answer without a commit")
        entries = api.list_repo_tree(REPOSITORY, FOLDER, revision=commit, repo_type="dataset")
        return commit, dict(_data_file(entry) for entry in entries if isinstance(entry, RepoFile))


def fetch(commit: str, name: str, folder: Path, tell: Tell) -> None:
    """Get a file to its place under `folder` unless it is there; `tell` hears the bytes that have come.

    Raises `OSError` when the disk does not take it. The digest is not checked here.
    """
    api = _api()
    with _faults(api.endpoint, commit, f"{FOLDER}/{name}"):
        api.hf_hub_download(
            REPOSITORY,
            f"{FOLDER}/{name}",
            repo_type="dataset",
            revision=commit,
            local_dir=folder,
            tqdm_class=progress_bar(tell),
        )


def _api() -> HfApi:
    # It would report to its endpoint which program it is called by; nobody has asked for that.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import HfApi

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    # The library reads the variable when it is imported, which may have been long ago.
    return HfApi(endpoint=os.environ.get(ENDPOINT_VARIABLE) or None, library_name="pbclient")


def size_of(path: Path) -> int:
    """Bytes of a file; 0 when there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def is_file(path: Path, file: DataFile) -> bool:
    """Whether this is the file, by size and digest of either kind."""
    return size_of(path) == file.size and digest_of(path, file.digest) == file.digest


def digest_of(path: Path, like: str) -> str:
    """The digest of a file, of the kind that `like` is."""
    kind, _, _ = like.partition(":")
    with path.open("rb") as file:
        if kind == "sha256":
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        header = b"blob %d\0" % os.fstat(file.fileno()).st_size
        blob = hashlib.file_digest(file, lambda: hashlib.sha1(header, usedforsecurity=False))
        return f"git:{blob.hexdigest()}"


def progress_bar(tell: Tell) -> Any:
    """A class for the `tqdm_class` of a download: what the library asks of a bar; tells the bytes."""

    class Bar:
        def __init__(self, *, initial: int = 0, **_: object) -> None:
            self.bytes = initial

        def update(self, count: int) -> None:
            self.bytes += count
            tell(self.bytes)

        def update_transfer(self, count: int) -> None:
            """Bytes of Xet on the wire: they count when they are written."""

        def set_postfix_str(self, text: str, refresh: bool = True) -> None: ...

        set_transfer_postfix_str = set_postfix_str

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None: ...

    return Bar


def _data_file(entry: RepoFile) -> tuple[str, DataFile]:
    name = entry.path.removeprefix(f"{FOLDER}/")
    if not name or name.startswith(".") or {"/", "\\", "\0"}.intersection(name):
        raise ValueError(f"no file name: {name!r}")
    if entry.lfs is not None:
        return name, DataFile(entry.lfs.size, f"sha256:{entry.lfs.sha256}")
    return name, DataFile(entry.size, f"git:{entry.blob_id}")


@contextmanager
def _faults(endpoint: str, revision: str, entry: str) -> Iterator[None]:
    """Turn what `huggingface_hub` and the wire raise into one sentence."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        yield
    except Exception as error:
        # It names what failed as the cause when, after that, it has found no copy on this machine either.
        hidden = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else None
        fault = _fault(hidden or error, endpoint, revision, entry)
        if fault is None:
            raise
        raise fault from error


def _fault(error: BaseException, endpoint: str, revision: str, entry: str) -> InputError | None:
    """The sentence for an error; None for what a disk refuses and for what is no fault of the hub's."""
    import httpx
    from huggingface_hub import errors

    reason = " ".join(str(error).split())[:160] or type(error).__name__
    match error:
        case errors.OfflineModeIsEnabled():
            return InputError("HF_HUB_OFFLINE forbids to ask the hub: unset it to download.")
        case errors.HfHubHTTPError():
            return _refusal(error, revision, entry)
        case httpx.LocalProtocolError() | UnicodeEncodeError():
            # What it says may show the token.
            return InputError("HF_TOKEN holds characters that no token has: set it again.")
        case httpx.InvalidURL():
            return InputError(f"{endpoint} is no address ({reason}): check {ENDPOINT_VARIABLE}.")
        case httpx.RequestError() if not isinstance(error, httpx.TooManyRedirects):
            # Large files are not at the hub itself, and a firewall may know only one of the two.
            host = error.request.url.host
            who = f"The hub at {endpoint}" if host in endpoint else f"{host}, where the hub keeps its files,"
            return InputError(
                f"{who} cannot be reached ({reason}): check the network and {ENDPOINT_VARIABLE} and {_AGAIN}."
            )
        case RuntimeError() | OSError(errno=None) if not isinstance(error, errors.FileMetadataError):
            return InputError(
                f"{entry} has not arrived ({reason}): check the network and the disk and {_AGAIN}."
            )
        case InputError() | OSError(errno=int()):
            return None
    return InputError(f"What answers is not the hub ({reason}): check {ENDPOINT_VARIABLE}.")


def _refusal(error: HfHubHTTPError, revision: str, entry: str) -> InputError:
    """The sentence for an answer of the hub that is none of what was asked for."""
    from huggingface_hub import errors

    status = error.response.status_code
    if isinstance(error, errors.GatedRepoError) or status in (401, 403):
        return InputError(
            f"The hub does not give {REPOSITORY} to you (status {status}): accept the terms on its page, if "
            "it has any, and set HF_TOKEN to a token that may read it."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return InputError(f"{REPOSITORY} has no revision {revision}: name another with --revision.")
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return DataError(f"{REPOSITORY} has no {entry} at this revision: name another with --revision.")
    if status == 404:
        return InputError(f"The hub has no data set repository {REPOSITORY}: check {ENDPOINT_VARIABLE}.")
    return InputError(f"The hub refuses {entry} (status {status}): {_AGAIN}.")
