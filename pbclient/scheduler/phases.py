"""One device for two models: all answers, then the memory freed, then all verdicts.

Where the model under test and its judge both run on this machine, holding both would need the memory
of both. The first phase fills the cache with answers and keeps only what ended without one; the run
itself is the second phase and finds every answer there. A kill between the two loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from pbclient.calls.pace import Pace
from pbclient.data.folder import Sample
from pbclient.models.engines import peak
from pbclient.money.books import NoBooks
from pbclient.progress import Progress
from pbclient.scheduler.interrupts import Interrupts
from pbclient.scheduler.plan import Plan
from pbclient.scheduler.recording import Recording
from pbclient.scheduler.session import Session
from pbclient.scheduler.workers import all_or_first_error

type Owed = tuple[Sample, int]


async def answer_first(
    plan: Plan,
    owed: list[Owed],
    recording: Recording,
    session: Session,
    progress: Progress,
    interrupts: Interrupts,
) -> list[Owed]:
    """Ask the model for every owed answer and free its memory; returns what is left for the judge."""
    assert plan.model is not None
    assert plan.model.local is not None
    left: list[Owed] = []
    progress.say(f"Phase 1 of 2: {len(owed)} answers by {plan.model.title}, then the judge.")
    queue, pace = iter(owed), Pace()
    async with all_or_first_error() as group:
        for _ in range(min(plan.config.concurrency, len(owed))):
            task = group.create_task(pace(_answer, queue, left, pace, plan, recording, session, progress))
            interrupts.watch(task)
    progress.stage = ""
    used = await peak(plan.model.local)
    await plan.model.local.aclose()
    if session.unusable is None:
        progress.say(f"Phase 2 of 2: {len(left)} verdicts. {used}".rstrip())
    return left


async def _answer(
    queue: Iterator[Owed],
    left: list[Owed],
    pace: Pace,
    plan: Plan,
    recording: Recording,
    session: Session,
    progress: Progress,
) -> None:
    for sample, repeat in queue:
        if session.unusable is not None:
            return
        played = await plan.episode(sample, repeat, session.player, NoBooks()).play(plan.row(sample))
        if played["outcome"] == "failed":
            # It has no answer, and asking again would need the model's memory again.
            recording.append(played)
        else:
            left.append((sample, repeat))
        progress.stage = f"{len(left)} answers"
        await pace.rest()
