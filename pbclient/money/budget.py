"""The promise of `--max-cost`: settled + held never exceeds the limit, before a byte leaves.

Each call first holds the most that it can cost, in a ledger on disk, and settles what it did
cost once its answer is stored. A call that the free money cannot cover waits while calls in
flight may still give some back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from pbclient.errors import FrameError, PbclientError
from pbclient.money.amounts import format_dollars
from pbclient.progress import waits_for
from pbclient.turnstile import Turnstile
from providers import Provider, ProviderError, Request, Response, Usage
from runs import Ledger


class BudgetExhausted(PbclientError):
    """The money that is left cannot cover the call, and nothing in flight will give any back.

    `left`, `held` and `kept` are picodollars: what is free, what the call needs, and what calls whose end is
    unknown hold. `why` is what the sentence says of the hold after its amount.
    """

    def __init__(self, left: int, held: int, why: str = "", kept: int = 0) -> None:
        unknown = (
            f" ({format_dollars(kept)} is held for calls whose end is unknown: --release-holds frees it)"
        )
        super().__init__(
            f"The money that is left ({format_dollars(left)}) cannot cover the next call, which is held at "
            f"{format_dollars(held)}{why}. Raise --max-cost and run the same command again"
            f"{unknown if kept else ''}."
        )
        self.left = left
        self.held = held
        self.kept = kept


@dataclass(frozen=True)
class BoundCorrection:
    """What bills above their holds have taught: a hold is `ratio` times the bound, and at least `floor`.

    The floor speaks for calls whose bound was nothing and which cost something after all.
    """

    ratio: Fraction = Fraction(1)
    floor: int = 0

    def hold(self, bound: int) -> int:
        """What to hold for a call with this bound."""
        if bound == 0:
            return self.floor
        # Rounded up, in whole numbers: a fraction for each of the several times a call would be slow.
        return -(-bound * self.ratio.numerator // self.ratio.denominator)

    def after(self, bill: int, bound: int) -> BoundCorrection:
        """The raise that would have covered this bill as well."""
        if bound == 0:
            return replace(self, floor=max(self.floor, bill))
        return replace(self, ratio=max(self.ratio, Fraction(bill, bound)))


@dataclass
class Budget:
    """What may still be spent, and who waits for it. Amounts are picodollars; `limit` None is no limit.

    The invariant: `ledger.settled + ledger.kept + ledger.held <= limit` whenever a hold is made.
    `overrun` hears of a bill above its hold: the bill, the hold, and the raise of all holds from then on.
    """

    ledger: Ledger
    limit: int | None
    raised: BoundCorrection = BoundCorrection()
    overrun: Callable[[int, int, BoundCorrection], None] = lambda bill, hold, raised: None
    # The bounds of the calls in flight, and what they are counted at: their holds, or more once
    # another call's bill has shown that bounds like theirs are too small.
    _in_flight: dict[int, int] = field(default_factory=dict)
    _reserved: int = 0
    # They wait with their bounds, and are granted the numbers of their holds.
    _queue: Turnstile[int, int] = field(default_factory=Turnstile)

    @property
    def free(self) -> int | None:
        """What no settlement and no hold claims yet; None without a limit."""
        if self.limit is None:
            return None
        return self.limit - self.ledger.settled - self.ledger.kept - self._reserved

    @property
    def waiting(self) -> bool:
        """Whether a call waits for money."""
        return self._queue.first is not None

    async def hold(self, bound: int, request: Request) -> int:
        """The number of a hold for a call that costs `bound` at most.

        Raises `BudgetExhausted` when it can never be covered. Calls of episodes already begun are
        served before those of new ones, so that little is bought by half; among equals the first
        come is first served.
        """
        rank = -min(request.turn, 1)
        first = self._queue.first
        if self._covers(bound, rank) and (first is None or first[0] > rank):
            return self._grant(bound)
        if not self._in_flight:
            raise self._exhausted(bound)
        with waits_for("money"):
            return await self._queue.wait(rank, bound, self.release)

    def settle(self, hold: int, bill: int, key: str) -> None:
        """The answer to `key` is stored and cost `bill`."""
        bound = self._in_flight[hold]
        counted = self.raised.hold(bound)
        self.ledger.settle(hold, bill, key)
        if bill > counted:
            self.raised = self.raised.after(bill, bound)
            self._reserved = sum(map(self.raised.hold, self._in_flight.values()))
            self.overrun(bill, counted, self.raised)
        self._returned(hold)

    def release(self, hold: int) -> None:
        """The call was provably not billed."""
        self.ledger.release(hold)
        self._returned(hold)

    def keep(self, hold: int) -> None:
        """The call may have been billed: its hold stays, in full."""
        self.ledger.keep(hold)
        self._returned(hold)

    def _covers(self, bound: int, rank: int) -> bool:
        amount = self.raised.hold(bound)
        # What costs nothing is never refused, however little is left.
        if amount == 0 or self.free is None:
            return True
        # A new episode leaves those in flight enough for one more call each.
        spare = self._reserved if rank == 0 else 0
        return amount + spare <= self.free

    def _grant(self, bound: int) -> int:
        amount = self.raised.hold(bound)
        hold = self.ledger.hold(amount)
        self._in_flight[hold] = bound
        self._reserved += amount
        return hold

    def _exhausted(self, bound: int) -> BudgetExhausted:
        # More than the limit is spent where a bill exceeded its hold.
        return BudgetExhausted(max(self.free or 0, 0), self.raised.hold(bound), kept=self.ledger.kept)

    def _returned(self, hold: int) -> None:
        self._reserved -= self.raised.hold(self._in_flight.pop(hold))
        while (first := self._queue.first) is not None:
            rank, bound = first
            if self._covers(bound, rank):
                self._queue.grant(self._grant(bound))
            elif not self._in_flight:
                self._queue.refuse(self._exhausted(bound))
            else:
                return


@dataclass
class Held:
    """A provider whose every call is covered by a hold.

    `bound` gives the most that a request can cost, `bill` what a call with this usage, and this cost in
    dollars by the provider's word, did cost: both in picodollars. `parts` says of what the bound is the
    sum, and is asked when it cannot be covered.
    """

    inner: Provider
    budget: Budget
    bound: Callable[[Request], Awaitable[int]]
    bill: Callable[[Request, Usage | None, float | None], int | None]
    parts: Callable[[Request], Awaitable[str]]

    async def complete(self, request: Request) -> Response:
        bound = await self.bound(request)
        try:
            hold = await self.budget.hold(bound, request)
        except BudgetExhausted as short:
            raised = "" if short.held == bound else ", raised since a call cost more than its hold"
            parts = await self.parts(request)
            why = f"{raised}: {parts}" if parts else raised
            raise BudgetExhausted(short.left, short.held, why, short.kept) from None
        # From here on money may be spent: the call is finished and settled even when whoever
        # asked is cancelled (Ctrl-C); a second cancellation ends it, and keeps the hold.
        return await finish(self._spend(request, hold, bound))

    async def _spend(self, request: Request, hold: int, bound: int) -> Response:
        try:
            with waits_for("the model"):
                response = await self.inner.complete(request._replace(hold=hold))
        except BaseException as error:
            usage = error.usage if isinstance(error, ProviderError) else None
            bill = self.bill(request, usage, None)
            if bill is not None:  # a completion under an error's status, or one that was no answer
                self.budget.settle(hold, bill, request.key)
            elif _provably_free(error):
                self.budget.release(hold)
            else:
                self.budget.keep(hold)
            raise
        bill = self.bill(request, response.usage, response.cost)
        # An answer that does not say what it cost may have cost all of it.
        self.budget.settle(hold, self.budget.raised.hold(bound) if bill is None else bill, request.key)
        return response


def _provably_free(error: BaseException) -> bool:
    # A FrameError comes before anything is sent; everything else that is not the provider's own
    # word (a cancellation, a full disk) leaves open whether the call was billed.
    if isinstance(error, ProviderError):
        return not error.billed
    return isinstance(error, FrameError)


async def finish[T](work: Coroutine[Any, Any, T]) -> T:
    """Await `work` to its end even when cancelled meanwhile; a second cancellation ends it."""
    # Begun at once, and waited for by less than `asyncio.shield`: two rounds of the loop fewer a call.
    task = asyncio.Task(work, loop=asyncio.get_running_loop(), eager_start=True)
    try:
        await _end(task)
    except asyncio.CancelledError:
        try:
            await _end(task)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # seen: what matters now is the cancellation
        raise
    return task.result()


async def _end(task: asyncio.Task[Any]) -> None:
    """Wait until the task is done, and leave it alone when cancelled."""
    if task.done():
        return
    ended: asyncio.Future[None] = task.get_loop().create_future()
    task.add_done_callback(lambda _: None if ended.done() else ended.set_result(None))
    await ended
