"""Each request is paid for once, in whatever order hits and misses come, and a hit takes no lock."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache import KeyLocks, Store
from pbclient.calls.cached import Cached, Storing
from pbclient.calls.key import request_json
from providers import Message, Request, Response


def request(number: int) -> Request:
    return Request((Message("user", (f"What is {number}?",)),), {"max_tokens": 9})


ASKED = request_json({}, request(7))


class Model:
    """Says the question back, and counts how often each was asked."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    async def complete(self, request: Request) -> Response:
        question = str(request.messages[0].parts[0])
        self.asked[question] += 1
        await asyncio.sleep(0)
        return Response(question, "stop")


class Watched:
    """Counts the calls of one method of what it stands before."""

    def __init__(self, behind: Any, method: str) -> None:
        self.count = 0
        self._behind, self._method = behind, method

    def __getattr__(self, name: str) -> Any:
        self.count += name == self._method
        return getattr(self._behind, name)


class Line:
    """A cache on disk before a model, with counts of look-ups and locks, and what `ours` has heard."""

    def __init__(self, store: Store, locks: KeyLocks) -> None:
        self.model, self.warned, self.ours = Model(), list[str](), list[str]()
        self.looks, self.holds = Watched(store, "answer"), Watched(locks, "hold")
        storing = Storing(self.model, store, "a run")
        self.cached = Cached(
            storing,
            self.looks,
            self.holds,
            {},
            "a run",
            self.warned.append,
            lambda asked, answer: self.ours.append(answer.text),
        )

    async def ask(self, *numbers: int) -> list[bool]:
        """Ask all at once; whether each was a hit."""
        answers = await asyncio.gather(*(self.cached.complete(request(number)) for number in numbers))
        assert [answer.text for answer in answers] == [f"What is {number}?" for number in numbers]
        return [answer.hit for answer in answers]


@contextmanager
def opened(folder: Path) -> Iterator[Line]:
    with Store(folder) as store, KeyLocks(folder) as locks:
        yield Line(store, locks)


def test_a_hit_is_looked_up_once_and_takes_no_lock(tmp_path: Path) -> None:
    async def main() -> None:
        assert await line.ask(*range(10)) == [False] * 10
        looks = line.looks.count
        assert await line.ask(*range(10)) == [True] * 10
        assert (line.looks.count - looks, line.holds.count) == (10, 10)

    with opened(tmp_path) as line:
        asyncio.run(main())
        assert line.ours == [f"What is {number}?" for number in range(10)]  # they may have to be settled


@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=8), max_size=6))
def test_nothing_is_asked_twice(tmp_path_factory: pytest.TempPathFactory, rounds: list[list[int]]) -> None:
    async def main() -> None:
        for numbers in rounds:
            await line.ask(*numbers)

    with opened(tmp_path_factory.mktemp("cache")) as line:
        asyncio.run(main())
        assert set(line.model.asked.values()) <= {1}
        assert len(line.model.asked) == len({number for numbers in rounds for number in numbers})


@pytest.mark.parametrize("before", [[], [1], [1, 1]], ids=["at first", "after a miss", "after a hit"])
def test_what_another_has_stored_is_a_hit(tmp_path: Path, before: list[int]) -> None:
    async def main() -> list[bool]:
        for number in before:
            await line.ask(number)
        await other.ask(7)
        return await line.ask(7)

    with opened(tmp_path) as line, opened(tmp_path) as other:
        assert asyncio.run(main()) == [True]


@pytest.mark.parametrize("entry", [("something else", "A"), (ASKED, "no answer"), (ASKED, {"text": 5})])
def test_what_is_corrupt_is_said_and_bought_again(tmp_path: Path, entry: tuple[Any, Any]) -> None:
    async def main() -> list[bool]:
        await other.ask(7)
        with Store(tmp_path) as store:
            ((key, _),) = store.entries()
            await store.put(key, *entry)
        return [*await line.ask(7), *await line.ask(7)]

    with opened(tmp_path) as line, opened(tmp_path) as other:
        assert asyncio.run(main()) == [False, True]
        assert line.warned


def test_a_hit_says_how_long_its_answer_took_on_the_wire(tmp_path: Path) -> None:
    async def main() -> tuple[Response, Response]:
        return await line.cached.complete(request(7)), await line.cached.complete(request(7))

    with opened(tmp_path) as line:
        times = iter((100.0, 101.23456))
        line.cached.inner.clock = lambda: next(times)
        bought, hit = asyncio.run(main())
    assert (bought.seconds, bought.hit, hit.seconds, hit.hit) == (1.235, False, 1.235, True)
