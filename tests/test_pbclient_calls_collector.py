"""Rare collections during a run, and afterwards as before."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from pbclient.calls.process import A_CALL, SELDOM, TIDY, RareCollections


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


@pytest.mark.parametrize(("tidy", "young"), [(True, TIDY + 5000 * A_CALL), (False, SELDOM)])
def test_young_objects_are_looked_at_less_often(tidy: bool, young: int) -> None:
    gc.set_threshold(700, 10, 12)
    with RareCollections(tidy=tidy, calls=5000):
        assert gc.get_threshold() == (young, 10, 12)
    assert gc.get_threshold() == (700, 10, 12)


@pytest.mark.parametrize("own", [0, 10 * TIDY])
def test_who_wants_fewer_collections_has_fewer(own: int) -> None:
    gc.set_threshold(own, 10, 12)
    with RareCollections(tidy=True, calls=64):
        assert gc.get_threshold() == (own, 10, 12)


def test_thresholds_come_back_after_an_error() -> None:
    gc.set_threshold(800, 11, 12)
    with pytest.raises(KeyError), RareCollections(tidy=True, calls=64):
        raise KeyError
    assert gc.get_threshold() == (800, 11, 12)
