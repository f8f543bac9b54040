"""Rare collections during a run, and afterwards as before."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from pbclient.collector import FAILURES, MIDDLE, NEVER, YOUNG, RareCollections


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


@pytest.mark.parametrize("tidy", [True, False])
def test_collections_come_less_often_and_full_ones_never_where_calls_are_tidy(tidy: bool) -> None:
    gc.set_threshold(700, 10, 12)
    with RareCollections(tidy=tidy):
        assert gc.get_threshold() == (YOUNG, MIDDLE, NEVER if tidy else 12)
    assert gc.get_threshold() == (700, 10, 12)


def test_who_wants_fewer_collections_has_fewer() -> None:
    gc.set_threshold(10 * YOUNG, 10 * MIDDLE, 12)
    with RareCollections(tidy=False):
        assert gc.get_threshold() == (10 * YOUNG, 10 * MIDDLE, 12)


def test_thresholds_come_back_after_an_error() -> None:
    gc.set_threshold(800, 11, 12)
    with pytest.raises(KeyError), RareCollections(tidy=True):
        raise KeyError
    assert gc.get_threshold() == (800, 11, 12)


def test_what_failed_attempts_leave_is_collected() -> None:
    class Left:
        def __init__(self) -> None:
            self.itself = self

    with RareCollections(tidy=True) as collections:
        left = Left()
        gc.collect(1)  # from here on it is old
        del left
        for _ in range(FAILURES - 1):
            collections.failed()
        assert any(type(each) is Left for each in gc.get_objects())
        collections.failed()
        assert not any(type(each) is Left for each in gc.get_objects())
