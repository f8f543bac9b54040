"""Attribute each answer to this run's spending or to the cache.

An answer is this run's own purchase when its ledger settled that key and no episode has
claimed it yet, whether it came over the wire just now or, after a kill, out of the cache: so a
run that was killed and continued reports what an uninterrupted one reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pbclient.money.amounts import dollars
from pbclient.money.prices import Price, cost
from pbclient.record import calls
from providers import Json, Response
from runs import Ledger


class Books(Protocol):
    """Says what each answer cost, and takes up what earlier lives of the run recorded."""

    def entry(self, response: Response, images: int = 0) -> dict[str, Json]:
        """The fields `cached`, `cost` and `saved` (dollars) of a call that showed so many images."""
        ...

    def recorded(self, episode: Mapping[str, Any]) -> None:
        """An episode that is on disk already, with its turns booked."""
        ...


@dataclass(frozen=True)
class RunBooks:
    """The books of a run with a ledger."""

    ledger: Ledger
    price: Price

    def entry(self, response: Response, images: int = 0) -> dict[str, Json]:
        paid = self.ledger.claim(response.key) if response.key else None
        if paid is not None:
            return {"cached": False, "cost": dollars(paid), "saved": 0.0}
        worth = cost(self.price, response.usage, images) if response.usage else 0
        return {"cached": True, "cost": 0.0, "saved": dollars(worth)}

    def recorded(self, episode: Mapping[str, Any]) -> None:
        """Claim what an episode on disk has already booked."""
        for call in calls(episode):
            if call.get("key") and not call.get("cached"):
                self.ledger.claim(call["key"])


class NoBooks:
    """The books of a baseline: nothing is asked, nothing is paid."""

    def entry(self, response: Response, images: int = 0) -> dict[str, Json]:
        return {"cached": False, "cost": 0.0, "saved": 0.0}

    def recorded(self, episode: Mapping[str, Any]) -> None:
        pass
