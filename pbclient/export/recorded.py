"""A recorded run as every export takes it: held against its own turns, and fit to be handed on.

Texts are valid Unicode, numbers finite. No place on the machine that played leaves it: of a path and of
a file's name as a model only the last part is kept, of an address no user and password, of the options
only those that say how a model samples. A run is named by its random id: its folder may be anybody's name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pbclient.benchmark.package import OEG
from pbclient.episodes.rules import Rules
from pbclient.scores.rescore import checked_episodes, judge_lines
from pbclient.scores.summary import Summary, mode_of, summarize
from runs import Balance, Episode, RunFolder

# Who asked may stand in `user` or `metadata`.
_SAMPLING = frozenset(
    {"temperature", "top_p", "top_k", "min_p", "max_tokens", "seed", "stop", "presence_penalty"}
    | {"frequency_penalty", "repetition_penalty", "reasoning_effort"}
)
_HALF = re.compile("[\ud800-\udfff]")
_USER = re.compile(r"""[^\s/'"(<]+@(?=[\w\[])""")
# From a slash that begins a path to the last one before the sentence has a colon, quote or line of its own:
# a folder's name may hold spaces. A drive's letter begins one too.
_PATH = re.compile(r"""(?<![\w./:<\\])(?:[A-Za-z]:[\\/]|~?/)(?:[^:'"\n]*[\\/])?(?=[^\s])""")
_A_FILE = re.compile(r"[/~.\\]|[A-Za-z]:[\\/]|file:")


@dataclass(frozen=True)
class RecordedRun:
    """A run that is only read."""

    folder: RunFolder

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises `runs.RunError` where there is no run."""
        return cls(RunFolder.read(path))

    @property
    def id(self) -> str:
        return str(self.folder.manifest.get("id") or "unknown")

    @property
    def created(self) -> str:
        """When it was begun, in ISO 8601."""
        return str(self.folder.manifest.get("created") or "1970-01-01T00:00:00+00:00")

    @property
    def config(self) -> Mapping[str, Any]:
        config: Mapping[str, Any] = self.folder.manifest["config"]
        return config

    @property
    def mode(self) -> str:
        return mode_of(self.folder.manifest)

    @property
    def open_ended(self) -> bool:
        return self.mode == OEG

    @property
    def provider(self) -> str:
        return str(shareable(self.config.get("provider") or "unknown"))

    @property
    def model(self) -> str:
        return model_name(str(self.config.get("model") or "unknown"))

    @property
    def judge(self) -> str | None:
        judge = self.config.get("judge") or self.folder.manifest.get("judge")
        return model_name(str(judge.get("model"))) if isinstance(judge, Mapping) else None

    @property
    def condition(self) -> str:
        """The paper's conditions that it was played under, by their words; empty for the plain question."""
        return " ".join(Rules.of(self.config).words)

    @property
    def params(self) -> dict[str, Any]:
        """The options that say how the model samples."""
        params = self.config.get("params")
        known = params if isinstance(params, Mapping) else {}
        return {name: shareable(value) for name, value in known.items() if name in _SAMPLING}

    @property
    def versions(self) -> dict[str, str]:
        versions = self.folder.manifest.get("versions")
        return {str(name): str(version) for name, version in versions.items()} if versions else {}

    def episodes(self) -> Iterator[Episode]:
        """Its episodes in the order in which they ended, one in memory at a time.

        Raises `InputError` for one that contradicts its own turns.
        """
        for episode in checked_episodes(self.folder):
            yield _fit(episode)

    def summary(self) -> Summary:
        """Its figures, as `pbclient score` makes them."""
        return summarize(
            self.folder.manifest,
            checked_episodes(self.folder),
            Balance.read(self.folder.ledger),
            judge_lines(self.folder.path),
            limit=(self.folder.manifest.get("settings") or {}).get("max_cost"),
        )


def model_name(name: str) -> str:
    """A model as it may be named elsewhere: of a file or folder on this machine the last part."""
    name = str(shareable(name))
    return re.split(r"[\\/]", name.rstrip("/\\"))[-1] or "unknown" if _A_FILE.match(name) else name


def shareable(value: Any) -> Any:
    """A value out of a run folder without halves of surrogate pairs and numbers that are none."""
    match value:
        case str():
            return _HALF.sub("\ufffd", value)
        case float():
            return value if math.isfinite(value) else None
        case list():
            return [shareable(each) for each in value]
        case Mapping():
            return {str(shareable(name)): shareable(each) for name, each in value.items()}
    return value


def without_places(sentence: str) -> str:
    """A sentence of ours without folders of this machine, and without the user of an address."""
    return _PATH.sub("", _USER.sub("", sentence))


def _fit(episode: Episode) -> Episode:
    fit: Episode = shareable(episode)
    if fit.get("error"):
        fit["error"] = without_places(str(fit["error"]))
    for turn in fit["turns"]:
        if isinstance(turn.get("image"), str):
            turn["image"] = without_places(turn["image"])
        if isinstance(turn.get("model"), str):
            turn["model"] = model_name(turn["model"])
    if isinstance(verdict := fit.get("verdict"), dict):
        verdict["judge"] = model_name(str(verdict.get("judge")))
    return fit
