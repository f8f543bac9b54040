"""A whole run: the only module that joins data, episodes, providers, cache, money and run folder.

It plans nothing and shows nothing: `plan` says what is to be done, `progress` what has been.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cache import Store
from pbclient.calls.pace import Pace
from pbclient.calls.process import room_for
from pbclient.config import RunConfig
from pbclient.data.folder import Sample
from pbclient.models.engines import peak
from pbclient.progress import Activity, Progress, begin
from pbclient.scheduler.interrupts import Interrupts
from pbclient.scheduler.manifest import BASELINE, DEFAULTS
from pbclient.scheduler.order import Order
from pbclient.scheduler.phases import answer_first
from pbclient.scheduler.plan import Plan, prepare
from pbclient.scheduler.recording import Recording
from pbclient.scheduler.session import Session, open_session
from pbclient.scheduler.workers import all_or_first_error
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
    with ExitStack() as stack:
        prepared = prepare(_with_room(config, progress), progress.say)
        # In a thread, like all that reads whole files: the loop belongs to answers, panel and Ctrl-C.
        plan = await asyncio.to_thread(stack.enter_context, prepared)
        if plan.policy is None and not config.no_cache:
            Store(plan.cache_dir(plan.out)).close()  # a cache that cannot be used leaves no run folder behind
        return await _in_folder(plan, progress, interrupts)


def _with_room(config: RunConfig, progress: Progress) -> RunConfig:
    """The configuration with as many calls at once as the system lets have open."""
    if config.provider == BASELINE or config.offline:
        return config
    models = 1 if config.judge_provider is None else 2
    return replace(config, concurrency=room_for(config.concurrency, progress.say, each=models))


async def _in_folder(plan: Plan, progress: Progress, interrupts: Interrupts) -> RunResult:
    with RunFolder.start(plan.out, plan.manifest, DEFAULTS) as folder:
        async with open_session(plan, folder, progress) as session:
            with Recording(folder, progress) as recording:
                await _play_all(plan, recording, session, progress, interrupts)
                result = await asyncio.to_thread(
                    _close, plan, folder, recording, session, progress, interrupts
                )
        if session.unusable is not None and _came_to_nothing(plan, folder, result):
            folder.discard()
            raise session.unusable
    return result


def _came_to_nothing(plan: Plan, folder: RunFolder, result: RunResult) -> bool:
    """Whether an engine on this machine could not be run: bad input, which leaves no run folder behind."""
    local = any(each is not None and each.local is not None for each in (plan.model, plan.judge))
    asked = any(result.summary["calls"].values()) or result.outcomes.get("resolved")
    return local and not (folder.continued or asked or result.interrupted)


def run(config: RunConfig, *, progress: Progress | None = None) -> RunResult:
    """`evaluate` for notebooks and scripts: also stack where an event loop is already running.

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


async def _play_all(
    plan: Plan, recording: Recording, session: Session, progress: Progress, interrupts: Interrupts
) -> None:
    progress.plan(plan.counts)
    finished = await asyncio.to_thread(recording.take_up, plan.owed, session.books)
    owed: Order[Sample] | list[tuple[Sample, int]] = plan.order
    if finished:
        owed = [each for each in plan.order if _identity(*each) not in finished]
    if plan.in_phases and owed:
        owed = await answer_first(plan, list(owed), recording, session, progress, interrupts)
    queue, pace = iter(owed), Pace()
    async with all_or_first_error() as group:
        for number in range(min(plan.config.concurrency, len(owed))):
            task = group.create_task(pace(_work, number, queue, pace, plan, recording, session, progress))
            interrupts.watch(task)
    if plan.judge and plan.judge.local and (held := await peak(plan.judge.local)):
        progress.say(held)


async def _work(
    number: int,
    owed: Iterator[tuple[Sample, int]],
    pace: Pace,
    plan: Plan,
    recording: Recording,
    session: Session,
    progress: Progress,
) -> None:
    """Play episodes one after the other until none is owed or none can be asked."""
    for sample, repeat in owed:
        if session.unusable is not None:
            return
        activity = Activity(f"{sample.dataset} {sample.id}", since=progress.clock())
        progress.active[number] = activity
        begin(activity)
        episode = plan.episode(sample, repeat, session.player, session.books, session.judge)
        try:
            played = await episode.play(plan.row(sample))
        finally:
            del progress.active[number]
        recording.append(played)
        await pace.rest()  # an episode of hits never waits: let the panel and Ctrl-C in


def _close(
    plan: Plan,
    folder: RunFolder,
    recording: Recording,
    session: Session,
    progress: Progress,
    interrupts: Interrupts,
) -> RunResult:
    summary = recording.summarize(session.totals())
    unusable = None if session.unusable is None else str(session.unusable)
    reasons = tuple(progress.reasons.most_common())
    return RunResult(folder.path, summary, interrupts.count > 0, unusable, len(plan.order), reasons)


def _identity(sample: Sample, repeat: int) -> tuple[str, str, int]:
    return sample.dataset, sample.id, repeat
