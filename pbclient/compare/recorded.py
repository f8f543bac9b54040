"""Recorded runs side by side: their data, configurations, and the episodes they have in common.

Read only: no lock, no call, no images. Scores are taken as they are recorded; whether a run's turns
bear them out is for `pbclient score` to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from pbclient.benchmark.package import MCQA, OEG, STEMS
from pbclient.benchmark.protocol import STRICT
from pbclient.errors import InputError
from pbclient.scores import mcqa, oeg
from pbclient.scores.checks import check
from pbclient.scores.summary import mode_of
from runs import Episode, Episodes, Identity, RunFolder, identity

# Two names and a minus between them leave room for the other columns of a table of 80.
_TWO_NAMES = 18
_ORDER = {name: index for index, name in enumerate(STEMS)}

type Scores = tuple[int, ...]
type Repeats = Sequence[Sequence[Scores]]  # of one sample: repeat by repeat the scores of each run


@dataclass(frozen=True, slots=True)
class Recorded:
    """One run that is read; `label` is its name where runs stand side by side."""

    label: str
    folder: RunFolder

    @property
    def path(self) -> Path:
        return self.folder.path

    @property
    def config(self) -> Mapping[str, Any]:
        """What defines the run; its judge may have been named after it."""
        manifest = self.folder.manifest
        config: dict[str, Any] = manifest["config"]
        return {**config, "judge": config.get("judge") or manifest.get("judge")}

    @property
    def data(self) -> Mapping[str, Any]:
        """Digests of its data; before there were sources a run had one, of what it played."""
        data = self.folder.manifest.get("data")
        return data if isinstance(data, dict) else {"digest": data}

    @property
    def mode(self) -> str:
        return mode_of(self.folder.manifest)

    def episodes(self) -> Iterator[Episode]:
        """Its episodes, as recorded. Raises `InputError` for a damaged one."""
        checks = (oeg if self.mode == OEG else mcqa).CHECKS
        for episode in Episodes(self.folder.episodes).read():
            try:
                check(episode, checks)
            except InputError as error:
                raise InputError(f"{self.path}: {error}") from None
            yield episode


def read_runs(paths: Sequence[Path]) -> list[Recorded]:
    """The runs in these folders, named by them, or lettered where that is too long or says too little.

    Raises `InputError` or `runs.RunError`.
    """
    if len(paths) > len(ascii_uppercase):
        raise InputError(f"{len(paths)} runs are too many: name at most {len(ascii_uppercase)}.")
    resolved = [path.resolve() for path in paths]
    for number, path in enumerate(paths):
        if resolved[number] in resolved[:number]:
            raise InputError(f"{path} is named twice: name each run once.")
    names = _shortened([path.name for path in resolved])
    named = len(set(names)) == len(names) and sum(sorted(map(len, names))[-2:]) <= _TWO_NAMES
    labels = names if named else ascii_uppercase
    return [Recorded(label, RunFolder.read(path)) for label, path in zip(labels, paths, strict=False)]


def _shortened(names: list[str]) -> list[str]:
    """Without the words that all of them begin with, which tell nothing apart."""
    words = [name.split("-") for name in names]
    columns = zip(*words, strict=False) if len(names) > 1 else ()
    common = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
    return ["-".join(each[min(common, len(each) - 1) :]) for each in words]


def other_data(runs: Sequence[Recorded], datasets: Sequence[str], *, force: bool) -> list[str]:
    """Those of `datasets` whose samples are not known to be the same in all runs.

    Raises `InputError` when there are such data sets, unless forced.
    """
    if len({str(run.data.get("digest")) for run in runs}) == 1:
        return []
    by_name = [run.data.get("sources") for run in runs]
    sources: list[Mapping[str, Any]] = [each if isinstance(each, dict) else {} for each in by_name]
    different = [
        name
        for name in datasets
        if len({str(source.get(name, number)) for number, source in enumerate(sources)}) > 1
    ]
    if different and not force:
        *most, last = (str(run.path) for run in runs)
        raise InputError(
            f"The data of {', '.join(different)} are not known to be the same in {', '.join(most)} "
            f"and {last}: name runs of the same data, or match samples by their ids alone with --force."
        )
    return different


def config_differences(runs: Sequence[Recorded]) -> dict[str, list[Any]]:
    """Option -> its value in each run, for those that are not the same in all; absent ones are null."""
    # A run of before there were two protocols was played by the one there was.
    flat = [{"protocol": STRICT, **dict(_flat(run.config))} for run in runs]
    options = dict.fromkeys(option for config in flat for option in config)
    values = {option: [config.get(option) for config in flat] for option in options}
    return {option: row for option, row in values.items() if any(value != row[0] for value in row)}


def _flat(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def in_order(sample: tuple[Any, ...]) -> tuple[Any, ...]:
    """A key that sorts (dataset, sample, ...) as people count: data sets in table order, ids as numbers."""
    dataset, name, *rest = sample
    return _ORDER[dataset], (not name.isdecimal(), len(name) if name.isdecimal() else 0, name), *rest


@dataclass(frozen=True)
class CommonEpisodes:
    """The `episodes` that all `runs` resolved; `scores` and `unscored` count all that each run has."""

    runs: Sequence[Recorded]
    episodes: Sequence[Identity]
    scores: Sequence[Mapping[Identity, Scores]]
    unscored: Sequence[int]

    @classmethod
    def of(cls, runs: Sequence[Recorded]) -> CommonEpisodes:
        """Read the runs. Raises `InputError` where they have nothing in common or a line is damaged."""
        first = runs[0]
        for other in runs[1:]:
            if other.mode != first.mode:
                raise InputError(
                    f"{first.path} is a run of --mode {first.mode} and {other.path} one of --mode "
                    f"{other.mode}, whose figures are not the same thing: name runs of one mode."
                )
        scored = [_scores(run) for run in runs]
        scores = [by_episode for by_episode, _ in scored]
        episodes = sorted(set.intersection(*map(set, scores)), key=in_order)
        if not episodes:
            counts = (f"{len(of)} in {run.path}" for run, of in zip(runs, scores, strict=True))
            raise InputError(f"No episode is resolved in all of these runs ({', '.join(counts)}).")
        return cls(runs, episodes, scores, [unscored for _, unscored in scored])

    def by_sample(self) -> dict[str, list[Repeats]]:
        """The scores sample by sample, for each data set."""
        samples: dict[str, dict[str, list[list[Scores]]]] = {}
        for which in self.episodes:
            dataset, sample, _ = which
            repeats = samples.setdefault(dataset, {}).setdefault(sample, [])
            repeats.append([scores[which] for scores in self.scores])
        return {name: list(samples[name].values()) for name in STEMS if name in samples}


def score_of(mode: str, episode: Episode) -> Scores | None:
    """What a resolved episode counts: (correct, suggestions), or the verdict's figures where there is one."""
    if mode == MCQA:
        return int(episode["correct"]), episode["suggestions"]
    verdict = episode.get("verdict")
    return None if verdict is None else tuple(verdict[key] for key in oeg.FIGURES.values())


def _scores(run: Recorded) -> tuple[dict[Identity, Scores], int]:
    """The scores of a run's episodes, and how many of them have none."""
    scores: dict[Identity, Scores] = {}
    mode, episodes, answered = run.mode, 0, False
    for episode in run.episodes():
        episodes += 1
        if episode["outcome"] != "resolved":
            continue
        answered = True
        score = score_of(mode, episode)
        if score is not None:
            scores[identity(episode)] = score
    if answered and not scores:
        raise InputError(
            f"{run.path} holds answers without a verdict: `pbclient judge {run.path}` judges them."
        )
    return scores, episodes - len(scores)
