"""Let two models take one device in turns: all answers, then the memory freed, then all verdicts.

Where the model under test and its judge both run on this machine, holding both would need the memory
of both. The first phase fills the cache with answers and keeps only what ended without one; the run
itself is the second phase and finds every answer there. A kill between the two loses nothing.
"""

from __future__ import annotations

from pbclient.models.engines import peak
from pbclient.money.books import Books
from pbclient.scheduler.session import Owed, Run


async def answer_first(run: Run, owed: list[Owed]) -> list[Owed]:
    """Ask the model for every owed answer and free its memory; returns what is left for the judge."""
    plan, progress = run.plan, run.progress
    assert plan.model is not None
    assert plan.model.local is not None
    left: list[Owed] = []

    async def answer(owed: Owed) -> None:
        sample, repeat = owed
        played = await plan.episode(sample, repeat, run.session.player, Books()).play(plan.row(sample))
        if played["outcome"] == "failed":
            # It has no answer, and asking again would need the model's memory again.
            run.recording.append(played)
        else:
            left.append(owed)
        progress.stage = f"{len(left)} answers"

    progress.say(f"Phase 1 of 2: {len(owed)} answers by {plan.model.title}, then the judge.")
    await run.work(owed, answer)
    progress.stage = ""
    memory = await peak(plan.model.local)
    await plan.model.local.aclose()
    if run.session.unusable is None:
        progress.say(f"Phase 2 of 2: {len(left)} verdicts. {memory}".rstrip())
    return left
