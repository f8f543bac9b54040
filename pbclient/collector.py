"""Python's garbage collector, kept from looking so often at what is alive.

A call makes some hundred objects that live as long as it does: looking through the young ones every
700, as Python does, finds next to nothing and takes 0.3 ms of each of LiteLLM's calls. A full
collection visits every object there is: with thousands of episodes in flight it holds the event
loop up for half a second.
"""

from __future__ import annotations

import gc
from typing import Self

# New objects between two looks at the young, and such looks between two at the middle generation.
YOUNG, MIDDLE = 5_000, 20
# Collections of the middle generation between two full ones: as good as never.
NEVER = 2**30
# Failed attempts between two full collections.
FAILURES = 5_000


class RareCollections:
    """Inside the block collections are rare.

    Where calls leave no cycles behind once they are answered (`tidy`; measured on the direct wire: one
    object in twenty calls) full ones come after so many failed attempts, whose tracebacks are
    cycles, and not by themselves.
    """

    def __init__(self, *, tidy: bool) -> None:
        self._before = gc.get_threshold()
        self._tidy = tidy
        self._failures = 0

    def __enter__(self) -> Self:
        young, middle, full = self._before = gc.get_threshold()
        gc.set_threshold(max(young, YOUNG), max(middle, MIDDLE), NEVER if self._tidy else full)
        return self

    def __exit__(self, *_: object) -> None:
        gc.set_threshold(*self._before)

    def failed(self) -> None:
        """An attempt has failed."""
        self._failures += 1
        if self._tidy and self._failures % FAILURES == 0:
            gc.collect()
