"""Recorded runs side by side: their mode, their data and what their configurations differ in.

Read only: no lock, no call, no images. What is made of the episodes is the business of `compare`
and `filtering`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from pbclient.benchmark.package import MCQA, OEG, STEMS
from pbclient.errors import InputError
from pbclient.scores import mcqa as mcqa_scores
from pbclient.scores import oeg as oeg_scores
from pbclient.scores.checks import check
from runs import Episode, Episodes, RunFolder

_PLACES = {name: place for place, name in enumerate(STEMS)}


@dataclass(frozen=True, slots=True)
class Recorded:
    """One run that is read; `label` is its letter where runs stand side by side."""

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
    def mode(self) -> str:
        return str(self.config.get("mode", MCQA))

    def episodes(self) -> Iterator[Episode]:
        """Its episodes, as recorded. Raises `InputError` for a damaged one."""
        for episode in Episodes(self.folder.episodes).read():
            try:
                check(episode, (oeg_scores if self.mode == OEG else mcqa_scores).CHECKS)
            except InputError as error:
                raise InputError(f"{self.path}: {error}") from None
            yield episode


def read_runs(paths: Sequence[Path]) -> list[Recorded]:
    """The runs in these folders, lettered in their order. Raises `InputError` or `runs.RunError`."""
    if len(paths) > len(ascii_uppercase):
        raise InputError(f"{len(paths)} runs are too many: name at most {len(ascii_uppercase)}.")
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise InputError(f"{path} is named twice: name each run once.")
        seen.add(path.resolve())
    folders = map(RunFolder.read, paths)
    return [Recorded(label, folder) for label, folder in zip(ascii_uppercase, folders, strict=False)]


def refuse_mixed_modes(runs: Sequence[Recorded]) -> None:
    """Raises `InputError` when some were asked to choose and others to answer freely."""
    first = runs[0]
    for other in runs[1:]:
        if other.mode != first.mode:
            raise InputError(
                f"{first.path} is a run of --mode {first.mode} and {other.path} one of --mode {other.mode}, "
                "whose figures are not the same thing: name runs of one mode."
            )


def other_data(runs: Sequence[Recorded], datasets: Sequence[str]) -> list[str]:
    """Those of `datasets` whose samples are not known to be the same in all runs."""
    described = [_described(run) for run in runs]
    if len({digest for digest, _ in described}) == 1:
        return []
    sources = [
        {str(found.get(name, number)) for number, (_, found) in enumerate(described)} for name in datasets
    ]
    return [name for name, found in zip(datasets, sources, strict=True) if len(found) > 1]


def refuse_other_data(runs: Sequence[Recorded], names: Sequence[str]) -> None:
    """Raises `InputError` when `names` says that there are such data sets."""
    if names:
        raise InputError(
            f"The data of {', '.join(names)} are not known to be the same in {_list(runs)}: "
            "name runs of the same data, or match samples by their ids alone with --force."
        )


def _described(run: Recorded) -> tuple[str, Mapping[str, Any]]:
    # Runs from before there were sources have a digest of what they played, and nothing else.
    data = run.folder.manifest.get("data")
    if not isinstance(data, dict):
        return str(data), {}
    sources = data.get("sources")
    return str(data.get("digest")), sources if isinstance(sources, dict) else {}


def _list(runs: Sequence[Recorded]) -> str:
    *most, last = (str(run.path) for run in runs)
    return f"{', '.join(most)} and {last}"


def config_differences(runs: Sequence[Recorded]) -> dict[str, list[Any]]:
    """Option -> its value in each run, for those that are not the same in all; absent ones are null."""
    flat = [dict(_flat(run.config)) for run in runs]
    names = dict.fromkeys(name for config in flat for name in config)
    values = {name: [config.get(name) for config in flat] for name in names}
    return {name: found for name, found in values.items() if any(value != found[0] for value in found)}


def _flat(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def in_order(sample: tuple[Any, ...]) -> tuple[Any, ...]:
    """A key that sorts (dataset, sample, ...) as people count: data sets in table order, ids as numbers."""
    dataset, name, *rest = sample
    return _PLACES[dataset], (not name.isdecimal(), len(name) if name.isdecimal() else 0, name), *rest
