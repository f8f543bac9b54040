"""Attribute each answer to this run's spending or to the cache.

An answer is this run's own purchase when its ledger settled that key and no episode has
claimed it yet, whether it came over the wire just now or, after a kill, out of the cache: so a
run that was killed and continued reports what an uninterrupted one reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pbclient.errors import InputError
from pbclient.money.amounts import dollars
from pbclient.money.prices import Price, cost, saved_by_prefix
from pbclient.record import calls
from providers import Json, Response
from runs import Ledger

LEDGER_BEHIND = (
    "ledger.jsonl does not hold the bill of {}, so what the run has spent is not known: "
    "put the file back from a copy, or start anew in another folder."
)


@dataclass(frozen=True)
class Books:
    """Says what each answer cost. Without a ledger nothing is asked and nothing is paid."""

    ledger: Ledger | None = None
    price: Price | None = None

    def entry(self, response: Response, images: int = 0) -> dict[str, Json]:
        """The fields `cached`, `cost` and `saved` (dollars) of a call that showed so many images.

        Where a repeated prefix made it cheaper, or dearer to write, `saved_by_prefix` says by how much.
        """
        if self.ledger is None:
            return {"cached": False, "cost": 0.0, "saved": 0.0}
        paid = self.ledger.claim(response.key) if response.key else None
        if paid is not None:
            prefix = saved_by_prefix(self.price, response.usage) if self.price and response.usage else 0
            more: dict[str, Json] = {"saved_by_prefix": dollars(prefix)} if prefix else {}
            return {"cached": False, "cost": dollars(paid), "saved": 0.0, **more}
        worth = cost(self.price, response.usage, images) if self.price and response.usage else 0
        return {"cached": True, "cost": 0.0, "saved": dollars(worth)}

    def recorded(self, episode: Mapping[str, Any]) -> None:
        """Claim what an episode on disk has already booked. Raises `InputError` where the ledger lacks it."""
        for call in calls(episode):
            if self.ledger is not None and (key := call.get("key")) and not call.get("cached"):
                paid = self.ledger.claim(key)
                if not self.ledger.knows(key) or (
                    paid is not None and dollars(paid) < (call.get("cost") or 0)
                ):
                    raise InputError(LEDGER_BEHIND.format(f"the answer {key[:12]} that an episode records"))
