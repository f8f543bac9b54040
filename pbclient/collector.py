"""Python's garbage collector, kept from looking so often at what is alive.

A call makes some hundred objects that live as long as it does. Python looks through them every 700
new ones, finds next to nothing, and takes 0.3 ms of each of LiteLLM's calls for it; with thousands
of calls in flight a single look holds the event loop up for a tenth of a second.
"""

from __future__ import annotations

import gc
from typing import Self

# New objects, less those that are gone, between two looks at them.
SELDOM = 10_000
# As good as never. A call in flight on the direct wire is 160 objects, and a run has a few a sample.
TIDY = 1_000_000
A_CALL = 200


class RareCollections:
    """Inside the block collections are rare.

    Where calls leave no cycles behind (`tidy`; measured on the direct wire: one object in twenty
    calls) nothing is looked at until a million objects tell that something else does. Those of calls
    in flight, of which there are at most `calls`, come on top.
    """

    def __init__(self, *, tidy: bool, calls: int) -> None:
        self._young = TIDY + A_CALL * calls if tidy else SELDOM
        self._before = gc.get_threshold()

    def __enter__(self) -> Self:
        young, *older = self._before = gc.get_threshold()
        # 0 is never, and somebody's own will.
        gc.set_threshold(young and max(young, self._young), *older)
        return self

    def __exit__(self, *_: object) -> None:
        gc.set_threshold(*self._before)
