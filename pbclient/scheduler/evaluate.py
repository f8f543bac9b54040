"""Play a whole run: `evaluate`, and `run` where no event loop is at hand."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cache import Store
from pbclient.calls.process import room_for
from pbclient.config import RunConfig
from pbclient.data.folder import Sample
from pbclient.models.engines import peak
from pbclient.progress import Progress
from pbclient.scheduler.interrupts import Interrupts
from pbclient.scheduler.manifest import BASELINE, DEFAULTS
from pbclient.scheduler.order import Order
from pbclient.scheduler.phases import answer_first
from pbclient.scheduler.plan import Plan, prepare
from pbclient.scheduler.recording import Recording
from pbclient.scheduler.session import Owed, Run, open_session
from runs import RunFolder


@dataclass(frozen=True)
class RunResult:
    """How a run ended: its folder, the summary as in `summary.json`, and why it stopped early, if it did.

    `reasons` are the errors of unresolved episodes, the commonest first, with how many had each.
    """

    folder: Path
    summary: dict[str, Any]
    interrupted: bool = False
    unusable: str | None = None
    planned: int = 0
    reasons: tuple[tuple[str, int], ...] = ()

    @property
    def outcomes(self) -> dict[str, int]:
        """How many episodes ended how."""
        total: dict[str, int] = {}
        for figures in self.summary["datasets"].values():
            for outcome, count in figures["outcomes"].items():
                total[outcome] = total.get(outcome, 0) + count
        return total

    @property
    def exit_code(self) -> int:
        """0 all resolved, 2 nothing could be asked, 3 out of budget, 4 some unresolved, 130 interrupted."""
        outcomes = self.outcomes
        if self.interrupted:
            return 130
        if self.unusable is not None:
            return 4 if outcomes.get("resolved") else 2
        if outcomes.get("budget"):
            return 3
        return 0 if outcomes.get("resolved", 0) == self.planned else 4


async def evaluate(
    config: RunConfig, *, progress: Progress | None = None, interrupts: Interrupts | None = None
) -> RunResult:
    """Run (or continue) what `config` asks for and return how it ended.

    Raises `InputError` for bad input, `providers.Unusable` for a model on this machine that cannot be
    run, `runs.RunError` for a run folder that cannot be used and `cache.CacheError` for a cache that
    cannot; every paid answer is stored before.
    """
    progress = progress or Progress()
    interrupts = interrupts or Interrupts()
    if config.provider != BASELINE and not config.offline:
        models = 1 if config.judge_provider is None else 2
        calls = room_for(config.concurrency, progress.say, each=models)
        config = replace(config, concurrency=calls)
    with ExitStack() as stack:
        # In a thread, like all that reads whole files: the loop belongs to answers, panel and Ctrl-C.
        plan = await asyncio.to_thread(stack.enter_context, prepare(config, progress.say))
        if plan.policy is None and not config.no_cache:
            Store(plan.cache_dir(plan.out)).close()  # a cache that cannot be used leaves no run folder behind
        folder = stack.enter_context(RunFolder.start(plan.out, plan.manifest, DEFAULTS))
        async with open_session(plan, folder, progress) as session:
            with Recording(folder, progress) as recording:
                await _play_all(Run(plan, session, recording, progress, interrupts))
                session.tell_speed()
                summary = await asyncio.to_thread(recording.summarize, session.totals())
        result = RunResult(
            folder.path,
            summary,
            interrupts.count > 0,
            None if session.unusable is None else str(session.unusable),
            len(plan.order),
            tuple(progress.reasons.most_common()),
        )
        if session.unusable is not None and _came_to_nothing(plan, folder, result):
            folder.discard()
            raise session.unusable
        return result


async def _play_all(run: Run) -> None:
    plan, progress, session = run.plan, run.progress, run.session
    progress.plan(plan.counts)
    finished = await asyncio.to_thread(run.recording.resume, plan.owed, session.books)
    owed: Order[Sample] | list[Owed] = plan.order
    if finished:
        owed = [
            (sample, repeat)
            for sample, repeat in plan.order
            if (sample.dataset, sample.id, repeat) not in finished
        ]
    if plan.in_phases and owed:
        owed = await answer_first(run, list(owed))

    async def play(owed: Owed) -> None:
        sample, repeat = owed
        with progress.activity(f"{sample.dataset} {sample.id}"):
            episode = plan.episode(sample, repeat, session.player, session.books, session.judge)
            played = await episode.play(plan.row(sample))
        run.recording.append(played)

    await run.work(owed, play)
    if plan.judge and plan.judge.local and (memory := await peak(plan.judge.local)):
        progress.say(memory)


def _came_to_nothing(plan: Plan, folder: RunFolder, result: RunResult) -> bool:
    """Whether an engine on this machine could not be run: bad input, which leaves no run folder behind."""
    local = any(model is not None and model.local is not None for model in (plan.model, plan.judge))
    asked = any(result.summary["calls"].values()) or result.outcomes.get("resolved")
    return local and not (folder.continued or asked or result.interrupted)


def run(config: RunConfig, *, progress: Progress | None = None) -> RunResult:
    """`evaluate` for notebooks and scripts: it also works where an event loop is already running.

    An interrupt (Ctrl-C, the notebook's stop button) finishes what is on the wire and returns
    what there is; a second one stops at once.
    """
    interrupts = Interrupts()
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> RunResult:
        loops.append(asyncio.get_running_loop())
        return await evaluate(config, progress=progress, interrupts=interrupts)

    with ThreadPoolExecutor(1, "pbclient-run") as pool:
        future = pool.submit(lambda: asyncio.run(main()))
        while True:
            try:
                return future.result()
            except KeyboardInterrupt:
                if future.done() or not loops:
                    raise
                loops[0].call_soon_threadsafe(interrupts)
