"""The ledger never forgets money that has left, whenever its process was killed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule
from test_runs_files import largest_file

from runs import Balance, Ledger, RunBroken, RunError, RunTooNew, StorageFailed

ROOT = Path(__file__).parent.parent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


def figures(balance: Balance) -> dict[str, int]:
    names = ("settled", "held", "kept", "spent_or_held", "calls", "attempts", "retries")
    return {name: getattr(balance, name) for name in names}


def test_a_hold_ends_in_one_of_three_ways(path: Path) -> None:
    with Ledger.open(path) as ledger:
        first, second, third, fourth = (ledger.hold(100) for _ in range(4))
        assert (ledger.held, ledger.spent_or_held) == (400, 400)
        assert ledger.settle(first, 60, "k1") == 0
        ledger.release(second)
        ledger.keep(third)
        ledger.keep(fourth, 30)
        ledger.retry()
        assert figures(ledger) == {
            "settled": 60,
            "held": 0,
            "kept": 130,
            "spent_or_held": 190,
            "calls": 1,
            "attempts": 4,
            "retries": 1,
        }
        assert figures(Balance.read(path)) == figures(ledger)


def test_a_bill_above_its_hold_is_booked_in_full_and_said(path: Path) -> None:
    with Ledger.open(path) as ledger:
        assert ledger.settle(ledger.hold(100), 130, "k") == 30
        assert ledger.spent_or_held == 130


def test_amounts_that_no_float_can_hold_are_exact(path: Path) -> None:
    amount = 2**53 + 1
    with Ledger.open(path) as ledger:
        ledger.settle(ledger.hold(amount), amount, "k")
    assert Balance.read(path).settled == amount


def test_the_holds_of_a_dead_life_are_kept_until_they_are_released(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.hold(100)
        ledger.keep(ledger.hold(10))
    with Ledger.open(path) as ledger:
        assert (ledger.held, ledger.kept) == (0, 110)
        mine = ledger.hold(1)
        assert mine == 3
        assert ledger.release_holds(but={2}) == 100
        assert ledger.release_holds() == 10
        assert (ledger.held, ledger.kept, ledger.spent_or_held) == (1, 0, 1)
        assert ledger.release_holds() == 0
        ledger.settle(mine, 1, "k")
    assert figures(Balance.read(path))["spent_or_held"] == 1


def test_a_kept_hold_is_settled_when_its_answer_turns_up(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.hold(100)
    with Ledger.open(path) as ledger:
        assert ledger.is_kept(1)
        ledger.settle(1, 70, "k")
        assert not ledger.is_kept(1)
        assert (ledger.kept, ledger.settled, ledger.calls) == (0, 70, 1)
        assert ledger.claim("k") == 70


@pytest.mark.parametrize("end", [lambda ledger: ledger.release(1), lambda ledger: ledger.settle(1, 5, "k")])
def test_a_hold_ends_once(path: Path, end: Callable[[Ledger], object]) -> None:
    with Ledger.open(path) as ledger:
        ledger.hold(100)
        end(ledger)
        before = path.read_bytes()
        for again in (ledger.release, ledger.keep, lambda hold: ledger.settle(hold, 1, "k")):
            with pytest.raises(ValueError, match="hold 1 is not open"):
                again(1)
        assert path.read_bytes() == before


@pytest.mark.parametrize("amount", [-1, 1.5, True, None])
def test_amounts_are_whole_and_not_negative(path: Path, amount: int) -> None:
    with Ledger.open(path) as ledger:
        with pytest.raises(ValueError, match="not a whole number"):
            ledger.hold(amount)
        hold = ledger.hold(1)
        with pytest.raises(ValueError, match="not a whole number"):
            ledger.settle(hold, amount, "k")
        assert figures(Balance.read(path)) | {"held": 1, "kept": 0} == figures(ledger)


def test_each_purchase_is_claimed_once_and_again_in_the_next_life(path: Path) -> None:
    with Ledger.open(path) as ledger:
        for key, amount in (("a", 1), ("b", 2), ("a", 4)):
            ledger.settle(ledger.hold(10), amount, key)
    for _ in range(2):
        with Ledger.open(path) as ledger:
            assert [ledger.claim(key) for key in ("a", "a", "c", "b", "b")] == [5, None, None, 2, None]
            assert ledger.settled == 7


def test_keys_may_be_any_text(path: Path) -> None:
    key = 'é"\n\ud800'
    with Ledger.open(path) as ledger:
        ledger.settle(ledger.hold(1), 1, key)
    assert Balance.read(path).claim(key) == 1


def test_only_an_open_ledger_writes(path: Path) -> None:
    assert figures(Balance.read(path))["spent_or_held"] == 0
    assert not path.exists()
    ledger = Ledger.open(path)
    ledger.close()
    ledger.close()
    with pytest.raises(ValueError, match="not open for writing"):
        ledger.hold(1)


def test_after_an_interrupted_step_nothing_is_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(step: object) -> None:
        raise KeyboardInterrupt

    ledger = Ledger.open(path)
    monkeypatch.setattr(ledger, "_apply", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ledger.hold(5)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="not open for writing"):
        ledger.hold(5)
    ledger.close()
    assert path.read_bytes() == HOLD
    assert Balance.read(path).kept == 5


HOLD = b'{"step":"hold","hold":1,"amount":5}\n'
DAMAGED = [
    b"\n",
    b"\0\0\n",
    b"\xff\n",
    b"null\n",
    b"[" * 100_000 + b"\n",
    b'{"step":7}\n',
    b'{"step":"hold","hold":2}\n',
    b'{"step":"hold","hold":2,"amount":-1}\n',
    b'{"step":"hold","hold":2,"amount":1.0}\n',
    b'{"step":"hold","hold":3,"amount":1}\n',
    b'{"step":"hold","hold":1,"amount":1}\n',
    b'{"step":"settle","hold":2,"amount":1}\n',
    b'{"step":"settle","hold":1,"amount":1,"key":1}\n',
    b'{"step":"release","hold":"1"}\n',
    b'{"step":"keep","hold":1}\n',
    HOLD,
]


@pytest.mark.parametrize("line", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_line_is_refused_since_it_may_be_money(path: Path, line: bytes) -> None:
    path.write_bytes(HOLD + line + HOLD)
    for kind in (Balance, Ledger):
        with pytest.raises(RunBroken) as caught:
            kind.read(path)
        assert str(caught.value).startswith(f"Line 2 of {path} is damaged (")
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == HOLD + line + HOLD


def test_a_step_of_a_later_version_is_refused(path: Path) -> None:
    path.write_bytes(HOLD + b'{"step":"refund","hold":"x"}\n')
    with pytest.raises(RunTooNew, match="holds an unknown step, 'refund': update pbclient"):
        Ledger.open(path)


def test_a_torn_line_is_no_step_and_is_cut_off(path: Path) -> None:
    path.write_bytes(HOLD + b'{"step":"settle","hold":1,"amount":1,"key":"k"}')
    with Ledger.open(path) as ledger:
        assert (ledger.kept, ledger.calls) == (5, 0)
        ledger.hold(1)
    assert path.read_bytes() == HOLD + b'{"step":"hold","hold":2,"amount":1}\n'


def test_looking_does_not_mend(path: Path) -> None:
    path.write_bytes(HOLD + b'{"step"')
    assert Balance.read(path).kept == 5
    assert path.read_bytes() == HOLD + b'{"step"'


def test_a_disk_that_is_full_changes_neither_file_nor_balance(path: Path) -> None:
    with Ledger.open(path) as ledger:
        hold = ledger.hold(100)
        before, content = figures(ledger), path.read_bytes()
        with largest_file(len(content) + 5):
            with pytest.raises(StorageFailed):
                ledger.hold(1)
            with pytest.raises(StorageFailed):
                ledger.settle(hold, 1, "k")
        assert (figures(ledger), path.read_bytes()) == (before, content)
        ledger.settle(hold, 1, "k")
        assert ledger.hold(1) == 2


def test_a_line_is_on_file_before_the_method_returns(path: Path) -> None:
    with Ledger.open(path) as ledger:
        assert json.loads(path.read_bytes() or b"null") is None
        hold = ledger.hold(5)
        assert path.read_bytes() == HOLD
        ledger.settle(hold, 4, "k")
        assert path.read_bytes() == HOLD + b'{"step":"settle","hold":1,"amount":4,"key":"k"}\n'


class LedgerMachine(RuleBasedStateMachine):
    """A ledger beside a plain account of what left and what was said about it, over many lives.

    `sent` is the truth outside: what each request that left may have cost at most, which only a
    settlement, a proven non-bill or the operator's word can lower. After every step, and after a
    cut at any byte, the ledger counts at least what the whole lines before the cut say.
    """

    holds: Bundle[int] = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.sent: dict[int, int] = {}
        self.open: set[int] = set()
        self.after: list[tuple[int, dict[int, int]]] = []

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "ledger.jsonl"
        self.ledger = Ledger.open(self.path)
        self.note()

    def note(self) -> None:
        """Remember what is true once the file is as long as it is now."""
        self.after.append((self.path.stat().st_size, dict(self.sent)))

    @rule(target=holds, amount=st.integers(0, 10**15))
    def hold(self, amount: int) -> int:
        hold = self.ledger.hold(amount)
        assert hold not in self.sent
        self.sent[hold] = amount
        self.open.add(hold)
        self.note()
        return hold

    @rule(hold=holds, bill=st.integers(0, 10**15), key=st.sampled_from("abc"))
    def settle(self, hold: int, bill: int, key: str) -> None:
        if hold in self.open:
            assert self.ledger.settle(hold, bill, key) == max(0, bill - self.sent[hold])
            self.end(hold, bill)

    @rule(hold=holds)
    def release(self, hold: int) -> None:
        if hold in self.open:
            self.ledger.release(hold)
            self.end(hold, 0)

    @rule(hold=holds, amount=st.none() | st.integers(0, 10**15))
    def keep(self, hold: int, amount: int | None) -> None:
        if hold in self.open:
            self.ledger.keep(hold, amount)
            self.sent[hold] = self.sent[hold] if amount is None else amount
            assert self.ledger.is_kept(hold)
            self.note()

    def end(self, hold: int, bill: int) -> None:
        self.sent[hold] = bill
        self.open.discard(hold)
        self.note()

    @rule()
    def retry(self) -> None:
        self.ledger.retry()
        self.note()

    @rule()
    def release_holds(self) -> None:
        kept = [hold for hold in self.open if self.ledger.is_kept(hold)]
        assert self.ledger.release_holds() == sum(self.sent[hold] for hold in kept)
        for hold in kept:
            self.sent[hold] = 0
            self.open.discard(hold)
        # Torn, only some are released; each is counted in full or freed by the operator's own word.
        self.after.clear()
        self.note()

    @rule()
    def next_life(self) -> None:
        before = figures(self.ledger)
        self.ledger.close()
        self.ledger = Ledger.open(self.path)
        assert figures(self.ledger) == before | {"held": 0, "kept": before["kept"] + before["held"]}

    @precondition(lambda self: self.after)
    @rule(data=st.data())
    def cut(self, data: st.DataObject) -> None:
        content = self.path.read_bytes()
        cut = data.draw(st.integers(self.after[0][0], len(content)))
        copy = self.path.with_name("cut.jsonl")
        copy.write_bytes(content[:cut])
        true = max((then for then in self.after if then[0] <= cut), key=lambda then: then[0])[1]
        assert Balance.read(copy).spent_or_held == sum(true.values())
        with Ledger.open(copy) as ledger:
            assert ledger.spent_or_held == sum(true.values())
            number = ledger.hold(7)
            assert number > max(true, default=0)
        assert Balance.read(copy).spent_or_held == sum(true.values()) + 7

    @invariant()
    def nothing_is_forgotten(self) -> None:
        if hasattr(self, "ledger"):
            assert self.ledger.spent_or_held == sum(self.sent.values())
            assert self.ledger.attempts == len(self.sent)

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()
            self.folder.cleanup()


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_ledger(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("run") / "ledger.jsonl"
    path.write_bytes(HOLD + content)
    with suppress(RunError), Ledger.open(path) as ledger:
        assert ledger.spent_or_held == 5


SPENDER = """
import os, random, sys
from pathlib import Path
from runs import Ledger
rng = random.Random(int(sys.argv[2]))
flying = []
say = lambda *words: os.write(1, (" ".join(map(str, words)) + "\\n").encode())
with Ledger.open(Path(sys.argv[1])) as ledger:
    while True:
        if len(flying) < 8:
            amount = rng.randint(1, 1000)
            flying.append(ledger.hold(amount))
            say("sent", flying[-1], amount)  # now it leaves, and is billed in full
        hold = flying.pop(rng.randrange(len(flying)))
        end = rng.choice(["settle", "release", "keep", "wait"])
        if end == "settle":
            say("will settle", hold)
            ledger.settle(hold, 1, "key")
        elif end == "release":
            say("will release", hold)
            ledger.release(hold)
        elif end == "keep":
            ledger.keep(hold)
        else:
            flying.append(hold)
"""


def least(said: list[str]) -> int:
    """What must be counted, by what the process said before it acted: all that it cannot have ended."""
    sent: dict[str, int] = {}
    for line in said:
        match line.split():
            case ["sent", hold, amount]:
                sent[hold] = int(amount)
            case ["will", "settle" | "release", hold]:
                sent.pop(hold)
    return sum(sent.values())


def test_kill_9_forgets_no_money(path: Path) -> None:
    rng = random.Random(9)
    said: list[str] = []
    numbers: list[str] = []
    for life in range(6):
        command = [sys.executable, "-c", SPENDER, str(path), str(life)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as spender:
            assert spender.stdout is not None
            said += [spender.stdout.readline() for _ in range(rng.randint(1, 200))]
            spender.kill()
            said += [line for line in spender.stdout.readlines() if line.endswith("\n")]
        numbers = [line.split()[1] for line in said if line.startswith("sent")]
        assert len(set(numbers)) == len(numbers)
        assert Balance.read(path).spent_or_held >= least(said)
        assert Balance.read(path).attempts >= len(numbers)
    with Ledger.open(path) as ledger:
        ledger.release_holds()
        assert ledger.spent_or_held == ledger.settled == ledger.calls


def test_a_hold_and_its_settlement_are_quick(path: Path) -> None:
    with Ledger.open(path) as ledger:
        began = time.process_time()
        for number in range(2000):
            ledger.settle(ledger.hold(10**9), 10**8, f"{number:064x}")
        assert (time.process_time() - began) / 2000 < 200e-6  # 12 us measured; the rest is for busy machines
