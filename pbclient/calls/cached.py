"""Answer from the store what was asked before, and store what is answered.

`Cached` stands outermost, so that a hit waits for no place, limit or hold; `Storing` stands
innermost, so that an answer is on disk before anything else can happen to it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cache import MISS, CorruptEntry, KeyLocks, Store, digest_of, nearest
from pbclient.calls.key import KeyWriter, bought_by, is_request, request_json, response_from, response_json
from pbclient.errors import PbclientError
from providers import EmptyAnswer, Json, Provider, Request, Response
from runs import RunFolder


class OfflineMiss(PbclientError):
    """`--offline`, and the cache does not hold this request."""


@dataclass
class Cached:
    """Looks up first; on a miss, one caller a key goes inside and the others wait for its answer.

    `identity` is the provider's part of the key and `run` the id of the run that asks. `warn` is
    called for entries that cannot be read, which count as misses: their answers are bought again and
    written over them. `on_own` is called for hits on answers that this very run stored.
    """

    inner: Provider
    store: Store
    locks: KeyLocks
    identity: Mapping[str, Json]
    run: str
    warn: Callable[[str], None]
    on_own: Callable[[Request, Response], None]
    _writer: KeyWriter = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._writer = KeyWriter(self.identity)

    async def complete(self, request: Request) -> Response:
        spelled = self._writer(request)
        key = digest_of(spelled)
        hit = self._look_up(key, spelled, request)
        if hit is not None:
            return hit
        async with self.locks.hold(key):
            # Whoever held the key before us, here or in another process, has stored its answer.
            hit = self._look_up(key, spelled, request)
            if hit is not None:
                return hit
            return await self.inner.complete(request._replace(key=key, spelled=spelled))

    def _look_up(self, key: str, spelled: bytes, request: Request) -> Response | None:
        try:
            answer = self.store.answer(key, spelled)
            if answer is MISS:
                return None
            response = response_from(answer, key)
        except (CorruptEntry, ValueError) as error:
            self.warn(f"Cache entry {key[:12]} is corrupt and counts as a miss ({error})")
            return None
        run, hold = bought_by(answer)
        if run == self.run:
            self.on_own(request._replace(key=key, hold=hold), response)
        return response


@dataclass
class Storing:
    """Store every answer, and which run bought it, before it is handed on: nothing later can lose it.

    For requests that have passed a `Cached`. What an answer took is measured here, next to the wire:
    no wait for a slot or for money is in it.
    """

    inner: Provider
    store: Store
    run: str
    clock: Callable[[], float] = time.monotonic

    async def complete(self, request: Request) -> Response:
        started = self.clock()
        response = await self.inner.complete(request)
        response = response._replace(key=request.key, seconds=round(self.clock() - started, 3))
        await self.store.keep(request.key, request.spelled, response_json(response, self.run, request.hold))
        return response


class TakesEmpty:
    """Next to the wire under the paper's protocol: to say nothing is an answer, and no fault to be mended."""

    def __init__(self, inner: Provider) -> None:
        self._inner = inner

    async def complete(self, request: Request) -> Response:
        try:
            return await self._inner.complete(request)
        except EmptyAnswer as error:
            return Response("", "stop", error.usage)  # without counts the call stays held in full


class Offline:
    """Takes the place of the wire: every miss is an error that names what differs."""

    def __init__(self, store: Store, identity: Mapping[str, Json]) -> None:
        self._store = store
        self._identity = identity
        self._first: str | None = None
        self._looking = asyncio.Lock()

    async def complete(self, request: Request) -> Response:
        # The nearest entry costs a scan of the whole cache: once is enough to tell why.
        async with self._looking:
            if self._first is None:
                self._first = await asyncio.to_thread(self._difference, request)
                raise OfflineMiss(f"Not in the cache, and --offline forbids asking: {self._first}")
        raise OfflineMiss(f"Not in the cache either; of the first miss: {self._first}")

    def _difference(self, request: Request) -> str:
        # What was learned of a model stands among the answers, but nobody asked for it.
        asked = ((key, entry) for key, entry in self._store.entries() if is_request(entry.asked))
        stored = nearest(asked, request_json(self._identity, request))
        if stored is None:
            return "the cache holds no request at all."
        key, _, differences = stored
        named = "; ".join(map(str, differences[:5]))
        return f"the nearest stored request ({key[:12]}) differs in {named}."


def answers_folder(folder: RunFolder, cache_dir: Path | None) -> Path:
    """Where the answers of a recorded run are kept, unless `cache_dir` says otherwise."""
    if cache_dir is None and folder.manifest["settings"].get("no_cache"):
        return folder.path / "answers"
    return cache_dir or default_cache_dir()


def default_cache_dir() -> Path:
    """The user's cache folder for answers."""
    from platformdirs import user_cache_path

    return user_cache_path("pbclient") / "answers"
