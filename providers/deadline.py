"""The deadline of one attempt: what has arrived by then is read, also by a process that was stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

# A timer that comes this late (in seconds) was not waited for: the process was stopped, or its loop held up.
LATE = 1.0
# How long what has arrived meanwhile may then take to be read.
GRACE = 10.0


@asynccontextmanager
async def deadline(seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """`asyncio.timeout(seconds)`, which asks whether this process ran when it was due.

    An answer may lie in the socket of a process that was stopped for longer than its deadline: it is
    paid for, and would be bought again.
    """
    loop = asyncio.get_running_loop()
    due = loop.time() + seconds
    async with asyncio.timeout(None) as timeout:

        def expire() -> None:
            now = loop.time()
            timeout.reschedule(now + GRACE if now - due > LATE else now)

        timer = loop.call_at(due, expire)
        try:
            yield timeout
        finally:
            timer.cancel()
