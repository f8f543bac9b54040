"""The money of a run on disk, in whole picodollars: what is settled, held and kept.

A *hold* is recorded before a request leaves and ends in one of three ways: it is *settled* (the
answer is stored and this is its bill), *released* (provably not billed) or *kept* (nobody knows
whether it was billed, so it stays spent). A hold that a dead process left is kept as well, until
the operator *frees* it. Each step is one line, on file before the method returns; the same code
applies a line when it is written and when it is replayed.

A torn last line is a step that never returned: a torn hold was not sent, a hold with a torn
settlement is still counted in full. So no kill makes the sum smaller than what has left.
How large a hold must be, what the limit is and who waits for money are decided elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Self

from runs.errors import RunBroken, RunTooNew
from runs.files import LineFile, read_lines

_STEPS: Final = ("hold", "settle", "release", "keep", "free")
_encode = json.JSONEncoder(separators=(",", ":")).encode


class _Hold(NamedTuple):
    amount: int
    key: str


class Balance:
    """What a ledger adds up to. `read` is for those who only look: it neither locks nor writes."""

    def __init__(self) -> None:
        self._flying: dict[int, _Hold] = {}
        self._kept: dict[int, _Hold] = {}
        self._bought: dict[str, int] = {}
        self._failed: set[str] = set()
        self._settled = self._held = self._kept_sum = 0
        self._attempts = self._calls = self._retries = 0

    @classmethod
    def read(cls, path: Path) -> Self:
        """Replay a ledger; one that does not exist yet is empty. Raises `RunBroken`, `RunTooNew`."""
        balance = cls()
        balance._replay(path)
        return balance

    @property
    def settled(self) -> int:
        """The bills of all answers, over all lives."""
        return self._settled

    @property
    def held(self) -> int:
        """The holds in flight in this life."""
        return self._held

    @property
    def kept(self) -> int:
        """Counted as spent in full: ends that perhaps cost something, and holds of dead lives."""
        return self._kept_sum

    @property
    def spent_or_held(self) -> int:
        """What must never exceed the limit."""
        return self._settled + self._kept_sum + self._held

    @property
    def calls(self) -> int:
        """Settled calls over all lives."""
        return self._calls

    @property
    def attempts(self) -> int:
        """Holds over all lives, however they ended."""
        return self._attempts

    @property
    def retries(self) -> int:
        """Attempts made on a key whose attempt before was released or kept.

        The holds say it by themselves, so no kill can part the two; what a dead life left in
        flight and the operator's freeing are no failed attempts.
        """
        return self._retries

    def purchases(self) -> Mapping[str, int]:
        """What was paid, by key, over all lives, for all that nobody has claimed in this one."""
        return MappingProxyType(self._bought)

    def claim(self, key: str) -> int | None:
        """Take what this run paid for `key` out of `purchases`: who books the call claims it."""
        return self._bought.pop(key, None)

    def unsettled(self, key: str) -> int | None:
        """The newest kept hold on `key`: settle it when an answer that this run stored turns up."""
        return max((number for number, hold in self._kept.items() if hold.key == key), default=None)

    def _replay(self, path: Path) -> None:
        for number, line in enumerate(read_lines(path), start=1):
            if line.endswith(b"\n"):
                self._read_line(line, f"line {number} of {path}")
        # Whatever is still in flight at the end was left there by a process that is gone.
        for number in list(self._flying):
            self._keep(number, None)

    def _read_line(self, line: bytes, where: str) -> None:
        try:
            step, number, amount, key = _decode(line)
            if step not in _STEPS:
                raise RunTooNew(f"{where} holds a step that is not known here, {step!r}: update pbclient.")
            self._apply(step, number, amount, key)
        except (ValueError, RecursionError) as error:
            raise RunBroken(
                f"{where} is damaged ({error}), so what the run has spent is not known: "
                "put the file back from a copy, or start anew in another folder."
            ) from error

    def _apply(self, step: str, number: int, amount: int | None, key: str) -> None:
        if step == "hold":
            self._open(number, amount or 0, key)
        elif step == "settle":
            self._take(number)
            self._settle(amount or 0, key)
        elif step == "keep":
            self._failed.add(self._keep(number, amount).key)
        elif step == "release":
            self._failed.add(self._take(number).key)
        else:
            self._take(number)

    def _open(self, number: int, amount: int, key: str) -> None:
        if number != self._attempts + 1:
            raise ValueError(f"hold {number} follows hold {self._attempts}")
        self._attempts = number
        self._flying[number] = _Hold(amount, key)
        self._held += amount
        if key and key in self._failed:
            self._failed.discard(key)
            self._retries += 1

    def _settle(self, amount: int, key: str) -> None:
        self._settled += amount
        self._calls += 1
        self._bought[key] = self._bought.get(key, 0) + amount

    def _keep(self, number: int, amount: int | None) -> _Hold:
        hold = self._take(number)
        kept = hold if amount is None else _Hold(amount, hold.key)
        self._kept[number] = kept
        self._kept_sum += kept.amount
        return kept

    def _take(self, number: int) -> _Hold:
        hold = self._flying.pop(number, None)
        if hold is not None:
            self._held -= hold.amount
            return hold
        hold = self._find(number)
        del self._kept[number]
        self._kept_sum -= hold.amount
        return hold

    def _find(self, number: int) -> _Hold:
        hold = self._flying.get(number) or self._kept.get(number)
        if hold is None:
            raise ValueError(f"there is no hold {number} that is still open")
        return hold


class Ledger(Balance):
    """ledger.jsonl, open for writing by the holder of the folder's lock.

    A `StorageFailed` from any method leaves balance and file as they were before it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._file: LineFile | None = None

    @classmethod
    def open(cls, path: Path) -> Self:
        """Replay what earlier lives wrote, then go on writing. Raises `RunBroken`, `RunTooNew`."""
        ledger = cls.read(path)
        ledger._file = LineFile.open(path)
        return ledger

    def hold(self, amount: int, key: str = "") -> int:
        """Hold `amount` for a request that may leave once this returns; the number is never used again.

        With the request's `key`, `retries` and `unsettled` know of it.
        """
        number = self._attempts + 1
        self._write("hold", number, _whole(amount), key)
        return number

    def settle(self, number: int, amount: int, key: str) -> int:
        """The answer to `key` is stored and cost `amount`. Returns by how much that exceeds the hold.

        A kept hold can be settled, too: its bill has become known.
        """
        hold = self._find(number)
        self._write("settle", number, _whole(amount), key)
        return max(0, amount - hold.amount)

    def release(self, number: int) -> None:
        """The request was provably not billed."""
        self._find(number)
        self._write("release", number)

    def keep(self, number: int, amount: int | None = None) -> None:
        """Nobody knows the bill: the hold, or `amount` if no more can be due, stays spent."""
        self._find(number)
        self._write("keep", number, None if amount is None else _whole(amount))

    def release_holds(self) -> int:
        """Free all that is kept, because the operator says it was not billed. Returns the amount.

        Holds in flight in this life stay.
        """
        kept, freed = list(self._kept), self._kept_sum
        self._append("".join(_line("free", number, None, "") for number in kept))
        for number in kept:
            self._apply("free", number, None, "")
        return freed

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, step: str, number: int, amount: int | None = None, key: str = "") -> None:
        # File first: what is on file and not counted yet can only make the next life more careful.
        self._append(_line(step, number, amount, key))
        self._apply(step, number, amount, key)

    def _append(self, lines: str) -> None:
        if self._file is None:
            raise ValueError("the ledger is not open for writing")
        self._file.append(lines.encode("ascii"))


def _line(step: str, number: int, amount: int | None, key: str) -> str:
    fields: dict[str, Any] = {"step": step, "hold": number}
    if amount is not None:
        fields["amount"] = amount
    if key:
        fields["key"] = key
    return _encode(fields) + "\n"


def _decode(line: bytes) -> tuple[str, int, int | None, str]:
    fields = json.loads(line.decode("utf-8"))
    if not isinstance(fields, dict) or not isinstance(step := fields.get("step"), str):
        raise ValueError("it is not a step")
    if step not in _STEPS:
        return step, 0, None, ""
    number, amount, key = fields.get("hold"), fields.get("amount"), fields.get("key", "")
    if amount is None and step in ("hold", "settle"):
        raise ValueError("it names no amount")
    if not isinstance(key, str):
        raise ValueError("its key is not a string")
    return step, _whole(number), None if amount is None else _whole(amount), key


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is not a whole number of at least 0")
    return value
