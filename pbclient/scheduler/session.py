"""A run while it goes on: its player, judge and books, where it is recorded, and its workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from pbclient.calls.breaker import Breaker
from pbclient.calls.stack import Limits, open_stack
from pbclient.data.folder import Sample
from pbclient.episodes.baselines import BaselinePlayer
from pbclient.episodes.judge import Judge
from pbclient.episodes.players import Player
from pbclient.images.digests import Digests
from pbclient.images.pictures import Pictures
from pbclient.money.amounts import dollars
from pbclient.money.books import Books, NoBooks, RunBooks
from pbclient.progress import Progress
from pbclient.scheduler.interrupts import Interrupts
from pbclient.scheduler.order import Order
from pbclient.scheduler.plan import Plan
from pbclient.scheduler.recording import Recording
from pbclient.scheduler.workers import work
from pbclient.scores.summary import LedgerTotals
from providers import Unusable
from runs import Ledger, RunFolder

type Owed = tuple[Sample, int]


@dataclass
class Session:
    """What a run plays with: a player, perhaps a judge, and the books."""

    player: Player
    books: Books
    judge: Judge | None = None
    breakers: list[Breaker] = field(default_factory=list)
    ledger: Ledger | None = None
    limit: int | None = None
    tell_speed: Callable[[], None] = lambda: None

    @property
    def unusable(self) -> Unusable | None:
        """Why no further call can succeed."""
        return next((breaker.shut for breaker in self.breakers if breaker.shut), None)

    def totals(self) -> LedgerTotals:
        """Money and calls over all lives of the run."""
        limit = None if self.limit is None else dollars(self.limit)
        if self.ledger is None:
            return LedgerTotals(settled=0.0, held=0.0, limit=limit, calls=0, retries=0)
        return LedgerTotals(
            settled=dollars(self.ledger.settled),
            held=dollars(self.ledger.kept + self.ledger.held),
            limit=limit,
            calls=self.ledger.calls,
            retries=self.ledger.retries,
        )


@dataclass(frozen=True)
class Run:
    """All that those need who play the episodes of a run."""

    plan: Plan
    session: Session
    recording: Recording
    progress: Progress
    interrupts: Interrupts

    async def work(self, owed: Order[Sample] | list[Owed], do: Callable[[Owed], Awaitable[None]]) -> None:
        """`do` each of what is owed, as many at once as the run may, until no call can succeed."""
        workers = min(self.plan.config.concurrency, len(owed))
        await work(owed, workers, do, until=lambda: self.session.unusable, interrupts=self.interrupts)


@asynccontextmanager
async def open_session(plan: Plan, folder: RunFolder, progress: Progress) -> AsyncIterator[Session]:
    """What a run plays with, closed with the block."""
    if plan.model is None:
        assert plan.policy is not None
        yield Session(BaselinePlayer(plan.policy), NoBooks(), limit=plan.limit)
        return
    async with open_stack(plan.cache_dir(folder.path), plan.limit, folder, progress) as stack:
        stack.show_money()
        at_once = min(plan.config.concurrency, len(plan.order))
        models = [model for model in (plan.model, plan.judge) if model]
        stack.tune_collector(models, at_once)
        if plan.model.can_be_direct:
            progress.remedy = "--wire direct needs a small part of LiteLLM's processor time"
        if plan.config.release_holds:
            stack.release_holds(models)
        limits = Limits(plan.config.concurrency, plan.config.rpm, plan.config.tpm, plan.config.offline)
        digests = stack.stack.enter_context(Digests(plan.cache_dir(folder.path)))
        pictures = stack.stack.enter_context(Pictures(plan.data.frames, digests))
        player = plan.player(plan.model, stack.provider_for(plan.model, limits), pictures)
        judge = stack.judge(plan.judge, limits) if plan.judge else None
        books = RunBooks(stack.ledger, plan.model.price)
        yield Session(player, books, judge, stack.breakers, stack.ledger, plan.limit, stack.tell_speed)
