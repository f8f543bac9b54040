"""Open files, no more calls than they allow; rare collections during a run, and afterwards as before."""

from __future__ import annotations

import gc
import resource
from collections.abc import Iterator

import pytest

from pbclient.calls.process import A_CALL, OTHERS, SELDOM, TIDY, rare_collections, room_for

UNLIMITED = resource.RLIM_INFINITY


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The limits that the system has; the last is the present one."""
    made = [(1000, 1000)]

    def set_limit(_: int, wanted: tuple[int, int]) -> None:
        if made[-1][1] != UNLIMITED and wanted[0] > made[-1][1]:
            raise ValueError("not allowed to raise maximum limit")
        if wanted[0] > 100_000:
            raise OSError("more than this system has")
        made.append(wanted)

    monkeypatch.setattr(resource, "getrlimit", lambda _: made[-1])
    monkeypatch.setattr(resource, "setrlimit", set_limit)
    return made


@pytest.mark.parametrize(
    ("now", "calls", "each", "room", "then"),
    [
        ((1000, 1000), 64, 1, 64, 1000),
        ((256, 4096), 1000, 1, 1000, 1000 + OTHERS),
        ((256, 4096), 1000, 2, 1000, 2000 + OTHERS),
        ((256, 1100), 5000, 1, 1000, 1100),
        ((256, 1100), 5000, 2, 500, 1100),
        ((256, UNLIMITED), 5000, 1, 5000, 5000 + OTHERS),
        ((256, UNLIMITED), 200_000, 1, 256 - OTHERS, 256),
        ((UNLIMITED, UNLIMITED), 200_000, 1, 200_000, UNLIMITED),
        ((50, 50), 64, 1, 1, 50),
    ],
)
def test_room(limits, now, calls, each, room, then):
    limits.append(now)
    said = []
    assert room_for(calls, said.append, each) == room
    assert limits[-1][0] == then
    assert len(said) == (room < calls)
    if said:
        assert f"--concurrency {calls} is lowered to {room}" in said[0]


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


@pytest.mark.parametrize(("tidy", "young"), [(True, TIDY + 5000 * A_CALL), (False, SELDOM)])
def test_young_objects_are_looked_at_less_often(tidy: bool, young: int) -> None:
    gc.set_threshold(700, 10, 12)
    with rare_collections(tidy=tidy, calls=5000):
        assert gc.get_threshold() == (young, 10, 12)
    assert gc.get_threshold() == (700, 10, 12)


@pytest.mark.parametrize("own", [0, 10 * TIDY])
def test_who_wants_fewer_collections_has_fewer(own: int) -> None:
    gc.set_threshold(own, 10, 12)
    with rare_collections(tidy=True, calls=64):
        assert gc.get_threshold() == (own, 10, 12)


def test_thresholds_come_back_after_an_error() -> None:
    gc.set_threshold(800, 11, 12)
    with pytest.raises(KeyError), rare_collections(tidy=True, calls=64):
        raise KeyError
    assert gc.get_threshold() == (800, 11, 12)
