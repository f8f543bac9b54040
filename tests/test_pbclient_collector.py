"""No full collections during a run but for what failed, and afterwards as before."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from pbclient.collector import FAILURES, NEVER, RareCollections


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_only_full_collections_come_less_often() -> None:
    before = gc.get_threshold()
    with RareCollections():
        assert gc.get_threshold() == (*before[:2], NEVER)
    assert gc.get_threshold() == before


def test_thresholds_come_back_after_an_error() -> None:
    gc.set_threshold(800, 11, 12)
    with pytest.raises(KeyError), RareCollections():
        raise KeyError
    assert gc.get_threshold() == (800, 11, 12)


def test_what_failed_attempts_leave_is_collected() -> None:
    class Left:
        def __init__(self) -> None:
            self.itself = self

    with RareCollections() as collections:
        left = Left()
        gc.collect(1)  # from here on it is old
        del left
        for _ in range(FAILURES - 1):
            collections.failed()
        assert any(type(each) is Left for each in gc.get_objects())
        collections.failed()
        assert not any(type(each) is Left for each in gc.get_objects())
