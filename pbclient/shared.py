"""The episodes that several runs share, and what each run scored there.

Shared are those that all of the runs resolved, by data set, sample and repeat. Scores are taken as
they are recorded; whether a run's turns bear them out is for `pbclient score` to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pbclient.benchmark import STEMS
from pbclient.errors import InputError
from pbclient.recorded import MCQA, Recorded, in_order
from runs import Episode, Identity, identity

type Scores = tuple[int, ...]
type Repeats = Sequence[Sequence[Scores]]  # of one sample: repeat by repeat the scores of each run


@dataclass(frozen=True, slots=True)
class Figure:
    """What is compared: a share (shown in percent) or a mean; `place` is where in the scores it is."""

    name: str
    place: int
    share: bool

    @property
    def factor(self) -> int:
        return 100 if self.share else 1


_CHOICE = (Figure("acc", 0, share=True), Figure("ps", 1, share=False))
_OPEN = (Figure("acc", 0, share=True), Figure("ps", 1, share=True), Figure("agg", 2, share=True))


@dataclass(frozen=True)
class Shared:
    """`runs` on the `episodes` that they share; `scores` and `unscored` count all that each run has."""

    runs: Sequence[Recorded]
    episodes: Sequence[Identity]
    scores: Sequence[Mapping[Identity, Scores]]
    unscored: Sequence[int]

    @property
    def figures(self) -> tuple[Figure, ...]:
        """What can be compared in runs of this mode."""
        return _CHOICE if self.runs[0].mode == MCQA else _OPEN

    def by_sample(self) -> dict[str, list[Repeats]]:
        """The scores sample by sample, for each data set."""
        found: dict[str, dict[str, list[list[Scores]]]] = {}
        for which in self.episodes:
            dataset, sample, _ = which
            found.setdefault(dataset, {}).setdefault(sample, []).append([own[which] for own in self.scores])
        return {name: list(found[name].values()) for name in STEMS if name in found}


def share(runs: Sequence[Recorded]) -> Shared:
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
        # Where a line is there twice, the last one counts.
        found[identity(episode)] = _score(run, episode) if resolved else None
    scores = {which: score for which, score in found.items() if score is not None}
    if answered and not scores:
        raise InputError(
            f"{run.path} holds answers without a verdict: `pbclient judge {run.path}` judges them."
        )
    return scores, len(found) - len(scores)


def _score(run: Recorded, episode: Episode) -> Scores | None:
    """The figures of a resolved episode, or None for an open-ended answer that nobody has judged yet."""
    if run.mode == MCQA:
        return _whole(run, episode, "correct", 1), _whole(run, episode, "suggestions", None)
    if episode.get("correct") is None:
        return None
    verdict = episode.get("verdict")
    judged: Mapping[str, Any] = verdict if isinstance(verdict, dict) else {}
    figures = {**episode, "aggregate": judged.get("aggregate")}
    return tuple(_whole(run, figures, key, 1) for key in ("correct", "suggestions", "aggregate"))


def _whole(run: Recorded, episode: Mapping[str, Any], key: str, most: int | None) -> int:
    value = episode.get(key)
    if not isinstance(value, int) or value < 0 or (most is not None and value > most):
        raise run.damaged(episode, key)
    return int(value)
