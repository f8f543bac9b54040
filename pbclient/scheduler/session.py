"""Player, judge and books of one run, closed with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from pbclient.calls.breaker import Gate
from pbclient.calls.stack import Limits, open_works
from pbclient.episodes.baselines import BaselinePlayer
from pbclient.episodes.judge import Judge
from pbclient.episodes.players import Player
from pbclient.images.digests import Digests
from pbclient.images.pictures import Pictures
from pbclient.money.amounts import dollars
from pbclient.money.books import Books, NoBooks, RunBooks
from pbclient.progress import Progress
from pbclient.scheduler.plan import Plan
from pbclient.scores.summary import LedgerTotals
from providers import Unusable
from runs import Ledger, RunFolder


@dataclass
class Line:
    """What a run plays with: a player, perhaps a judge, and the books."""

    player: Player
    books: Books
    judge: Judge | None = None
    gates: list[Gate] = field(default_factory=list)
    ledger: Ledger | None = None
    limit: int | None = None

    @property
    def unusable(self) -> Unusable | None:
        """Why no further call can succeed."""
        return next((gate.shut for gate in self.gates if gate.shut), None)

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


@asynccontextmanager
async def open_line(plan: Plan, folder: RunFolder, progress: Progress) -> AsyncIterator[Line]:
    """The line of a run, closed with the block."""
    if plan.model is None:
        assert plan.policy is not None
        yield Line(BaselinePlayer(plan.policy), NoBooks(), limit=plan.limit)
        return
    async with open_works(plan.cache_dir(folder.path), plan.limit, folder, progress) as works:
        works.show_money()
        at_once = min(plan.config.concurrency, len(plan.order))
        works.collect_rarely([each for each in (plan.model, plan.judge) if each], at_once)
        if plan.model.can_be_direct:
            progress.remedy = "--wire direct needs a small part of LiteLLM's processor time"
        if plan.config.release_holds:
            works.release_holds([each for each in (plan.model, plan.judge) if each])
        limits = Limits(plan.config.concurrency, plan.config.rpm, plan.config.tpm, plan.config.offline)
        digests = works.stack.enter_context(Digests(plan.cache_dir(folder.path)))
        pictures = works.stack.enter_context(Pictures(plan.data.frames, digests))
        player = plan.player(plan.model, works.wired(plan.model, limits), pictures)
        judge = works.judge(plan.judge, limits) if plan.judge else None
        books = RunBooks(works.ledger, plan.model.price)
        yield Line(player, books, judge, works.gates, works.ledger, plan.limit)
