"""`pbclient score RUN --reward`: the paper's post-training reward over the turns of a recorded run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pbclient.benchmark.package import OEG
from pbclient.errors import InputError
from pbclient.reward import RIGHT_CATEGORY, VALID_SUGGESTION
from pbclient.scores.checks import DATASETS
from pbclient.scores.figures import Figure, average, entry
from pbclient.scores.intervals import Interval, bootstrap_mean, bootstrap_ratio
from pbclient.scores.mcqa import Tally
from pbclient.scores.rescore import checked_episodes, read_run
from pbclient.scores.summary import mode_of

# Rewards are counted in quarters, so that their sums are exact.
_QUARTERS = 4
_RIGHT, _VALID = int(_QUARTERS * RIGHT_CATEGORY), int(_QUARTERS * VALID_SUGGESTION)

type Summary = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Rewards:
    """Of one data set: the mean over its turns, and the mean over its episodes of their sums."""

    episodes: int
    turns: int
    per_turn: Figure | None
    per_episode: Figure | None

    def entry(self) -> Summary:
        counts = {"episodes": self.episodes, "turns": self.turns}
        return {**counts, **entry("per_turn", self.per_turn), **entry("per_episode", self.per_episode)}


def recorded_rewards(path: Path) -> Summary:
    """The rewards of the run at `path`: by data set and averaged over them, with 95 % intervals.

    Only resolved episodes count. An episode is what is drawn again for the intervals, with all its
    turns. Raises `InputError` for an open-ended run, whose answers have no turns, and whatever
    `score_again` raises.
    """
    folder = read_run(path)
    if mode_of(folder.manifest) == OEG:
        raise InputError(f"{path} is an open-ended run: the reward is defined on turns of multiple choice.")
    tallies = {name: Tally.of(name, folder.manifest["config"]) for name in DATASETS}
    for episode in checked_episodes(folder):
        tallies[episode["dataset"]].add(episode)
    found = {name: _rewards(tally) for name, tally in tallies.items() if tally.shapes}
    return {"datasets": {name: each.entry() for name, each in found.items()}, "average": _averaged(found)}


def reward_lines(rewards: Summary) -> list[str]:
    """The same as lines for people."""
    rows = [("data set", "episodes", "turns", "reward a turn [95 % CI]", "reward an episode [95 % CI]")]
    entries = rewards["datasets"]
    totals = {key: sum(each[key] for each in entries.values()) for key in ("episodes", "turns")}
    for name, each in [*entries.items(), ("average", {**totals, **rewards["average"]})]:
        shown = (_shown(each, "per_turn"), _shown(each, "per_episode"))
        rows.append((name, str(each["episodes"]), str(each["turns"]), *shown))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]


def _shown(each: Mapping[str, Any], name: str) -> str:
    if each[name] is None:
        return "-"
    low, high = each[f"{name}_ci"]
    return f"{each[name]:.3f} [{low:.3f}, {high:.3f}]"


def _rewards(tally: Tally) -> _Rewards:
    pairs: Counter[tuple[int, int]] = Counter()  # quarters and turns of an episode
    for (_, shape), times in tally.shapes.items():
        pairs[_RIGHT * shape.right + _VALID * shape.accepted, shape.turns] += times
    sums: Counter[int] = Counter()
    for (quarters, _), times in pairs.items():
        sums[quarters] += times
    episodes, turns = pairs.total(), sum(turns * times for (_, turns), times in pairs.items())
    total, samples = sum(quarters * times for quarters, times in sums.items()), int(tally.samples())
    return _Rewards(
        episodes,
        turns,
        _estimate(total / turns, bootstrap_ratio(pairs, seed=tally.dataset, size=samples)),
        _estimate(total / episodes, bootstrap_mean(sums, seed=tally.dataset, size=samples)),
    )


def _estimate(quarters: float, interval: Interval | None) -> Figure | None:
    if interval is None:
        return None
    return quarters / _QUARTERS, (interval[0] / _QUARTERS, interval[1] / _QUARTERS)


def _averaged(found: Mapping[str, _Rewards]) -> Summary:
    return {
        **entry("per_turn", average(each.per_turn for each in found.values())),
        **entry("per_episode", average(each.per_episode for each in found.values())),
        "over": list(found),
    }
