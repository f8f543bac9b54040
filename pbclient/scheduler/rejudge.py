"""Judge the recorded open-ended answers of a run, by any model, at any time: `pbclient judge`.

The run's own judge mends its verdicts in episodes.jsonl, and the first judge of a run that was only
recorded becomes its own. Every other judge gets a file beside it, so that judges can be compared. The
money is the run's: one ledger, one limit. Nothing of the model under test is asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pbclient.benchmark.package import OEG
from pbclient.calls.cached import answers_folder
from pbclient.calls.process import room_for
from pbclient.calls.stack import Limits, open_stack
from pbclient.config import AS_THE_RUN, DEFAULT_MAX_COST, JudgeConfig
from pbclient.episodes.judge import Judged
from pbclient.errors import InputError
from pbclient.models.choice import LITELLM, judge_named
from pbclient.models.engines import LOCAL
from pbclient.models.model import THOUGHT, Model, default_max_tokens, resolve
from pbclient.money.amounts import picodollars_down
from pbclient.money.prices import stated_in
from pbclient.progress import Progress
from pbclient.scheduler.interrupts import Interrupts
from pbclient.scheduler.verdict_files import Owed, Verdicts, beside, own_judge
from pbclient.scheduler.workers import work
from pbclient.scores.rescore import read_run, rescore_run
from runs import Identity, RunFolder


@dataclass(frozen=True)
class Rejudged:
    """What became of it: the run's new summary, and how many answers this judge was put and judged.

    `unusable` is why no further call could succeed, `reasons` why answers have no verdict, the
    commonest first.
    """

    folder: Path
    judge: str
    summary: dict[str, Any]
    asked: int
    outcomes: Mapping[str, int]
    interrupted: bool = False
    unusable: str | None = None
    reasons: tuple[tuple[str, int], ...] = ()

    @property
    def judged(self) -> int:
        """How many answers it gave a verdict on."""
        return self.outcomes.get("resolved", 0)

    @property
    def exit_code(self) -> int:
        """0 all judged, 2 nothing could be asked, 3 out of budget, 4 some not judged, 130 interrupted."""
        if self.interrupted:
            return 130
        if self.unusable is not None:
            return 4 if self.judged else 2
        if self.outcomes.get("budget"):
            return 3
        return 0 if self.judged == self.asked else 4


async def rejudge(
    path: Path, config: JudgeConfig, *, progress: Progress | None = None, interrupts: Interrupts | None = None
) -> Rejudged:
    """Judge the recorded answers of the run at `path`.

    Raises `InputError` for bad input and `runs.RunError` for a folder that cannot be used.
    """
    progress, interrupts = progress or Progress(), interrupts or Interrupts()
    model = _judge(read_run(path), config, progress)
    with RunFolder.start(path, RunFolder.read(path).manifest) as folder:
        verdicts = Verdicts.of(folder, model)
        owed = list(verdicts.owed(only_failed=config.only_failed))
        judged, unusable = await _judge_all(verdicts, owed, config, progress, interrupts)
        verdicts.write(judged)
        summary = rescore_run(path)
    return Rejudged(
        path,
        model.title,
        summary,
        len(owed),
        Counter(verdict.outcome for verdict in judged.values()),
        interrupts.count > 0,
        unusable,
        tuple(progress.reasons.most_common()),
    )


def _judge(folder: RunFolder, config: JudgeConfig, progress: Progress) -> Model:
    """Who judges: as the options say, else the run's own judge with the options it had."""
    manifest = folder.manifest
    if manifest["config"].get("mode") != OEG:
        raise InputError("This run is multiple choice, which the benchmark scores itself: it needs no judge.")
    names = ("provider", "model", "base_url", "max_tokens", "price", "grammar")
    options = {name: getattr(config, name) for name in names}
    if config.provider is None:
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
            "max_tokens": config.max_tokens or own["params"].get("max_tokens"),
            "price": config.price or stated_in(manifest.get("judge_prices")),
            "grammar": config.grammar or own.get("grammar", False),
        }
    wire = manifest["settings"].get("wire", LITELLM)
    choice = judge_named(
        **options, wire=wire, timeout=config.timeout, offline=config.offline, engine=config.engine
    )
    model = resolve(choice, progress.say)
    # Earlier versions left models that do not reason as much room as the others.
    most = default_max_tokens(model.provider, model.name, answer=THOUGHT)
    earlier = replace(model, params={**model.params, "max_tokens": most})
    begun = config.max_tokens is None and not Verdicts.has_any(folder, model)
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
            judged = verdict_of[owed.which] = await judge.judge(owed.question, owed.earlier)
            record = beside(owed.which, judged)
            progress.count({**record, "correct": judged.correct, "suggestions": judged.suggestions})

        progress.plan(Counter(answer.question.dataset for answer in owed))
        await work(owed, min(concurrency, len(owed)), ask, until=unusable, interrupts=interrupts)
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
