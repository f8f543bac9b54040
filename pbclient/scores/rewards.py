"""`pbclient score RUN --reward`: the paper's post-training reward over the turns of a recorded run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from pbclient.benchmark.package import OEG
from pbclient.errors import InputError
from pbclient.reward import RIGHT_CATEGORY, VALID_SUGGESTION
from pbclient.scores.checks import DATASETS
from pbclient.scores.figures import Figure, average, entries
from pbclient.scores.intervals import Interval, bootstrap_mean, bootstrap_ratio
from pbclient.scores.mcqa import Tally
from pbclient.scores.rescore import checked_episodes, read_run
from pbclient.scores.summary import Summary, mode_of

# Rewards are counted in quarters, so that their sums are exact.
_QUARTERS = 4
_FIGURES = ("per_turn", "per_episode")
_RIGHT, _VALID = int(_QUARTERS * RIGHT_CATEGORY), int(_QUARTERS * VALID_SUGGESTION)


def recorded_rewards(path: Path) -> Summary:
    """The rewards of the run at `path`: by data set and averaged over them, with 95 % intervals.

    Only resolved episodes count. An episode is what is drawn again for the intervals, with all its
    turns. Raises `InputError` for an open-ended run, whose answers have no turns, and whatever
    `rescore_run` raises.
    """
    folder = read_run(path)
    if mode_of(folder.manifest) == OEG:
        raise InputError(f"{path} is an open-ended run: the reward is defined on turns of multiple choice.")
    tallies = {name: Tally.of(name, folder.manifest["config"]) for name in DATASETS}
    for episode in checked_episodes(folder):
        tallies[episode["dataset"]].add(episode)
    tallies = {name: tally for name, tally in tallies.items() if tally.trajectories}
    figures = {name: _figures(tally) for name, tally in tallies.items()}
    return {
        "datasets": {
            name: {
                "episodes": tally.trajectories.total(),
                "turns": sum(of.turns * times for (_, of), times in tally.trajectories.items()),
                **entries(figures[name]),
            }
            for name, tally in tallies.items()
        },
        "average": {
            **entries({key: average(of[key] for of in figures.values()) for key in _FIGURES}),
            "over": list(tallies),
        },
    }


def _figures(tally: Tally) -> Mapping[str, Figure | None]:
    """The mean over the turns of a data set, and the mean over its episodes of their sums."""
    pairs: Counter[tuple[int, int]] = Counter()  # quarters and turns of an episode
    sums: Counter[int] = Counter()
    for (_, trajectory), times in tally.trajectories.items():
        quarters = _RIGHT * trajectory.right + _VALID * trajectory.accepted
        pairs[quarters, trajectory.turns] += times
        sums[quarters] += times
    turns = sum(turns * times for (_, turns), times in pairs.items())
    total, samples = sum(quarters * times for quarters, times in sums.items()), int(tally.samples())
    per_turn = total / turns, bootstrap_ratio(pairs, seed=tally.dataset, size=samples)
    per_episode = total / pairs.total(), bootstrap_mean(sums, seed=tally.dataset, size=samples)
    return dict(zip(_FIGURES, (_in_ones(*per_turn), _in_ones(*per_episode)), strict=True))


def _in_ones(quarters: float, interval: Interval | None) -> Figure | None:
    if interval is None:
        return None
    return quarters / _QUARTERS, (interval[0] / _QUARTERS, interval[1] / _QUARTERS)
