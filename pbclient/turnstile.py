"""A queue of those who wait for something scarce: the lowest rank first, among equals the first come."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable


class Turnstile[Wish, Grant]:
    """Each waits with a wish; whoever has something to give looks at the `first` and grants or refuses."""

    def __init__(self) -> None:
        self._queue: list[tuple[int, int, Wish, asyncio.Future[Grant]]] = []
        self._order = itertools.count()

    async def wait(self, rank: int, wish: Wish, give_back: Callable[[Grant], object]) -> Grant:
        """What is granted, in turn. `give_back` takes what was granted just as its owner was cancelled."""
        turn: asyncio.Future[Grant] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (rank, next(self._order), wish, turn))
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                give_back(turn.result())
            raise

    @property
    def first(self) -> tuple[int, Wish] | None:
        """Rank and wish of who is next, None when nobody waits."""
        while self._queue and self._queue[0][3].done():
            heapq.heappop(self._queue)  # cancelled while it waited
        return (self._queue[0][0], self._queue[0][2]) if self._queue else None

    def grant(self, given: Grant) -> None:
        """Let the first pass with `given`."""
        heapq.heappop(self._queue)[3].set_result(given)

    def refuse(self, error: Exception) -> None:
        """Send the first away with an error."""
        heapq.heappop(self._queue)[3].set_exception(error)
