"""A recorded run read once: its figures as `summary.json` has them, and what each episode scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pbclient.benchmark.conditions import Condition
from pbclient.benchmark.paper import AVERAGE, Found, paper
from pbclient.compare.recorded import Recorded, Scores, score_of
from pbclient.errors import InputError
from pbclient.scores.summary import Tally
from runs import Balance, Identity, identity


@dataclass(frozen=True, slots=True)
class RunFigures:
    """`entries` are those of a summary, by data set and under "average"; `samples` counts those with a score.

    `found` is what the paper has beside the run.
    """

    run: Recorded
    condition: Condition
    found: Found
    entries: Mapping[str, Mapping[str, Any]]
    scores: Mapping[Identity, Scores]
    samples: Mapping[str, int]

    @property
    def episodes(self) -> int:
        """How many the run is to have, as far as it is known."""
        return sum(entry["n"] for name, entry in self.entries.items() if name != AVERAGE)


def read_figures(run: Recorded) -> RunFigures:
    """Read all episodes of a run. Raises `InputError` for a damaged line."""
    tally = Tally(run.folder.manifest)
    scores: dict[Identity, Scores] = {}
    for episode in run.episodes():
        try:
            tally.add(episode)
        except InputError as error:
            raise InputError(f"{run.path}: {error}") from None
        if episode["outcome"] == "resolved" and (score := score_of(run.mode, episode)) is not None:
            scores[identity(episode)] = score
    summary = tally.summary(Balance())
    samples = Counter(dataset for dataset, _ in {(dataset, sample) for dataset, sample, _ in scores})
    return RunFigures(
        run=run,
        condition=Condition.of(run.config),
        found=paper().look_up(run.config),
        entries={**summary["datasets"], AVERAGE: summary["average"]},
        scores=scores,
        samples=samples,
    )
