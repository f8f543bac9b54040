"""Judge the recorded open-ended answers of a run, by any model, at any time: `pbclient judge`.

The run's own judge mends its verdicts in episodes.jsonl, and the first judge of a run that was only
recorded becomes its own. Every other judge gets a file beside it, RUN/judges/<name>.jsonl with a line for
each episode that it was put, so that judges can be compared. The money is the run's: one ledger, one limit.
Nothing of the model under test is asked.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from cache import digest
from pbclient.benchmark.open_ended import MANY
from pbclient.benchmark.package import OEG
from pbclient.benchmark.protocol import STRICT
from pbclient.calls.cached import answers_folder
from pbclient.calls.process import room_for
from pbclient.calls.stack import Limits, open_stack
from pbclient.config import AS_THE_RUN, DEFAULT_MAX_COST, JudgeConfig
from pbclient.episodes.judge import Judged, Question
from pbclient.episodes.turns import judged_again
from pbclient.errors import InputError
from pbclient.models.choice import LITELLM, judge_named
from pbclient.models.engines import LOCAL
from pbclient.models.model import THOUGHT, Model, default_max_tokens, resolve
from pbclient.money.amounts import picodollars_down
from pbclient.money.prices import describe, stated_in
from pbclient.progress import Progress
from pbclient.scheduler.evaluate import RunResult
from pbclient.scheduler.workers import Interrupts, work
from pbclient.scores.checks import are_two_texts, damaged
from pbclient.scores.rescore import checked_episodes, checked_verdicts, rescore_run
from runs import Episode, Episodes, Identity, RunFolder, identity, replace_file


@dataclass(frozen=True)
class Rejudged(RunResult):
    """How judging ended: `planned` answers were put to `judge`, and `verdicts` counts how each ended.

    `beside` is its name among the summary's judges, or empty for the run's own.
    """

    judge: str = ""
    beside: str = ""
    verdicts: Mapping[str, int] = field(default_factory=dict)

    @property
    def outcomes(self) -> dict[str, int]:
        """How many answers ended how: `resolved` with a verdict."""
        return dict(self.verdicts)


async def rejudge(
    path: Path, config: JudgeConfig, *, progress: Progress | None = None, interrupts: Interrupts | None = None
) -> Rejudged:
    """Judge the recorded answers of the run at `path`.

    Raises `InputError` for bad input and `runs.RunError` for a folder that cannot be used.
    """
    progress, interrupts = progress or Progress(), interrupts or Interrupts()
    model = _judge(RunFolder.read(path), config, progress)
    with RunFolder.start(path, RunFolder.read(path).manifest) as folder:
        verdicts = Verdicts.of(folder, model)
        if verdicts.others is None and folder.manifest["config"].get("turns") == MANY:
            raise InputError(
                f"{model.title} is the judge by whose verdicts the episodes of this run go on: the same "
                "`pbclient run` command asks it again; name another with --judge-provider."
            )
        owed = list(verdicts.owed(only_failed=config.only_failed))
        judged, unusable = await _judge_all(verdicts, owed, config, progress, interrupts)
        verdicts.write(judged)
        summary = rescore_run(path)
    reasons = tuple(progress.reasons.most_common())
    outcomes = Counter(verdict.outcome for verdict in judged.values())
    stopped = interrupts.count > 0
    beside_own = "" if verdicts.others is None else _file(folder, model).stem
    return Rejudged(path, summary, stopped, unusable, len(owed), reasons, model.title, beside_own, outcomes)


def _judge(folder: RunFolder, config: JudgeConfig, progress: Progress) -> Model:
    """Who judges: as the options say, else the run's own judge with the options it had."""
    manifest = folder.manifest
    if manifest["config"].get("mode") != OEG:
        raise InputError("This run is multiple choice, which the benchmark scores itself: it needs no judge.")
    options = config.judge_fields
    if config.judge_provider is None:
        own = own_judge(manifest)
        if own is None:
            raise InputError("The run has no judge of its own yet: name one with --judge-provider.")
        if own["provider"] in LOCAL:
            raise InputError(
                f"The run's judge is a file here: name it with --judge-provider {own['provider']} "
                "--judge-model."
            )
        options |= {
            "provider": own["provider"],
            "model": own["model"],
            "base_url": own.get("endpoint"),
            "max_tokens": config.judge_max_tokens or own.get("params", {}).get("max_tokens"),
            "temperature": own["params"].get("temperature"),
            "price": config.judge_price or stated_in(manifest.get("judge_prices")),
            "grammar": config.judge_grammar or own.get("grammar", False),
        }
    protocol = manifest["config"].get("protocol", STRICT)
    options |= {
        "wire": manifest["settings"].get("wire", LITELLM),
        "engine": config.engine,
        "protocol": protocol,
    }
    choice = judge_named(**options, timeout=config.timeout, offline=config.offline)
    model = resolve(choice, progress.say)
    # Earlier versions left models that do not reason as much room as the others.
    most = default_max_tokens(model.provider, model.name, answer=THOUGHT)
    earlier = replace(model, params={**model.params, "max_tokens": most})
    begun = config.judge_max_tokens is None and not Verdicts.has_any(folder, model)
    return earlier if begun and Verdicts.has_any(folder, earlier) else model


async def _judge_all(
    verdicts: Verdicts, owed: list[Owed], config: JudgeConfig, progress: Progress, interrupts: Interrupts
) -> tuple[dict[Identity, Judged], str | None]:
    """What was judged, and why no further call could succeed, if that was so."""
    folder, verdict_of = verdicts.folder, dict[Identity, Judged]()
    answers = answers_folder(folder, config.cache_dir)
    async with open_stack(answers, _limit(folder, config), folder, progress) as stack:
        stack.show_money()
        stack.tune_collector([verdicts.model], min(config.concurrency, len(owed)))
        concurrency = config.concurrency if config.offline else room_for(config.concurrency, progress.say)
        limits = Limits(concurrency, config.rpm, config.tpm, config.offline)
        judge = stack.judge(verdicts.model, limits)
        for episode in verdicts.recorded.values():
            judge.books.recorded(episode)

        def unusable() -> str | None:
            return next((str(breaker.shut) for breaker in stack.breakers if breaker.shut), None)

        async def ask(owed: Owed) -> None:
            episode = verdicts.episodes[owed.which]
            if over_turns(episode):
                judged = await judged_again(judge, episode)
            else:
                judged = await judge.judge(owed.question, owed.earlier)
            verdict_of[owed.which] = judged
            record = beside(owed.which, judged)
            progress.count({**record, "correct": judged.correct, "suggestions": judged.suggestions})

        progress.plan(Counter(answer.question.dataset for answer in owed))
        await work(owed, min(concurrency, len(owed)), ask, until=unusable, interrupts=interrupts)
        stack.tell_speed()
        return verdict_of, unusable()


def _limit(folder: RunFolder, config: JudgeConfig) -> int | None:
    """The run's limit in picodollars, set anew where the options say so."""
    settings = folder.manifest["settings"]
    if config.max_cost == AS_THE_RUN:
        amount = settings.get("max_cost", DEFAULT_MAX_COST)
    else:
        amount = config.max_cost
        folder.update(settings={**settings, "max_cost": None if amount is None else float(amount)})
    return None if amount is None else picodollars_down(amount)


def own_judge(manifest: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The run's own judge, as `Model.described` says it: of the run command, or the first to judge later."""
    return manifest["config"].get("judge") or manifest.get("judge")


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
            identity(episode): episode
            for episode in checked_episodes(folder)
            if episode.get("valid") or over_turns(episode)
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
        news = {}
        for which, result in judged.items():
            last = self.recorded.get(which, {})
            # A verdict read again out of the cache would only lose what it cost.
            if _failed(last) or (
                result.outcome == "resolved" and _answers(result.verdict) != _answers(last["verdict"])
            ):
                news[which] = result
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


def _question(episode: Episode) -> Question:
    """What a judge is asked of an episode with an answer. Raises `InputError` for a damaged one."""
    valid, turns = episode.get("valid"), episode["turns"]
    if over_turns(episode):
        valid = episode["verdict"]["valid"]
    if not are_two_texts(valid):
        raise damaged(episode, "valid")
    prompt, answer = (turns[0].get(key) if turns else None for key in ("prompt", "answer"))
    if not isinstance(prompt, str) or not isinstance(answer, str):
        raise damaged(episode, "turns")
    return Question(episode["dataset"], prompt, (valid[0], valid[1]), answer)


def over_turns(episode: Episode) -> bool:
    """Whether it is an open-ended episode of several turns with a verdict on each."""
    return bool((episode.get("verdict") or {}).get("each")) and episode["outcome"] == "resolved"


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
