"""The money of a run on disk, in whole picodollars: what is settled, held and kept.

A *hold* is recorded before a request leaves and ends in one of three ways: it is *settled* (the
answer is stored and this is its bill), *released* (provably not billed) or *kept* (nobody knows
whether it was billed, so it stays spent). A hold that a dead process left is kept as well, until
the operator frees it. Each step is one line, on file before the method returns; the same code
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
from typing import Final, NamedTuple, Self

from runs.errors import RunBroken, RunTooNew, StorageFailed
from runs.files import LineFile, read_lines

_STEPS: Final = ("hold", "settle", "release", "keep", "free")
_PRICED: Final = ("hold", "settle", "keep")
_encode = json.JSONEncoder(separators=(",", ":")).encode


class _Step(NamedTuple):
    """One line. `number` names the hold that it is about."""

    name: str
    number: int
    amount: int = 0
    key: str = ""


class _Hold(NamedTuple):
    amount: int
    key: str


class Balance:
    """What a ledger adds up to. `read` is for those who only look: it neither locks nor writes."""

    def __init__(self) -> None:
        self._flying: dict[int, _Hold] = {}
        self._kept: dict[int, _Hold] = {}
        self._bought: dict[str, int] = {}
        self._answered: set[str] = set()
        self._failed: set[str] = set()
        self._settled_sum = self._flying_sum = self._kept_sum = 0
        self._attempts = self._calls = self._retries = 0

    @classmethod
    def read(cls, path: Path) -> Self:
        """Replay a ledger; one that does not exist yet is empty. Raises `RunBroken`, `RunTooNew`."""
        balance = cls()
        for number, line in enumerate(read_lines(path), start=1):
            if line.endswith(b"\n"):
                balance._replay(line, f"Line {number} of {path}")
        # Whatever is still in flight at the end was left there by a process that is gone.
        for number, hold in list(balance._flying.items()):
            balance._keep(number, hold.amount)
        return balance

    @property
    def settled(self) -> int:
        """The bills of all answers, over all lives."""
        return self._settled_sum

    @property
    def held(self) -> int:
        """The holds in flight in this life."""
        return self._flying_sum

    @property
    def kept(self) -> int:
        """Counted as spent: ends that perhaps cost something, and the holds of dead lives."""
        return self._kept_sum

    @property
    def spent_or_held(self) -> int:
        """What must never exceed the limit."""
        return self._settled_sum + self._kept_sum + self._flying_sum

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
        """Attempts on a key whose attempt before was released or kept, over all lives.

        The holds say it by themselves, so no kill can part the two. What a dead life left in
        flight and what the operator freed are no failed attempts.
        """
        return self._retries

    def purchases(self) -> Mapping[str, int]:
        """What was paid for each key, over all lives, as far as nobody has claimed it in this one."""
        return MappingProxyType(self._bought)

    def claim(self, key: str) -> int | None:
        """Take what this run paid for `key` out of `purchases`: whoever books the call claims it."""
        return self._bought.pop(key, None)

    def unsettled(self, key: str) -> int | None:
        """The hold to settle when an answer to `key` turns up that this run stored and nobody settled.

        Of several that are kept it is the smallest: whichever of them bought the answer, what is
        counted then covers the others. Once the key was settled, the answer may be that one's.
        """
        if not key or key in self._answered:
            return None
        kept = ((hold.amount, number) for number, hold in self._kept.items() if hold.key == key)
        return min(kept, default=(0, None))[1]

    def _replay(self, line: bytes, where: str) -> None:
        try:
            self._apply(_decode(line, where))
        except (ValueError, RecursionError) as error:
            raise RunBroken(
                f"{where} is damaged ({error}), so what the run has spent is not known: "
                "put the file back from a copy, or name another folder."
            ) from error

    def _apply(self, step: _Step) -> None:
        if step.name == "hold":
            self._open(step.number, _Hold(step.amount, step.key))
        elif step.name == "settle":
            self._settle(step.number, step.amount, step.key)
        elif step.name == "keep":
            self._failed.add(self._keep(step.number, step.amount))
        elif step.name == "release":
            self._failed.add(self._end(step.number))
        else:
            self._end(step.number)

    def _open(self, number: int, hold: _Hold) -> None:
        if number != self._attempts + 1:
            raise ValueError(f"hold {number} follows hold {self._attempts}")
        self._attempts = number
        self._flying[number] = hold
        self._flying_sum += hold.amount
        if hold.key and hold.key in self._failed:
            self._failed.remove(hold.key)
            self._retries += 1

    def _settle(self, number: int, amount: int, key: str) -> None:
        self._end(number)
        self._settled_sum += amount
        self._calls += 1
        self._bought[key] = self._bought.get(key, 0) + amount
        self._answered.add(key)

    def _keep(self, number: int, amount: int) -> str:
        key = self._end(number)
        self._kept[number] = _Hold(amount, key)
        self._kept_sum += amount
        return key

    def _end(self, number: int) -> str:
        hold = self._find(number)
        if self._flying.pop(number, None) is not None:
            self._flying_sum -= hold.amount
        else:
            del self._kept[number]
            self._kept_sum -= hold.amount
        return hold.key

    def _find(self, number: int) -> _Hold:
        hold = self._flying.get(number) or self._kept.get(number)
        if hold is None:
            raise ValueError(f"hold {number} is not open")
        return hold


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

    def hold(self, amount: int, key: str = "") -> int:
        """Hold `amount` for a request that may leave once this returns: a number never used before.

        `retries` and `unsettled` know of the holds that name the `key` of their request.
        """
        number = self._attempts + 1
        self._write(_Step("hold", number, _whole(amount), key))
        return number

    def settle(self, number: int, amount: int, key: str) -> int:
        """The answer to `key` is stored and cost `amount`. Returns by how much that exceeds the hold.

        A hold that was kept can be settled, too: its bill has become known.
        """
        held = self._find(number).amount
        self._write(_Step("settle", number, _whole(amount), key))
        return max(0, amount - held)

    def release(self, number: int) -> None:
        """The request was provably not billed."""
        self._find(number)
        self._write(_Step("release", number))

    def keep(self, number: int, amount: int | None = None) -> None:
        """Nobody knows the bill: the hold, or `amount` where that is the most it can be, stays spent."""
        held = self._find(number).amount
        self._write(_Step("keep", number, held if amount is None else _whole(amount)))

    def release_holds(self) -> int:
        """Free all that is kept, on the operator's word that it was not billed. Returns the sum.

        Holds in flight stay. A kill on the way leaves some freed and some kept.
        """
        freed = self._kept_sum
        self._write(*(_Step("free", number) for number in self._kept))
        return freed

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
            self._file.append("".join(map(_line, steps)).encode("ascii"))
        except StorageFailed:
            self._in_step = False
            raise
        for step in steps:
            self._apply(step)
        self._in_step = False


def _line(step: _Step) -> str:
    fields: dict[str, str | int] = {"step": step.name, "hold": step.number}
    if step.name in _PRICED:
        fields["amount"] = step.amount
    if step.key:
        fields["key"] = step.key
    return _encode(fields) + "\n"


def _decode(line: bytes, where: str) -> _Step:
    fields = json.loads(line.decode("utf-8"))
    if not isinstance(fields, dict) or not isinstance(name := fields.get("step"), str):
        raise ValueError("it is not a step")
    if name not in _STEPS:
        raise RunTooNew(f"{where} holds an unknown step, {name!r}: update pbclient.")
    amount = _whole(fields.get("amount")) if name in _PRICED else 0
    if not isinstance(key := fields.get("key", ""), str):
        raise ValueError("its key is not a string")
    return _Step(name, _whole(fields.get("hold")), amount, key)


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is not a whole number of at least 0")
    return value
