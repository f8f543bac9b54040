"""Play an episode out of the cache alone, up to the first request that it does not hold.

It is the run's own episode with the run's own player and judge, so that what is looked up is what a run
would ask. Nothing is sent and nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from cache import MISS, CorruptEntry, Store, digest
from pbclient.calls.key import request_json, response_from
from pbclient.calls.rejected import DropRejected
from pbclient.data.folder import Sample
from pbclient.episodes.judge import Judge
from pbclient.episodes.players import Player, View
from pbclient.images.pictures import Pictures
from pbclient.models.model import Model
from pbclient.money.books import Books
from pbclient.record import calls
from pbclient.scheduler.plan import Plan
from providers import Json, Provider, Request, Response


class _Missing(Exception):
    """The cache does not hold this request."""

    def __init__(self, key: str, request: Request) -> None:
        super().__init__(key)
        self.key = key
        self.request = request


@dataclass(frozen=True, slots=True)
class Replayed:
    """How far an episode came: `turns` of the model's answers were there, and `hits` with the judge's.

    `key` names what it would ask next, None when it ended: about `view` the model, or the judge what
    `judged` holds, of an answer about `view`. `failure` says why it ended when a picture or the row
    cannot be used.
    """

    turns: int
    hits: int
    key: str | None = None
    view: View | None = None
    judged: Request | None = None
    failure: str | None = None

    @property
    def complete(self) -> bool:
        """Whether a run would end this episode without a call."""
        return self.key is None and self.failure is None


class Replay:
    """Plays the episodes of a plan from what is stored, itself the player that `inner` answers for."""

    def __init__(self, plan: Plan, inner: Player, judge: Judge | None) -> None:
        self._plan = plan
        self._inner = inner
        self._judge = judge
        self._asked: View | None = None
        self._answered: View | None = None

    async def answer(self, view: View) -> Response:
        self._asked = view
        response = await self._inner.answer(view)
        self._asked, self._answered = None, view
        return response

    async def play(self, sample: Sample, repeat: int) -> Replayed:
        """One episode, as far as stored answers carry it."""
        self._asked = None
        episode = self._plan.episode(sample, repeat, self, Books(), self._judge)
        try:
            line = await episode.play(self._plan.row(sample))
        except _Missing as missing:
            turns, request = len(episode.turns), missing.request
            if self._asked is not None:
                return Replayed(turns, episode.calls, missing.key, self._asked)
            # The judge's earlier draws are there.
            hits = episode.calls + request.repeat
            return Replayed(turns, hits, missing.key, self._answered, request)
        failure = str(line.get("error")) if line["outcome"] == "failed" else None
        return Replayed(len(episode.turns), sum(1 for _ in calls(line)), failure=failure)


@contextmanager
def replay(plan: Plan, model: Model) -> Iterator[Replay]:
    """For the answers that a run of this plan would find; a cache that is not there is not made."""
    folder = plan.cache_dir(plan.out)
    with ExitStack() as stack:
        store = stack.enter_context(Store(folder)) if folder.is_dir() else None
        pictures = stack.enter_context(Pictures(plan.data.frames))
        player = plan.player(model, _stored(model, store), pictures)
        judge = None
        if plan.judge is not None:
            choice, answers = plan.judge.choice, _stored(plan.judge, store)
            title, params = plan.judge.title, plan.judge.params
            judge = Judge(title, answers, params, Books(), choice.grammar, choice.protocol)
        yield Replay(plan, player, judge)


def _stored(model: Model, store: Store | None) -> Provider:
    provider = _Stored(store, model.identity)
    if store is None:
        return provider
    adapted = DropRejected(provider, store, model.identity, model.choice.wire)
    adapted.load()
    return adapted


@dataclass(frozen=True)
class _Stored:
    """Answers what is stored, and stops the episode at what is not."""

    store: Store | None
    identity: Mapping[str, Json]

    async def complete(self, request: Request) -> Response:
        key = digest(request_json(self.identity, request))
        try:
            entry = MISS if self.store is None else self.store.get(key)
            if entry is not MISS:
                return response_from(entry.answer)._replace(key=key, hit=True)
        except (CorruptEntry, ValueError):
            pass  # as in a run: what cannot be read is bought again
        raise _Missing(key, request)
