"""What holds the event loop up is counted, measured and named."""

from __future__ import annotations

import asyncio
import sys
import threading
import time

import pytest

from pbclient.cli.stalls import LIMIT, Stalls, place, watching


def test_only_long_stalls_count_and_the_longest_is_named() -> None:
    stalls = Stalls()
    stalls.note(LIMIT / 2, LIMIT / 2, None)
    assert str(stalls).startswith("Event loop held up never for long, at most 25 ms (25 ms")
    stalls.note(0.2, 0.01, "pbclient/a.py:1 slow")
    stalls.note(0.1, 0.3, "pbclient/b.py:2 busy")
    assert (stalls.count, stalls.longest, stalls.busy) == (2, 0.2, 0.1)
    assert str(stalls) == (
        "Event loop held up 2 times for more than 50 ms, at most 200 ms in pbclient/a.py:1 slow "
        "(100 ms of own work at most)."
    )


def test_place_is_the_innermost_call_of_ours() -> None:
    assert place(None) is None
    assert place(sys._getframe()).endswith("test_place_is_the_innermost_call_of_ours")
    found = []
    list(map(lambda _: found.append(place(sys._getframe())), [0]))
    assert found[0].startswith("tests/test_pbclient_cli_stalls.py:")


def test_a_step_that_works_too_long_is_seen() -> None:
    said: list[str] = []

    def busy() -> None:
        ends = time.thread_time() + 2 * LIMIT
        while time.thread_time() < ends:
            pass

    async def main() -> Stalls:
        with watching(said.append) as stalls:
            busy()
            await asyncio.sleep(0)
        return stalls

    stalls = asyncio.run(main())
    assert stalls.count == 1
    assert stalls.longest >= stalls.busy > LIMIT
    assert said == [str(stalls)]
    assert "in tests/test_pbclient_cli_stalls.py:" in said[0]


def test_nothing_is_left_running() -> None:
    async def main() -> None:
        with watching(lambda sentence: None):
            assert len(ticks()) == 1
        # A tick that was left would be the loop's only timer.
        assert not ticks()

    asyncio.run(main())


def ticks() -> list[asyncio.TimerHandle]:
    """The timers of the running loop."""
    timers: list[asyncio.TimerHandle] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return [each for each in timers if not each.cancelled()]


def test_the_start_of_the_watching_thread_is_no_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    due: list[int] = []

    async def main() -> None:
        monkeypatch.setattr(threading.Thread, "start", lambda thread: due.append(len(ticks())))
        with watching(lambda sentence: None):
            pass

    asyncio.run(main())
    assert due == [0]
