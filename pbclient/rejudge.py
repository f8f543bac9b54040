"""`pbclient judge`: verdicts on the recorded open-ended answers of a run, by any model, at any time.

The run's own judge mends its verdicts in episodes.jsonl, and the first judge of a run that was only
recorded becomes its own. Every other judge gets a file beside it, so that judges can be compared. The
money is the run's: one ledger, one limit. Nothing of the model under test is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from pbclient.config import DEFAULT_CONCURRENCY, DEFAULT_TIMEOUT, OEG
from pbclient.engines import LOCAL, Engine
from pbclient.errors import InputError
from pbclient.groups import all_or_first_error
from pbclient.interrupts import Interrupts
from pbclient.judge import Judge, Judged, Question
from pbclient.line import Limits, Works, open_works
from pbclient.model import Choice, Model, judge_named, resolve
from pbclient.money import allowed
from pbclient.pace import Pace
from pbclient.plan import answers_folder
from pbclient.progress import Progress
from pbclient.rescore import score_again
from pbclient.verdict_files import Episode, Verdicts, beside, own_judge
from runs import Episodes, Identity, RunFolder, identity

AS_THE_RUN = "as the run"


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """The options of `pbclient judge`. Without a `provider` the run's own judge is asked again.

    `max_cost` is in dollars for the whole run, judging included; it may stay as the run has it.
    """

    provider: str | None = None
    model: str | None = None
    base_url: str | None = None
    max_tokens: int | None = None
    price: str | None = None
    grammar: bool = False
    engine: Engine = field(default_factory=Engine)
    only_failed: bool = False
    max_cost: Decimal | str | None = AS_THE_RUN
    concurrency: int = DEFAULT_CONCURRENCY
    rpm: int | None = None
    tpm: int | None = None
    timeout: float = DEFAULT_TIMEOUT
    cache_dir: Path | None = None
    offline: bool = False


_OUTCOMES = ("resolved", "judge_failed", "budget")


@dataclass(frozen=True)
class Rejudged:
    """What became of it: the run's new summary, and how many answers this judge was put and judged."""

    folder: Path
    judge: str
    summary: dict[str, Any]
    asked: int
    outcomes: Mapping[str, int]
    interrupted: bool = False
    reasons: tuple[tuple[str, int], ...] = ()

    @property
    def exit_code(self) -> int:
        """0 all judged, 3 out of budget, 4 some not judged, 130 interrupted."""
        if self.interrupted:
            return 130
        if self.outcomes.get("budget"):
            return 3
        return 0 if self.outcomes.get("resolved", 0) == self.asked else 4


async def rejudge(
    path: Path, config: JudgeConfig, *, progress: Progress | None = None, interrupts: Interrupts | None = None
) -> Rejudged:
    """Judge the recorded answers of the run at `path`.

    Raises `InputError` for bad input and `runs.RunError` for a folder that cannot be used.
    """
    progress, interrupts = progress or Progress(), interrupts or Interrupts()
    with RunFolder.reopen(path) as folder:
        model = _judge(folder.manifest, config, progress)
        verdicts = Verdicts.of(folder, model)
        owed = list(verdicts.owed(only_failed=config.only_failed))
        found = await _judge_all(folder, model, owed, config, progress, interrupts)
        verdicts.write(found)
    outcomes = {name: sum(each.outcome == name for each in found.values()) for name in _OUTCOMES}
    return Rejudged(
        path,
        model.title,
        score_again(path),
        len(owed),
        outcomes,
        interrupts.count > 0,
        tuple(progress.reasons.most_common()),
    )


def _judge(manifest: Mapping[str, Any], config: JudgeConfig, progress: Progress) -> Model:
    """Who judges: as the options say, else the run's own judge."""
    if manifest["config"].get("mode") != OEG:
        raise InputError("This run is multiple choice, which the benchmark scores itself: it needs no judge.")
    own = own_judge(manifest)
    if config.provider is None and own is None:
        raise InputError("The run has no judge of its own yet: name one with --judge-provider.")
    if config.provider is not None or own is None:
        return resolve(_choice(config), progress.say)
    return resolve(_as_recorded(own, config), progress.say)


def _choice(config: JudgeConfig) -> Choice:
    assert config.provider is not None
    return judge_named(
        config.provider,
        model=config.model,
        base_url=config.base_url,
        max_tokens=config.max_tokens,
        **_common(config),
    )


def _as_recorded(own: Mapping[str, Any], config: JudgeConfig) -> Choice:
    """The run's own judge with the options it had."""
    if config.model or config.base_url:
        raise InputError("--judge-model and --judge-base-url go with --judge-provider: name it too.")
    if own["provider"] in LOCAL:
        raise InputError(
            f"The run's judge is a file here: name it with --judge-provider {own['provider']} --judge-model."
        )
    return judge_named(
        own["provider"],
        model=own["model"],
        base_url=own.get("endpoint"),
        max_tokens=config.max_tokens or own["params"].get("max_tokens"),
        **_common(config),
    )


def _common(config: JudgeConfig) -> dict[str, Any]:
    """What a judge is given whoever it is."""
    names = ("price", "timeout", "offline", "grammar", "engine")
    return {name: getattr(config, name) for name in names}


async def _judge_all(
    folder: RunFolder,
    model: Model,
    owed: list[Episode],
    config: JudgeConfig,
    progress: Progress,
    interrupts: Interrupts,
) -> dict[Identity, Judged]:
    limit = _limit(folder, config)
    answers = answers_folder(folder, config.cache_dir)
    found: dict[Identity, Judged] = {}
    async with open_works(answers, limit, folder, progress) as works:
        works.show_money()
        limits = Limits(config.concurrency, config.rpm, config.tpm, config.offline)
        judge = works.judge(model, limits)
        for episode in Episodes(folder.episodes).read():
            judge.books.recorded(episode)
        queue, pace = iter(owed), Pace()
        progress.plan(_counts(owed))
        async with all_or_first_error() as group:
            for _ in range(min(config.concurrency, len(owed))):
                task = group.create_task(pace(_work, queue, judge, works, found, progress))
                interrupts.watch(task)
    return found


async def _work(
    queue: Iterator[Episode],
    judge: Judge,
    works: Works,
    found: dict[Identity, Judged],
    progress: Progress,
) -> None:
    for episode in queue:
        if any(gate.shut for gate in works.gates):
            return
        judged = await judge.judge(_question(episode), drawn=_drawn(episode, judge))
        line = beside(episode, judged)
        found[identity(line)] = judged
        progress.count({**line, "correct": judged.correct, "suggestions": judged.suggestions})
        await asyncio.sleep(0)


def _question(episode: Episode) -> Question:
    turn, (first, second) = episode["turns"][0], episode["valid"]
    return Question(episode["dataset"], turn["prompt"], (first, second), turn["answer"])


def _drawn(episode: Episode, judge: Judge) -> int:
    """How many draws this judge has used up on a verdict that it did not give."""
    verdict = episode.get("verdict") or {}
    return len(verdict.get("turns", ())) if episode.get("outcome") == "judge_failed" else 0


def _counts(owed: list[Episode]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for episode in owed:
        counts[episode["dataset"]] = counts.get(episode["dataset"], 0) + 1
    return counts


def _limit(folder: RunFolder, config: JudgeConfig) -> int | None:
    """The run's limit in picodollars, set anew where the options say so."""
    if config.max_cost == AS_THE_RUN:
        dollars = folder.manifest["settings"].get("max_cost")
        return None if dollars is None else allowed(Decimal(str(dollars)))
    limit = None if config.max_cost is None else Decimal(config.max_cost)
    settings = dict(folder.manifest["settings"])
    folder.update(settings={**settings, "max_cost": None if limit is None else float(limit)})
    return None if limit is None else allowed(limit)
