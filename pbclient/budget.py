"""The promise of `--max-cost`: settled + held never exceeds the limit, before a byte leaves.

Each call first holds the most that it can cost, in a ledger on disk, and settles what it did
cost once its answer is stored. A call that the free money cannot cover waits while calls in
flight may still give some back. What a price is, and how large a bound, is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil

from pbclient.errors import FrameError, PbclientError
from pbclient.money import dollars
from pbclient.waiting import waits_for
from providers import Provider, ProviderError, Request, Response
from runs import Ledger


class BudgetExhausted(PbclientError):
    """The money that is left cannot cover the call, and nothing in flight will give any back."""


@dataclass
class Purse:
    """What may still be spent, and who waits for it. Amounts are picodollars; `limit` None is no limit.

    The invariant: `ledger.settled + ledger.kept + ledger.held <= limit` whenever a hold is made.
    """

    ledger: Ledger
    limit: int | None
    # What each call in flight is counted at: its hold, or more once holds have proved too small.
    _in_flight: dict[int, int] = field(default_factory=dict)
    _reserved: int = 0
    _queue: list[tuple[int, int, int, asyncio.Future[int]]] = field(default_factory=list)
    _order: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def free(self) -> int | None:
        """What no settlement and no hold claims yet; None without a limit."""
        if self.limit is None:
            return None
        return self.limit - self.ledger.settled - self.ledger.kept - self._reserved

    async def hold(self, amount: int, request: Request) -> int:
        """The id of a hold of `amount`; raises `BudgetExhausted` when it can never be covered.

        Calls of episodes already begun are served before those of new ones, so
        that little is bought by half; among equals the first come is first served.
        """
        rank = -min(request.turn, 1)
        if self._covers(amount) and not self._outranked(rank):
            return self._grant(amount)
        if not self._in_flight:
            raise self._exhausted(amount)
        place: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (rank, next(self._order), amount, place))
        try:
            with waits_for("money"):
                return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.release(place.result())  # granted just as its owner was cancelled
            raise

    def settle(self, hold: int, amount: int, key: str) -> None:
        """The answer to `key` is stored and cost `amount`."""
        self.ledger.settle(hold, amount, key)
        self._returned(hold)

    def release(self, hold: int) -> None:
        """The call was provably not billed."""
        self.ledger.release(hold)
        self._returned(hold)

    def keep(self, hold: int) -> None:
        """The call may have been billed: its hold stays, in full."""
        self.ledger.keep(hold)
        self._returned(hold)

    def raise_in_flight(self, ratio: Fraction) -> None:
        """Count every call in flight at `ratio` times its hold: another one's bill exceeded its own."""
        self._in_flight = {hold: ceil(amount * ratio) for hold, amount in self._in_flight.items()}
        self._reserved = sum(self._in_flight.values())

    def _covers(self, amount: int) -> bool:
        # What costs nothing is never refused, however little is left.
        return amount == 0 or self.free is None or amount <= self.free

    def _outranked(self, rank: int) -> bool:
        return bool(self._queue) and self._queue[0][0] <= rank

    def _grant(self, amount: int) -> int:
        hold = self.ledger.hold(amount)
        self._in_flight[hold] = amount
        self._reserved += amount
        return hold

    def _returned(self, hold: int) -> None:
        self._reserved -= self._in_flight.pop(hold)
        while self._queue:
            _, _, amount, place = self._queue[0]
            if place.done():
                heapq.heappop(self._queue)
            elif self._covers(amount):
                heapq.heappop(self._queue)
                place.set_result(self._grant(amount))
            elif not self._in_flight:
                heapq.heappop(self._queue)
                place.set_exception(self._exhausted(amount))
            else:
                return

    def _exhausted(self, amount: int) -> BudgetExhausted:
        return BudgetExhausted(
            f"The call may cost up to ${dollars(amount):.4f} and ${dollars(self.free or 0):.4f} "
            "of the limit is left: raise --max-cost and run the same command again."
        )


@dataclass
class Held:
    """A provider whose every call is covered by a hold.

    `bound` gives the most that a request can cost, `bill` what a response did cost, both in
    picodollars. A bill above its hold shows that the bound was none: all later holds are
    raised by the largest ratio seen (`raised`), and `overrun` hears of the bill, the hold and
    the new ratio.
    """

    inner: Provider
    purse: Purse
    bound: Callable[[Request], Awaitable[int]]
    bill: Callable[[Request, Response], int | None]
    overrun: Callable[[int, int, Fraction], None] = lambda bill, hold, ratio: None
    raised: Fraction = Fraction(1)

    async def complete(self, request: Request) -> Response:
        bound = await self.bound(request)
        hold = await self.purse.hold(ceil(bound * self.raised), request)
        # From here on money may be spent: the call is finished and settled even when whoever
        # asked is cancelled (Ctrl-C); a second cancellation ends it, and keeps the hold.
        return await finish(self._spend(request, hold, bound))

    async def _spend(self, request: Request, hold: int, bound: int) -> Response:
        try:
            with waits_for("the model"):
                response = await self.inner.complete(replace(request, hold=hold))
        except BaseException as error:
            if _provably_free(error):
                self.purse.release(hold)
            else:
                self.purse.keep(hold)
            raise
        bill = self.bill(request, response)
        if bill is None:  # an answer that does not say what it cost may have cost all of it
            bill = bound
        self._compare(bill, bound)
        self.purse.settle(hold, bill, request.key)
        return response

    def _compare(self, bill: int, bound: int) -> None:
        if bill <= bound * self.raised:
            return
        before, self.raised = self.raised, Fraction(bill, max(bound, 1))
        self.purse.raise_in_flight(self.raised / before)
        self.overrun(bill, ceil(bound * before), self.raised)


def _provably_free(error: BaseException) -> bool:
    # A FrameError comes before anything is sent; everything else that is not the provider's own
    # word (a cancellation, a full disk) leaves open whether the call was billed.
    if isinstance(error, ProviderError):
        return not error.billed
    return isinstance(error, FrameError)


async def finish[T](work: Awaitable[T]) -> T:
    """Await `work` to its end even when cancelled meanwhile; a second cancellation ends it."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if task.done():
            raise
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
            raise
        if not task.cancelled():
            task.exception()  # seen: what matters now is the cancellation
        raise
