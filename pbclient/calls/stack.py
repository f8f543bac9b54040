"""Build the stack of wrappers between a player and the wire.

    player -> DropRejected -> Cached -> Retrying -> Limited -> Cautious -> Held -> Breaker -> Storing -> wire

A hit turns back at `Cached`: it waits for no place, limit or hold. `Storing` stands next to the
wire: a paid answer is on disk before anything else can happen to it. A judge has a stack of its own
with the same cache, ledger and budget.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cache import KeyLocks, Store, digest
from pbclient.benchmark.protocol import PAPER
from pbclient.calls.accounts import Account
from pbclient.calls.breaker import Breaker, Cautious
from pbclient.calls.cached import Cached, Offline, Storing, TakesEmpty
from pbclient.calls.holdups import HoldUps, told
from pbclient.calls.key import asked_of, bought_by, images_in, response_from
from pbclient.calls.limiter import Limited
from pbclient.calls.pace import Paced
from pbclient.calls.process import rare_collections
from pbclient.calls.rejected import DropRejected
from pbclient.calls.retrying import Retrying
from pbclient.episodes.judge import Judge
from pbclient.models.model import Model
from pbclient.money.amounts import dollars, format_dollars
from pbclient.money.books import LEDGER_BEHIND, Books
from pbclient.money.bounds import images_of
from pbclient.money.budget import BoundCorrection, Budget, Held
from pbclient.progress import Progress, waits_for
from providers import Provider, RateLimit, Request, Response, TransientError, Unusable
from runs import Ledger, RunBroken, RunFolder

if TYPE_CHECKING:
    from providers.hosted.wire import Hosted


@dataclass(frozen=True, slots=True)
class Limits:
    """How many calls to one model at once and a minute; `offline` allows none."""

    concurrency: int
    rpm: int | None = None
    tpm: int | None = None
    offline: bool = False


@dataclass
class Loading:
    """A provider whose library takes seconds to load: whoever waits for that says so."""

    inner: Hosted
    store: Storing

    async def complete(self, request: Request) -> Response:
        if not self.inner.loaded:
            with waits_for("LiteLLM to load"):
                await self.inner.prepare()
        return await self.store.complete(request)


@asynccontextmanager
async def open_stack(
    answers: Path, limit: int | None, folder: RunFolder, progress: Progress
) -> AsyncIterator[Stack]:
    """What all models of a run share, closed with the block."""
    async with AsyncExitStack() as stack:
        store = stack.enter_context(Store(answers))
        locks = stack.enter_context(KeyLocks(answers))
        ledger = stack.enter_context(Ledger.open(folder.ledger))
        progress.retries = ledger.retries
        whole = Stack(answers, folder, progress, store, locks, ledger, limit, stack)
        stack.callback(whole.keep_learned)
        stack.enter_context(whole.hold_ups.looking())
        yield whole


@dataclass
class Stack:
    """Builds the provider stack of each model of a run, and ties what the wrappers notice to the run.

    One cache, one ledger and one budget, whatever is asked: the limit is the run's.
    """

    answers: Path
    folder: RunFolder
    progress: Progress
    store: Store
    locks: KeyLocks
    ledger: Ledger
    limit: int | None
    stack: AsyncExitStack
    breakers: list[Breaker] = field(default_factory=list)
    accounts: list[Account] = field(default_factory=list)

    def __post_init__(self) -> None:
        # By how much an earlier life of the run had to raise its holds.
        ratio, floor = self.folder.manifest.get("holds_raised") or ("1", 0)
        self.budget = Budget(
            self.ledger, self.limit, BoundCorrection(Fraction(ratio), int(floor)), self._overrun
        )
        self.hold_ups = HoldUps(self.budget)

    def provider_for(self, model: Model, limits: Limits) -> Provider:
        """The whole stack of a model."""
        wire = Offline(self.store, model.identity) if limits.offline else self._paid(model, limits)

        def recovered(request: Request, response: Response) -> None:
            self._settle(model, request.hold, images_of(request), response, request.key)

        cached = Cached(wire, self.store, self.locks, model.identity, self._run, self.progress.say, recovered)
        entry = "judge_dropped" if model.choice.prefix else "dropped"

        def record(changes: Mapping[str, str | None]) -> None:
            if changes:
                self.folder.update(**{entry: {**(self.folder.manifest.get(entry) or {}), **changes}})

        def rejected(option: str, instead: str | None, why: str) -> None:
            what = f"is sent as {instead}" if instead else "is dropped"
            self.progress.say(f"The model rejects the option {option}, which {what} from now on ({why}).")
            record({option: instead})

        provider = DropRejected(cached, self.store, model.identity, model.choice.wire, rejected)
        provider.load()
        for option in model.params.keys() & provider.changes.keys():
            instead = provider.changes[option]
            self.progress.say(
                f"{model.title} has rejected the option {option} before, which "
                f"{f'is sent as {instead}' if instead else 'is left out'} "
                f"(`pbclient cache clear --model {model.name}` forgets that, and its answers)."
            )
        record(provider.changes)
        return provider

    def judge(self, model: Model, limits: Limits) -> Judge:
        """A judge with its stack and its books."""
        books = Books(self.ledger, model.price)
        choice, provider = model.choice, self.provider_for(model, limits)
        return Judge(model.title, provider, model.params, books, choice.grammar, choice.protocol)

    def tune_collector(self, models: Iterable[Model], calls: int) -> None:
        """Keep the garbage collector out of the way while these are asked, so many calls at once."""
        # Nothing is known of the cycles that LiteLLM's many ways leave behind.
        tidy = not any(model.by_litellm for model in models)
        self.stack.enter_context(rare_collections(tidy=tidy, calls=calls))

    def show_money(self) -> None:
        """Let the progress read the ledger live."""
        limit = None if self.limit is None else dollars(self.limit)
        self.progress.money = lambda: (
            dollars(self.ledger.settled),
            dollars(self.ledger.kept + self.ledger.held),
            limit,
        )
        controllers = self.hold_ups.controllers
        self.progress.wire = lambda: (self.ledger.calls, sum(each.running for each in controllers))
        self.progress.limited = lambda: self.hold_ups.reason

    def keep_learned(self) -> None:
        """Keep for the next run what this one has learned of rates."""
        for account in self.accounts:
            account.keep()

    def tell_speed(self) -> None:
        """Say how fast the run was and what held it up, and write it into run.json."""
        speed = self.hold_ups.speed()
        if speed is not None:
            self.folder.update(speed=speed)
            self.progress.say(told(speed))

    def release_holds(self, models: Iterable[Model]) -> None:
        """Free what nobody knows the bill of, on the user's word; what is known is settled first.

        Of an answer by none of `models` (a judge's of `pbclient judge`) only that judge knows the bill.
        """
        asked: dict[str, Model] = {}
        for model in models:
            # A judge that is the model under test may have been given another price: the first one's.
            asked.setdefault(digest(dict(model.identity)), model)
        others: set[int] = set()
        for key, entry in self.store.entries():
            buyer, hold = bought_by(entry.answer)
            if buyer != self._run:
                continue
            answering = asked.get(digest(asked_of(entry.asked)))
            if answering is None:
                others.add(hold)
            else:
                self._settle(answering, hold, images_in(entry.asked), response_from(entry.answer), key)
        freed = self.ledger.release_holds(others)
        self.folder.update(holds_raised=None)
        self.progress.say(f"Released {format_dollars(freed)} of holds left by calls whose end is unknown.")

    @property
    def _run(self) -> str:
        return str(self.folder.manifest["id"])

    def _paid(self, model: Model, limits: Limits) -> Provider:
        """Retries, pace and money, and behind them the wire."""
        provider = model.connect()
        self.stack.push_async_callback(provider.aclose)
        asked: Provider = TakesEmpty(provider) if model.choice.protocol == PAPER else provider
        storing = Storing(asked, self.store, self._run)
        loads = model.by_litellm and hasattr(provider, "loaded")
        wire = Loading(cast("Hosted", provider), storing) if loads else storing
        breaker = Breaker(wire, self._shut)
        self.breakers.append(breaker)
        account, bounds = Account.of(model, limits.concurrency, self.answers / "rates"), model.bounds
        self.accounts.append(account)
        self.hold_ups.watch(account.controller)
        if limits.rpm:
            account.controller.cap("--rpm", RateLimit("requests", limits.rpm))
        if limits.tpm:
            account.controller.cap("--tpm", RateLimit("tokens", limits.tpm))
        paced = Paced(breaker)
        account.controller.behind = paced.pace.behind
        held = Held(
            paced,
            self.budget,
            bounds.of,
            lambda request, usage, told: bounds.bill(images_of(request), usage, told),
            bounds.parts,
        )
        # What costs nothing may fail as often as it likes.
        asked = held if model.price.is_free else Cautious(held, breaker)
        return Retrying(Limited(asked, account.controller), sleep=breaker.pause, on_retry=self._retried)

    def _settle(self, model: Model, hold: int, images: int, response: Response, key: str) -> None:
        """Killed between storing an answer and settling it: the bill is known after all."""
        if hold > self.ledger.attempts:
            # No episode's failure: nothing more may be bought on the word of such a ledger.
            raise RunBroken(LEDGER_BEHIND.format(f"the stored answer {key[:12]}, which this run bought"))
        bill = model.bounds.bill(images, response.usage, response.cost)
        if bill is not None and self.ledger.is_kept(hold):
            self.ledger.settle(hold, bill, key)

    def _overrun(self, bill: int, hold: int, raised: BoundCorrection) -> None:
        self.folder.update(holds_raised=[str(raised.ratio), raised.floor])
        self.progress.say(
            f"WARNING: a call cost {format_dollars(bill)} although its hold was {format_dollars(hold)}. "
            "From here on all holds of this run are raised to match (--release-holds forgets that); "
            "the limit stays."
        )

    def _retried(self, error: TransientError, wait: float) -> None:
        self.ledger.retry()
        self.progress.retries += 1

    def _shut(self, error: Unusable) -> None:
        if self.ledger.calls:  # else the run ends at once, and with the same words
            self.progress.say(f"No further calls: {error}")
