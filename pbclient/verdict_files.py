"""Where the verdicts of a run's judges are kept: the run's own in its episodes, any other's beside them.

RUN/judges/<name>.jsonl holds one line for each episode that another judge was put. Nothing is asked here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from cache import digest
from pbclient.judge import Judged
from pbclient.model import Model
from runs import Episodes, Identity, RunFolder, identity, replace_file

type Episode = dict[str, Any]


def own_judge(manifest: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The run's own judge, as `Model.described` says it: of the run command, or the first to judge later."""
    found: Mapping[str, Any] | None = manifest["config"].get("judge") or manifest.get("judge")
    return found


@dataclass
class Verdicts:
    """Those of one judge; `episodes` are those with an answer, `others` is None for the run's own judge."""

    folder: RunFolder
    model: Model
    episodes: Mapping[Identity, Episode]
    others: dict[Identity, Episode] | None

    @classmethod
    def of(cls, folder: RunFolder, model: Model) -> Self:
        """Of a run; a judge of a run that has none becomes its own when it writes."""
        episodes = {identity(each): each for each in Episodes(folder.episodes).read() if each.get("valid")}
        own = own_judge(folder.manifest)
        if own is None or own == model.described:
            return cls(folder, model, episodes, None)
        path = _file(folder, model)
        return cls(folder, model, episodes, {identity(each): each for each in Episodes(path).read()})

    def owed(self, *, only_failed: bool) -> Iterator[Episode]:
        """Recorded answers to be judged, each with this judge's last verdict on it."""
        for which, episode in self.episodes.items():
            last = episode if self.others is None else self.others.get(which, {})
            if not only_failed or last.get("outcome") not in (None, "resolved"):
                yield {**episode, "outcome": last.get("outcome"), "verdict": last.get("verdict")}

    def write(self, found: Mapping[Identity, Judged]) -> None:
        """Keep what was found; every other line stays as it is."""
        if self.others is None:
            if own_judge(self.folder.manifest) is None and found:
                self.folder.update(judge=self.model.described)
            Episodes(self.folder.episodes).replace(
                {which: _mended(self.episodes[which], each) for which, each in found.items()}
            )
            return
        lines = self.others | {which: beside(self.episodes[which], each) for which, each in found.items()}
        path = _file(self.folder, self.model)
        path.parent.mkdir(exist_ok=True)
        replace_file(path, (json.dumps(line).encode("ascii") + b"\n" for line in lines.values()))


def _file(folder: RunFolder, model: Model) -> Path:
    # Two judges may share a name and differ in their options.
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", model.title)[:80]
    return folder.path / "judges" / f"{name}-{digest(model.described)[:8]}.jsonl"


def _mended(episode: Episode, found: Judged) -> Episode:
    line = {name: value for name, value in episode.items() if name not in ("error", "turns", "verdict")}
    line |= {"outcome": found.outcome, "correct": found.correct, "suggestions": found.suggestions}
    error = {"error": found.error} if found.error else {}
    return {**line, **error, "verdict": found.verdict, "turns": episode["turns"]}


def beside(episode: Episode, found: Judged) -> Episode:
    """The line of a verdict that stands beside its episode."""
    line = {name: episode[name] for name in ("dataset", "sample", "repeat")}
    error = {"error": found.error} if found.error else {}
    return {**line, "outcome": found.outcome, **error, "verdict": found.verdict}
