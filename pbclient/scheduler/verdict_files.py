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
from pbclient.episodes.judge import Judged, Question
from pbclient.errors import InputError
from pbclient.models.model import Model
from pbclient.money.prices import describe
from pbclient.scores.checks import are_two_texts, damaged
from pbclient.scores.rescore import checked_episodes, checked_verdicts
from runs import Episode, Episodes, Identity, RunFolder, identity, replace_file


def own_judge(manifest: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The run's own judge, as `Model.described` says it: of the run command, or the first to judge later.

    Raises `InputError` for a manifest that says what no judge is.
    """
    judge: Any = manifest["config"].get("judge") or manifest.get("judge")
    if judge is None:
        return None
    if (
        isinstance(judge, Mapping)
        and all(isinstance(judge.get(name), str) for name in ("provider", "model"))
        and isinstance(judge.get("params"), Mapping)
        and isinstance(manifest.get("judge_prices"), Mapping | None)
    ):
        return judge
    raise InputError("The run.json is damaged (its judge is none): put it back from a copy.")


@dataclass(frozen=True, slots=True)
class Owed:
    """A recorded answer to be judged; `last` is the line with this judge's last word on it, or empty."""

    which: Identity
    question: Question
    last: Mapping[str, Any]

    @property
    def earlier(self) -> list[Any]:
        """The recorded calls before the one to be made: that which gave the verdict, or the next."""
        calls = list((self.last.get("verdict") or {}).get("turns", ()))
        return calls if _failed(self.last) else calls[:-1]


@dataclass
class Verdicts:
    """Those of one judge; `episodes` are those with an answer, `others` is None for the run's own judge."""

    folder: RunFolder
    model: Model
    episodes: Mapping[Identity, Episode]
    others: Mapping[Identity, Episode] | None

    @classmethod
    def of(cls, folder: RunFolder, model: Model) -> Self:
        """Of a run; a judge of a run that has none becomes its own when it writes.

        Raises `InputError` for a line that is not what was recorded: nothing is bought on its word.
        """
        episodes = {
            identity(episode): episode for episode in checked_episodes(folder) if episode.get("valid")
        }
        own = own_judge(folder.manifest)
        if own is None or own == model.described:
            return cls(folder, model, episodes, None)
        lines = checked_verdicts(_file(folder, model))
        return cls(folder, model, episodes, {identity(line): line for line in lines})

    @classmethod
    def has_any(cls, folder: RunFolder, model: Model) -> bool:
        """Whether this judge, with these very options, is one of the run's."""
        return own_judge(folder.manifest) == model.described or _file(folder, model).exists()

    @property
    def recorded(self) -> Mapping[Identity, Episode]:
        """The lines in which this judge's verdicts stand, if there are any."""
        return self.episodes if self.others is None else self.others

    @property
    def begun(self) -> bool:
        """Whether this judge is one of the run's."""
        return own_judge(self.folder.manifest) is not None if self.others is None else bool(self.others)

    def owed(self, *, only_failed: bool) -> Iterator[Owed]:
        """Recorded answers to be judged. Raises `InputError` when none can have failed, or for damage."""
        if only_failed and not self.begun:
            raise InputError(
                f"{self.model.title} has judged nothing of this run yet: leave --only-failed out, or leave "
                "--judge-provider out to ask the run's own judge again."
            )
        for which, episode in self.episodes.items():
            last = self.recorded.get(which, {})
            if _failed(last) or not only_failed:
                yield Owed(which, _question(episode), last)

    def write(self, judged: Mapping[Identity, Judged]) -> None:
        """Keep what was judged; every other line stays as it is.

        A verdict gives way to another verdict only. A new judge that could not be asked at all leaves
        nothing: perhaps its name was a slip.
        """
        if not self.begun and not any(result.verdict["turns"] for result in judged.values()):
            return
        news = {which: result for which, result in judged.items() if self._is_news(which, result)}
        if self.others is not None:
            lines = {**self.others, **{which: beside(which, result) for which, result in news.items()}}
            path = _file(self.folder, self.model)
            path.parent.mkdir(exist_ok=True)
            replace_file(path, (json.dumps(line).encode("ascii") + b"\n" for line in lines.values()))
            return
        if not self.begun:
            self.folder.update(judge=self.model.described, judge_prices=describe(self.model.price))
        mended = {which: _mended(self.episodes[which], result) for which, result in news.items()}
        Episodes(self.folder.episodes).replace(mended)

    def _is_news(self, which: Identity, judged: Judged) -> bool:
        last = self.recorded.get(which, {})
        if _failed(last):
            return True
        # Read again out of the cache it would only lose what it cost.
        return judged.outcome == "resolved" and _answers(judged.verdict) != _answers(last["verdict"])


def _question(episode: Episode) -> Question:
    """What a judge is asked of an episode with an answer. Raises `InputError` for a damaged one."""
    valid, turns = episode.get("valid"), episode["turns"]
    if not are_two_texts(valid):
        raise damaged(episode, "valid")
    prompt, answer = (turns[0].get(key) if turns else None for key in ("prompt", "answer"))
    if not isinstance(prompt, str) or not isinstance(answer, str):
        raise damaged(episode, "turns")
    return Question(episode["dataset"], prompt, (valid[0], valid[1]), answer)


def _failed(last: Mapping[str, Any]) -> bool:
    return last.get("outcome") != "resolved" or last.get("verdict") is None


def _answers(verdict: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    return [(call.get("key"), call.get("answer")) for call in verdict["turns"]]


def _file(folder: RunFolder, model: Model) -> Path:
    # Two judges may share a name and differ in their options.
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", model.title)[:80]
    return folder.path / "judges" / f"{name}-{digest(model.described)[:8]}.jsonl"


def _mended(episode: Episode, judged: Judged) -> Episode:
    line = {name: value for name, value in episode.items() if name not in ("error", "turns", "verdict")}
    line |= {"correct": judged.correct, "suggestions": judged.suggestions, **_result(judged)}
    return {**line, "turns": episode["turns"]}


def beside(which: Identity, judged: Judged) -> Episode:
    """The line of a verdict that stands beside its episode."""
    dataset, sample, repeat = which
    return {"dataset": dataset, "sample": sample, "repeat": repeat, **_result(judged)}


def _result(judged: Judged) -> dict[str, Any]:
    error = {"error": judged.error} if judged.error else {}
    return {"outcome": judged.outcome, **error, "verdict": judged.verdict}
