"""The line from an episode to the wire, put together in one place.

    player -> Adapting -> Cached -> Retrying -> Limited -> Held -> Gate -> Storing -> provider

A hit turns back at `Cached`: it waits for no slot, limit or hold. `Storing` stands next to the
wire: a paid answer is on disk before anything else can happen to it.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from cache import KeyLocks, Store
from pbclient.books import NoBooks, RunBooks
from pbclient.bounds import Bounds
from pbclient.budget import Held, Purse
from pbclient.cached import Cached, Offline, Storing
from pbclient.gate import Gate
from pbclient.limiter import Bucket, Limited, Slots
from pbclient.money import dollars
from pbclient.parameters import Adapting
from pbclient.pictures import Pictures
from pbclient.plan import Plan
from pbclient.players import BaselinePlayer, ModelPlayer, Player, Reply
from pbclient.progress import Progress
from pbclient.retrying import Retrying
from pbclient.scores import LedgerTotals
from providers import Json, Provider, Request, Response, TransientError, Unusable
from runs import Ledger, RunFolder


class Books(Protocol):
    """Says what each answer cost, and takes up what earlier lives of the run recorded."""

    def entry(self, reply: Reply) -> dict[str, Json]: ...

    def recorded(self, episode: Mapping[str, Any]) -> None: ...


@dataclass
class Line:
    """What a run plays with: a player and its books. `unusable` is why no further call can succeed."""

    player: Player
    books: Books
    gate: Gate | None = None
    ledger: Ledger | None = None
    limit: int | None = None

    @property
    def unusable(self) -> Unusable | None:
        return self.gate.shut if self.gate else None

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
    if plan.policy is not None:
        yield Line(BaselinePlayer(plan.policy), NoBooks(), limit=plan.limit)
        return
    async with AsyncExitStack() as stack:
        store = stack.enter_context(Store(plan.cache_dir(folder.path)))
        pictures = stack.enter_context(Pictures(plan.data.frames))
        ledger = stack.enter_context(Ledger.open(folder.ledger))
        if plan.config.release_holds:
            freed = ledger.release_holds()
            progress.say(f"Released ${dollars(freed):.4f} of holds left by calls whose end is unknown.")
        builder = _Builder(plan, folder, progress, store, ledger)
        gate, inner = await builder.wire(stack) if not plan.config.offline else (None, builder.offline())
        player = ModelPlayer(builder.cached(inner), pictures, plan.params)
        yield Line(player, RunBooks(ledger, plan.price), gate, ledger, plan.limit)


@dataclass(frozen=True)
class _Builder:
    """Puts the wrappers round a provider, and ties what they notice to the run."""

    plan: Plan
    folder: RunFolder
    progress: Progress
    store: Store
    ledger: Ledger

    async def wire(self, stack: AsyncExitStack) -> tuple[Gate, Provider]:
        """Everything between the cache and the wire."""
        config, plan = self.plan.config, self.plan
        provider = plan.connect()
        stack.push_async_callback(provider.aclose)
        gate = Gate(Storing(provider, self.store, plan.identity, self._run), self._shut)
        purse = Purse(self.ledger, plan.limit)
        slots = Slots(config.concurrency)
        self.progress.money = lambda: (
            dollars(self.ledger.settled),
            dollars(self.ledger.kept + self.ledger.held),
            None if plan.limit is None else dollars(plan.limit),
        )
        self.progress.wire = lambda: (self.ledger.calls, slots.running)
        limited = Limited(
            Held(gate, purse, self.bounds.of, self.bounds.bill, self._overrun),
            slots,
            Bucket(config.rpm) if config.rpm else None,
            Bucket(config.tpm) if config.tpm else None,
        )
        return gate, Retrying(limited, rng=random.Random(), noticed=self._retried)

    def offline(self) -> Provider:
        return Offline(self.store, self.plan.identity)

    def cached(self, inner: Provider) -> Provider:
        locks = KeyLocks(self.plan.cache_dir(self.folder.path))
        adapting = Adapting(
            Cached(
                inner, self.store, locks, self.plan.identity, self._run, self.progress.say, self._recovered
            ),
            self.store,
            self.plan.identity,
            self._dropped,
        )
        adapting.recall()
        if adapting.changes:
            self._record_dropped(adapting.changes)
        return adapting

    @property
    def bounds(self) -> Bounds:
        plan = self.plan
        return Bounds(plan.config.provider, plan.model, plan.price, plan.config.image_tokens)

    @property
    def _run(self) -> str:
        return str(self.folder.manifest["id"])

    def _recovered(self, request: Request, response: Response) -> None:
        # Killed between storing this answer and settling it: the bill is known after all.
        bill = self.bounds.bill(request, response)
        if bill is not None and self.ledger.is_kept(request.hold):
            self.ledger.settle(request.hold, bill, request.key)

    def _overrun(self, bill: int, bound: int) -> None:
        self.progress.say(
            f"WARNING: a call cost ${dollars(bill):.6f} although its bound was ${dollars(bound):.6f}. "
            "From here on every hold for this model is raised by that ratio; the limit stays."
        )

    def _retried(self, error: TransientError, wait: float) -> None:
        self.ledger.retry()
        self.progress.retries += 1

    def _shut(self, error: Unusable) -> None:
        self.progress.say(f"No further calls: {error}")

    def _dropped(self, name: str, instead: str | None, why: str) -> None:
        what = f"is sent as {instead}" if instead else "is dropped"
        self.progress.say(f"The model rejects the option {name}, which {what} from now on ({why}).")
        self._record_dropped({**self.folder.manifest.get("dropped", {}), name: instead})

    def _record_dropped(self, changes: Mapping[str, str | None]) -> None:
        self.folder.update(dropped=dict(changes))
