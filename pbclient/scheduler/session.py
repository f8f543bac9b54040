"""What a run plays with while it goes on: its player, judge and books."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from pbclient.calls.breaker import Breaker
from pbclient.calls.stack import Limits, open_stack
from pbclient.episodes.judge import Judge
from pbclient.episodes.players import BaselinePlayer, Player
from pbclient.images.digests import Digests
from pbclient.images.pictures import Pictures
from pbclient.money.books import Books
from pbclient.progress import Progress
from pbclient.scheduler.plan import Plan
from providers import Unusable
from runs import Balance, RunFolder


@dataclass
class Session:
    """What a run plays with: a player, perhaps a judge, and the books."""

    player: Player
    books: Books
    judge: Judge | None = None
    breakers: list[Breaker] = field(default_factory=list)
    ledger: Balance = field(default_factory=Balance)
    tell_speed: Callable[[], None] = lambda: None

    @property
    def unusable(self) -> Unusable | None:
        """Why no further call can succeed."""
        return next((breaker.shut for breaker in self.breakers if breaker.shut), None)


@asynccontextmanager
async def open_session(plan: Plan, folder: RunFolder, progress: Progress) -> AsyncIterator[Session]:
    """What a run plays with, closed with the block."""
    if plan.model is None:
        assert plan.policy is not None
        yield Session(BaselinePlayer(plan.policy), Books())
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
        books = Books(stack.ledger, plan.model.price)
        yield Session(player, books, judge, stack.breakers, stack.ledger, stack.tell_speed)
