"""A limit that a provider announces: so much of something in so many seconds."""

from __future__ import annotations

from typing import NamedTuple


class RateLimit(NamedTuple):
    """So many of a `resource` in `period` seconds, of which `remaining` are left (None: not said).

    `resource` is "requests", "tokens", "input tokens" or "output tokens".
    """

    resource: str
    limit: float
    period: float = 60.0
    remaining: float | None = None

    @property
    def per_second(self) -> float:
        """The rate that the limit allows in the long run."""
        return self.limit / self.period

    def __str__(self) -> str:
        per = {1.0: "s", 60.0: "min"}.get(self.period, f"{self.period:g} s")
        return f"{self.limit:,.0f} {self.resource}/{per}"
