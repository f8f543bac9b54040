"""The episodes that several runs share, and what each run scored there.

Shared are those that all of the runs resolved, by data set, sample and repeat. Scores are taken as
they are recorded; whether a run's turns bear them out is for `pbclient score` to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pbclient.benchmark.package import MCQA, STEMS
from pbclient.compare.recorded import Recorded, in_order
from pbclient.errors import InputError
from pbclient.scores.oeg import FIGURES
from runs import Episode, Identity, identity

type Scores = tuple[int, ...]
type Repeats = Sequence[Sequence[Scores]]  # of one sample: repeat by repeat the scores of each run


@dataclass(frozen=True, slots=True)
class Metric:
    """What is compared: a share (shown in percent) or a mean; `place` is where in the scores it is."""

    name: str
    place: int
    share: bool

    @property
    def factor(self) -> int:
        return 100 if self.share else 1


_CHOICE = (Metric("acc", 0, share=True), Metric("ps", 1, share=False))
_OPEN = tuple(Metric(name, place, share=True) for place, name in enumerate(FIGURES))


@dataclass(frozen=True)
class Shared:
    """`runs` on the `episodes` that they share; `scores` and `unscored` count all that each run has."""

    runs: Sequence[Recorded]
    episodes: Sequence[Identity]
    scores: Sequence[Mapping[Identity, Scores]]
    unscored: Sequence[int]

    @property
    def figures(self) -> tuple[Metric, ...]:
        """What can be compared in runs of this mode."""
        return _CHOICE if self.runs[0].mode == MCQA else _OPEN

    def by_sample(self) -> dict[str, list[Repeats]]:
        """The scores sample by sample, for each data set."""
        found: dict[str, dict[str, list[list[Scores]]]] = {}
        for which in self.episodes:
            dataset, sample, _ = which
            found.setdefault(dataset, {}).setdefault(sample, []).append([own[which] for own in self.scores])
        return {name: list(found[name].values()) for name in STEMS if name in found}


def shared_episodes(runs: Sequence[Recorded]) -> Shared:
    """Read the runs and join them. Raises `InputError` where they share nothing or a line is damaged."""
    scored = [_scores(run) for run in runs]
    scores = [own for own, _ in scored]
    episodes = sorted(set.intersection(*(set(own) for own in scores)), key=in_order)
    if not episodes:
        counts = (f"{len(own)} in {run.path}" for run, own in zip(runs, scores, strict=True))
        raise InputError(f"No episode is resolved in all of these runs ({', '.join(counts)}).")
    return Shared(runs, episodes, scores, [unscored for _, unscored in scored])


def _scores(run: Recorded) -> tuple[dict[Identity, Scores], int]:
    """The scores of a run's episodes, and how many of them have none."""
    found: dict[Identity, Scores | None] = {}
    answered = False
    for episode in run.episodes():
        resolved = episode["outcome"] == "resolved"
        answered |= resolved
        found[identity(episode)] = _score(run.mode, episode) if resolved else None
    scores = {which: score for which, score in found.items() if score is not None}
    if answered and not scores:
        raise InputError(
            f"{run.path} holds answers without a verdict: `pbclient judge {run.path}` judges them."
        )
    return scores, len(found) - len(scores)


def _score(mode: str, episode: Episode) -> Scores | None:
    """The figures of a resolved episode, or None for an open-ended answer that nobody has judged yet."""
    if mode == MCQA:
        return int(episode["correct"]), episode["suggestions"]
    verdict = episode.get("verdict")
    return None if verdict is None else tuple(verdict[key] for key in FIGURES.values())
