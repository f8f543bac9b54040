"""The money of a run on disk, in whole picodollars: what is settled, held and kept.

A *hold* is recorded before a request leaves and ends in one of three ways: it is *settled* (the
answer is stored and this is its bill), *released* (provably not billed) or *kept* (nobody knows
whether it was billed, so it stays spent). A hold that a dead process left is kept as well, until
the operator releases it. Each step is one line, on file before the method returns; the same code
applies a line when it is written and when it is replayed.

A torn last line is a step that never returned: a torn hold was not sent, a hold with a torn
settlement is still counted in full. So no kill makes the sum smaller than what has left.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from json.encoder import encode_basestring_ascii
from pathlib import Path
from typing import Final, NamedTuple, Self

from runs.errors import RunBroken, RunTooNew, StorageFailed
from runs.files import LineFile, read_lines

_STEPS: Final = ("hold", "settle", "release", "keep", "retry")


class _Step(NamedTuple):
    """One line. `number` names the hold, which every step but a retry is about."""

    name: str
    number: int = 0
    amount: int = 0
    key: str = ""


class Balance:
    """What a ledger adds up to, over all lives of the run.

    settled    the bills of all answers
    held       the holds in flight in this life
    kept       counted as spent: ends that perhaps cost something, and the holds of dead lives
    attempts   holds, however they ended
    calls      settled calls
    retries    failed attempts that were tried again
    """

    def __init__(self) -> None:
        self.settled = self.held = self.kept = 0
        self.attempts = self.calls = self.retries = 0
        self._in_flight: dict[int, int] = {}
        self._kept: dict[int, int] = {}
        self._bought: dict[str, int | None] = {}  # by key; None once it is claimed

    @classmethod
    def read(cls, path: Path) -> Self:
        """Replay a ledger, which may not exist yet, without a lock. Raises `RunBroken`, `RunTooNew`."""
        balance = cls()
        for number, line in enumerate(read_lines(path), start=1):
            if not line.endswith(b"\n"):
                continue
            try:
                step = _decode(line)
                if step.name not in _STEPS:
                    raise RunTooNew(
                        f"Line {number} of {path} holds an unknown step, {step.name!r}: update pbclient."
                    )
                balance._apply(step)
            except (ValueError, RecursionError) as error:
                raise RunBroken(
                    f"Line {number} of {path} is damaged ({error}), so what the run has spent is not known: "
                    "put the file back from a copy, or name another folder."
                ) from error
        # Whatever is still in flight at the end was left there by a process that is gone.
        for hold, amount in list(balance._in_flight.items()):
            balance._apply(_Step("keep", hold, amount))
        return balance

    @property
    def spent_or_held(self) -> int:
        """What must never exceed the limit."""
        return self.settled + self.kept + self.held

    def claim(self, key: str) -> int | None:
        """What this run paid for `key` over all lives, once: whoever books the call claims it."""
        paid = self._bought.get(key)
        if paid is not None:
            self._bought[key] = None
        return paid

    def knows(self, key: str) -> bool:
        """Whether this run has paid for `key`, claimed or not."""
        return key in self._bought

    def is_kept(self, hold: int) -> bool:
        """Whether the bill of `hold` is unknown; if its answer turns up after all, settle it."""
        return hold in self._kept

    def _apply(self, step: _Step) -> None:
        if step.name == "retry":
            self.retries += 1
            return
        if step.name == "hold":
            if step.number != self.attempts + 1:
                raise ValueError(f"hold {step.number} follows hold {self.attempts}")
            self.attempts = step.number
            self._in_flight[step.number] = step.amount
            self.held += step.amount
            return
        held = self._amount(step.number)
        if self._in_flight.pop(step.number, None) is not None:
            self.held -= held
        else:
            del self._kept[step.number]
            self.kept -= held
        if step.name == "settle":
            self.settled += step.amount
            self.calls += 1
            self._bought[step.key] = (self._bought.get(step.key) or 0) + step.amount
        elif step.name == "keep":
            self._kept[step.number] = step.amount
            self.kept += step.amount

    def _amount(self, hold: int) -> int:
        amount = self._in_flight.get(hold, self._kept.get(hold))
        if amount is None:
            raise ValueError(f"hold {hold} is not open")
        return amount


class Ledger(Balance):
    """ledger.jsonl, open for writing by the holder of the folder's lock.

    A method that raises `StorageFailed` has changed neither the balance nor the file.
    """

    def __init__(self) -> None:
        super().__init__()
        self._file: LineFile | None = None
        self._in_step = False

    @classmethod
    def open(cls, path: Path) -> Self:
        """Replay what earlier lives wrote, then go on writing. Raises `RunBroken`, `RunTooNew`."""
        ledger = cls.read(path)
        ledger._file = LineFile.open(path)
        return ledger

    def hold(self, amount: int) -> int:
        """Hold `amount` for a request that may leave once this returns: a number never used before."""
        number = self.attempts + 1
        self._write(_Step("hold", number, _whole(amount)))
        return number

    def settle(self, hold: int, amount: int, key: str) -> int:
        """The answer to `key` is stored and cost `amount`. Returns by how much that exceeds the hold.

        A hold that was kept can be settled, too: its bill has become known.
        """
        expected = self._amount(hold)
        self._write(_Step("settle", hold, _whole(amount), key))
        return max(0, amount - expected)

    def release(self, hold: int) -> None:
        """The request was provably not billed."""
        self._amount(hold)
        self._write(_Step("release", hold))

    def keep(self, hold: int, amount: int | None = None) -> None:
        """Nobody knows the bill: the hold, or `amount` where that is the most it can be, stays spent."""
        held = self._amount(hold)
        self._write(_Step("keep", hold, held if amount is None else _whole(amount)))

    def retry(self) -> None:
        """An attempt has failed and is about to be followed by another."""
        self._write(_Step("retry"))

    def release_holds(self, but: Collection[int] = ()) -> int:
        """Release what is kept, on the operator's word that it was not billed. Returns the sum.

        Holds in flight stay, and so do those of `but`. A kill on the way leaves some released and some kept.
        """
        kept = self.kept
        self._write(*(_Step("release", hold) for hold in self._kept if hold not in but))
        return kept - self.kept

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, *steps: _Step) -> None:
        if self._file is None or self._in_step:
            raise ValueError("the ledger is not open for writing")
        # A KeyboardInterrupt between file and balance would part the two: nothing is written after it.
        self._in_step = True
        try:
            self._file.append("".join(map(_encode, steps)).encode("ascii"))
        except StorageFailed:
            self._in_step = False
            raise
        for step in steps:
            self._apply(step)
        self._in_step = False


def _encode(step: _Step) -> str:
    """As JSON, put together by hand: two lines a call are written, in a third of the time."""
    hold = "" if step.name == "retry" else f',"hold":{step.number}'
    amount = "" if step.name in ("retry", "release") else f',"amount":{step.amount}'
    key = f',"key":{encode_basestring_ascii(step.key)}' if step.key else ""
    return f'{{"step":"{step.name}"{hold}{amount}{key}}}\n'


def _decode(line: bytes) -> _Step:
    fields = json.loads(line.decode("utf-8"))
    if not isinstance(fields, dict) or not isinstance(name := fields.get("step"), str):
        raise ValueError("it is not a step")
    if name == "retry" or name not in _STEPS:
        return _Step(name)
    amount = 0 if name == "release" else _whole(fields.get("amount"))
    if not isinstance(key := fields.get("key", ""), str):
        raise ValueError("its key is not a string")
    return _Step(name, _whole(fields.get("hold")), amount, key)


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is not a whole number of at least 0")
    return value
