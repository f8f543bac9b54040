"""The line from an episode to the wire, put together in one place.

    player -> Adapting -> Cached -> Retrying -> Limited -> Held -> Gate -> Storing -> provider

A hit turns back at `Cached`: it waits for no slot, limit or hold. `Storing` stands next to the
wire: a paid answer is on disk before anything else can happen to it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from fractions import Fraction

from cache import KeyLocks, Store
from pbclient.books import Books, NoBooks, RunBooks
from pbclient.bounds import Bounds, images_of
from pbclient.budget import Held, Purse, Raise
from pbclient.cached import Cached, Offline, Storing
from pbclient.described import bought_by, unpack
from pbclient.gate import Gate
from pbclient.limiter import Bucket, Limited, Slots
from pbclient.money import dollars, shown
from pbclient.pace import Paced
from pbclient.parameters import Adapting
from pbclient.pictures import Pictures
from pbclient.plan import Plan
from pbclient.players import BaselinePlayer, ModelPlayer, Player
from pbclient.progress import Progress
from pbclient.retrying import Retrying
from pbclient.scores import LedgerTotals
from providers import Provider, Request, Response, TransientError, Unusable
from runs import Ledger, RunFolder


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
        answers = plan.cache_dir(folder.path)
        store = stack.enter_context(Store(answers))
        locks = stack.enter_context(KeyLocks(answers))
        pictures = stack.enter_context(Pictures(plan.data.frames))
        ledger = stack.enter_context(Ledger.open(folder.ledger))
        progress.retries = ledger.retries
        fitting = _Fitting(plan, folder, progress, store, ledger)
        if plan.config.release_holds:
            fitting.release_holds()
        gate, wire = None, fitting.offline()
        if not plan.config.offline:
            provider = plan.connect()
            stack.push_async_callback(provider.aclose)
            gate = fitting.gate(provider)
            wire = fitting.paid(gate)
        player = ModelPlayer(fitting.cached(wire, locks), pictures, plan.params)
        yield Line(player, RunBooks(ledger, plan.price), gate, ledger, plan.limit)


@dataclass(frozen=True)
class _Fitting:
    """Fits the wrappers round a provider, and ties what they notice to the run."""

    plan: Plan
    folder: RunFolder
    progress: Progress
    store: Store
    ledger: Ledger

    def offline(self) -> Provider:
        return Offline(self.store, self.plan.identity)

    def gate(self, provider: Provider) -> Gate:
        return Gate(Storing(provider, self.store, self.plan.identity, self._run), self._shut)

    def paid(self, inner: Provider) -> Provider:
        """Retries, slots and money."""
        config, slots, bounds = self.plan.config, self._slots(), self.bounds
        purse = Purse(self.ledger, self.plan.limit, self._raised(), self._overrun)
        held = Held(
            Paced(inner),
            purse,
            bounds.of,
            lambda request, response: bounds.bill(images_of(request), response),
        )
        requests = Bucket(config.rpm) if config.rpm else None
        tokens = Bucket(config.tpm) if config.tpm else None
        return Retrying(Limited(held, slots, requests, tokens), noticed=self._retried)

    def cached(self, inner: Provider, locks: KeyLocks) -> Provider:
        """The cache, and before it what the model is known to reject."""
        identity, say = self.plan.identity, self.progress.say
        cached = Cached(inner, self.store, locks, identity, self._run, say, self._recovered)
        adapting = Adapting(cached, self.store, identity, self._dropped)
        adapting.recall()
        if adapting.changes:
            self.folder.update(dropped=dict(adapting.changes))
        return adapting

    @property
    def bounds(self) -> Bounds:
        plan = self.plan
        return Bounds(plan.config.provider, plan.model, plan.price, plan.config.image_tokens)

    @property
    def _run(self) -> str:
        return str(self.folder.manifest["id"])

    def _slots(self) -> Slots:
        slots = Slots(self.plan.config.concurrency)
        limit = None if self.plan.limit is None else dollars(self.plan.limit)
        self.progress.money = lambda: (
            dollars(self.ledger.settled),
            dollars(self.ledger.kept + self.ledger.held),
            limit,
        )
        self.progress.wire = lambda: (self.ledger.calls, slots.running)
        return slots

    def _recovered(self, request: Request, response: Response) -> None:
        # Killed between storing this answer and settling it: the bill is known after all.
        bill = self.bounds.bill(images_of(request), response)
        if bill is not None and self.ledger.is_kept(request.hold):
            self.ledger.settle(request.hold, bill, request.key)

    def release_holds(self) -> None:
        """Free what nobody knows the bill of, on the user's word; what is known is settled first."""
        run, images = self._run, 1
        for key, entry in self.store.entries():
            buyer, hold = bought_by(entry.answer)
            if buyer == run and self.ledger.is_kept(hold):
                bill = self.bounds.bill(images, unpack(entry.answer))
                if bill is not None:
                    self.ledger.settle(hold, bill, key)
        freed = self.ledger.release_holds()
        self.folder.update(holds_raised=None)
        self.progress.say(f"Released {shown(freed)} of holds left by calls whose end is unknown.")

    def _raised(self) -> Raise:
        """By how much an earlier life of the run had to raise its holds."""
        ratio, floor = self.folder.manifest.get("holds_raised") or ("1", 0)
        return Raise(Fraction(ratio), int(floor))

    def _overrun(self, bill: int, hold: int, raised: Raise) -> None:
        self.folder.update(holds_raised=[str(raised.ratio), raised.floor])
        self.progress.say(
            f"WARNING: a call cost {shown(bill)} although its hold was {shown(hold)}. From here on all "
            "holds for this model are raised to match (--release-holds forgets that); the limit stays."
        )

    def _retried(self, error: TransientError, wait: float) -> None:
        self.ledger.retry()
        self.progress.retries += 1

    def _shut(self, error: Unusable) -> None:
        self.progress.say(f"No further calls: {error}")

    def _dropped(self, name: str, instead: str | None, why: str) -> None:
        what = f"is sent as {instead}" if instead else "is dropped"
        self.progress.say(f"The model rejects the option {name}, which {what} from now on ({why}).")
        self.folder.update(dropped={**self.folder.manifest.get("dropped", {}), name: instead})
