from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pbclient.scheduler.plan import seeded

SAMPLES = st.dictionaries(
    st.sampled_from(["ROD", "VSOD", "MVP-N", "QD"]), st.integers(1, 60), min_size=1
).map(lambda sizes: {name: [f"{name}/{i}" for i in range(size)] for name, size in sizes.items()})


@given(SAMPLES, st.integers(), st.integers(1, 3))
def test_every_sample_comes_once_a_repeat_and_repeats_come_in_turn(samples, seed, repeat):
    found = seeded(samples, seed=seed, limit=None, repeat=repeat)
    order = list(found)
    everything = sorted(sample for found in samples.values() for sample in found)
    size = len(everything)
    assert len(found) == len(order) == size * repeat
    for number in range(repeat):
        part = order[number * size : (number + 1) * size]
        assert sorted(sample for sample, _ in part) == everything
        assert {given for _, given in part} == {number}


@given(SAMPLES, st.integers())
def test_every_prefix_holds_each_data_set_in_proportion(samples, seed):
    order = seeded(samples, seed=seed, limit=None, repeat=1)
    seen: Counter[str] = Counter()
    for place, (sample, _) in enumerate(order, start=1):
        seen[sample.split("/")[0]] += 1
        for name, found in samples.items():
            expected = place * len(found) / len(order)
            # Jitter within its own slot moves a data set by at most one sample, each of the others too.
            assert abs(seen[name] - expected) <= len(samples) + 1


@given(SAMPLES, st.integers(), st.integers(1, 20))
def test_a_larger_limit_keeps_what_a_smaller_one_took(samples, seed, limit):
    small = {sample for sample, _ in seeded(samples, seed=seed, limit=limit, repeat=1)}
    large = {sample for sample, _ in seeded(samples, seed=seed, limit=limit + 5, repeat=1)}
    assert small <= large
    assert len(small) == sum(min(limit, len(found)) for found in samples.values())


def test_the_order_is_fixed_by_the_seed_and_by_nothing_else():
    samples = {"ROD": list(range(8))}
    first = seeded(samples, seed=0, limit=None, repeat=1)
    assert first == seeded(samples, seed=0, limit=None, repeat=1)
    assert first != seeded(samples, seed=1, limit=None, repeat=1)
