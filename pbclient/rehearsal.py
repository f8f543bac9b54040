"""An episode played out of the cache alone, up to the first request that it does not hold.

It is the run's own episode with the run's own player, so that what is looked up is what a run would
ask. Nothing is sent and nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from cache import MISS, CorruptEntry, Store, digest
from pbclient.benchmark import Environment
from pbclient.books import NoBooks
from pbclient.dataset import Sample
from pbclient.described import describe, unpack
from pbclient.model import Model
from pbclient.parameters import Adapting
from pbclient.pictures import Pictures
from pbclient.plan import Plan
from pbclient.players import ModelPlayer, Player, Reply, View
from providers import Json, Provider, Request, Response


class _Missing(Exception):
    """The cache does not hold this request; `key` is its name."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """How far an episode came: `hits` answers were there.

    `environment` and `key` are where it stands and what it would ask next, None when it ended;
    `failure` says why it ended when a picture or the row cannot be used.
    """

    hits: int
    environment: Environment | None = None
    key: str | None = None
    failure: str | None = None

    @property
    def complete(self) -> bool:
        """Whether a run would end this episode without a call."""
        return self.environment is None and self.failure is None


@dataclass(frozen=True)
class Rehearsal:
    """Plays the episodes of a plan from what is stored."""

    plan: Plan
    player: Player

    async def play(self, sample: Sample, repeat: int) -> Rehearsed:
        """One episode, as far as stored answers carry it."""
        watched = _Watched(self.player)
        episode = self.plan.episode(sample, repeat, watched, NoBooks())
        try:
            line = await episode.play(self.plan.row(sample))
        except _Missing as missing:
            return Rehearsed(len(episode.turns), watched.environment, missing.key)
        failure = str(line.get("error")) if line["outcome"] == "failed" else None
        return Rehearsed(len(episode.turns), failure=failure)


@contextmanager
def rehearsal(plan: Plan, model: Model) -> Iterator[Rehearsal]:
    """For the answers that a run of this plan would find; a cache that is not there is not made."""
    folder = plan.cache_dir(plan.out)
    with ExitStack() as stack:
        store = stack.enter_context(Store(folder)) if folder.is_dir() else None
        pictures = stack.enter_context(Pictures(plan.data.frames))
        provider: Provider = _Stored(store, model.identity)
        if store is not None:
            provider = Adapting(provider, store, model.identity)
            provider.recall()
        yield Rehearsal(plan, ModelPlayer(provider, pictures, model.params, plan.question()))


@dataclass(frozen=True)
class _Stored:
    """Answers what is stored, and stops the episode at what is not."""

    store: Store | None
    identity: Mapping[str, Json]

    async def complete(self, request: Request) -> Response:
        key = digest(describe(self.identity, request))
        found = None if self.store is None else _found(self.store, key)
        if found is None:
            raise _Missing(key)
        return replace(found, key=key, hit=True)


def _found(store: Store, key: str) -> Response | None:
    try:
        entry = store.get(key)
        return None if entry is MISS else unpack(entry.answer)
    except (CorruptEntry, ValueError):
        # As in a run: what cannot be read is bought again.
        return None


@dataclass
class _Watched:
    """A player, and the environment that it was last shown."""

    inner: Player
    environment: Environment | None = None

    async def answer(self, view: View) -> Reply:
        self.environment = view.environment
        return await self.inner.answer(view)
