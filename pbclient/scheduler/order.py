"""Order the episodes of a run: a seeded permutation in which every prefix is a fair sample.

Each data set is shuffled on its own and its samples are spread evenly over the whole run, so
a run that money or a hand stops early has seen every data set in proportion to its size.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pbclient.benchmark.open_ended import subset
from pbclient.benchmark.package import MCQA
from pbclient.config import RunConfig
from pbclient.data.folder import DataFolder, Sample
from pbclient.errors import InputError

MOST_EPISODES = 5_000_000  # the order of a run is kept in memory


@dataclass(frozen=True, slots=True)
class Order[T]:
    """(sample, repeat number) pairs; all first repeats come before any second one.

    A million of them take no more memory than the samples.
    """

    samples: tuple[T, ...]
    repeat: int

    def __len__(self) -> int:
        return len(self.samples) * self.repeat

    def __iter__(self) -> Iterator[tuple[T, int]]:
        return ((sample, number) for number in range(self.repeat) for sample in self.samples)


def seeded[T](samples: Mapping[str, Sequence[T]], *, seed: int, limit: int | None, repeat: int) -> Order[T]:
    """The order that this seed gives.

    `limit` keeps the first so many of each data set's own shuffled order: a larger limit
    keeps them all and adds to them.
    """
    placed: list[tuple[float, str, T]] = []
    for dataset, all_samples in samples.items():
        # A string seed is hashed by random itself with sha512: stable across processes and machines.
        rng = random.Random(f"{seed}/{dataset}")
        shuffled = list(all_samples)
        rng.shuffle(shuffled)
        chosen = shuffled[:limit]
        for number, sample in enumerate(chosen):
            placed.append(((number + rng.random()) / len(chosen), dataset, sample))
    placed.sort(key=lambda item: item[:2])
    return Order(tuple([sample for _, _, sample in placed]), repeat)


def order_of(config: RunConfig, data: DataFolder) -> Order[Sample]:
    """The order of a run. Raises `InputError` for more episodes than are kept in memory."""
    samples = sum(len(own[: config.limit]) for own in data.samples.values())
    if samples * config.repeat > MOST_EPISODES:
        raise InputError(
            f"--repeat {config.repeat} makes {samples * config.repeat:,} episodes; "
            f"a run takes up to {MOST_EPISODES:,}."
        )
    if config.mode == MCQA:
        return seeded(data.samples, seed=config.seed, limit=config.limit, repeat=config.repeat)
    chosen = {name: subset(samples, config.limit) for name, samples in data.samples.items()}
    return seeded(chosen, seed=config.seed, limit=None, repeat=config.repeat)
