"""Play a whole run: `evaluate`, and `run` where no event loop is at hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from cache import KeyLocks, Store
from pbclient.calls.process import room_for
from pbclient.config import RunConfig
from pbclient.data.folder import Sample
from pbclient.models.engines import peak
from pbclient.money.amounts import dollars
from pbclient.money.books import Books
from pbclient.progress import Progress
from pbclient.scheduler.plan import BASELINE, DEFAULTS, Order, Plan, prepare
from pbclient.scheduler.session import Session, open_session
from pbclient.scheduler.workers import Interrupts, work
from pbclient.scores.rescore import judge_lines
from pbclient.scores.summary import Tally, dump
from runs import Balance, Episode, Episodes, Identity, RunFolder, replace_file

type Owed = tuple[Sample, int]


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
    progress, interrupts = progress or Progress(), interrupts or Interrupts()
    if config.provider != BASELINE and not config.offline:
        models = 1 if config.judge_provider is None else 2
        calls = room_for(config.concurrency, progress.say, each=models)
        config = replace(config, concurrency=calls)
    with ExitStack() as stack:
        # In a thread, like all that reads whole files: the loop belongs to answers, panel and Ctrl-C.
        plan = await asyncio.to_thread(stack.enter_context, prepare(config, progress.say))
        if plan.policy is None and not config.no_cache:
            answers = plan.cache_dir(plan.out)
            with KeyLocks(answers), Store(answers):
                pass  # a cache that cannot be used leaves no run folder behind
        folder = stack.enter_context(RunFolder.start(plan.out, plan.manifest, DEFAULTS))
        async with open_session(plan, folder, progress) as session:
            with Recording(folder, progress) as recording:
                await _Run(plan, session, recording, progress, interrupts).play()
                session.tell_speed()
                limit = None if plan.limit is None else dollars(plan.limit)
                summary = await asyncio.to_thread(recording.summarize, session.ledger, limit)
        unusable = None if session.unusable is None else str(session.unusable)
        reasons = tuple(progress.reasons.most_common())
        result = RunResult(folder.path, summary, interrupts.count > 0, unusable, len(plan.order), reasons)
        local = any(model is not None and model.local is not None for model in (plan.model, plan.judge))
        asked = any(summary["calls"].values()) or result.outcomes.get("resolved")
        if session.unusable and local and not (folder.continued or asked or result.interrupted):
            # An engine on this machine that cannot be run is bad input, which leaves no run folder behind.
            folder.discard()
            raise session.unusable
        return result


class Recording:
    """Record each finished episode: on disk, in the progress and in the summary.

    All three at once, so that a run ends without reading again what it has just written. `resume` comes
    before all else and reads once what earlier lives of the run have written.
    """

    def __init__(self, folder: RunFolder, progress: Progress) -> None:
        self._folder = folder
        self._progress = progress
        self._episodes = Episodes(folder.episodes)
        self._tally = Tally(folder.manifest)

    def resume(self, retry: frozenset[str], books: Books) -> set[Identity]:
        """Book and count what is finished; its identities are returned. Outcomes in `retry` are not.

        Raises `InputError` for a line that is not what was recorded: nothing is bought on its word.
        """

        def take(episode: Episode) -> None:
            self._count(episode)
            books.recorded(episode)

        self._tally.compare(judge_lines(self._folder.path))
        return self._episodes.keep(retry, take)

    def append(self, episode: Episode) -> None:
        """Keep an episode that has just been played; once this returns, no kill can lose it."""
        self._episodes.append(episode)
        self._count(episode)

    def summarize(self, ledger: Balance, limit: float | None) -> dict[str, Any]:
        """Write summary.json, and return what is in it."""
        summary = self._tally.summary(ledger, limit)
        replace_file(self._folder.summary, [dump(summary)])
        return summary

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._episodes.close()

    def _count(self, episode: Episode) -> None:
        self._tally.add(episode)
        self._progress.count(episode)


@dataclass(frozen=True)
class _Run:
    """A run while its episodes are played."""

    plan: Plan
    session: Session
    recording: Recording
    progress: Progress
    interrupts: Interrupts

    async def play(self) -> None:
        """Play every episode that is not finished."""
        plan, progress, session = self.plan, self.progress, self.session
        progress.plan(plan.counts)
        finished = await asyncio.to_thread(self.recording.resume, plan.owed, session.books)
        owed: Order[Sample] | list[Owed] = plan.order
        if finished:
            owed = [
                (sample, repeat)
                for sample, repeat in plan.order
                if (sample.dataset, sample.id, repeat) not in finished
            ]
        if plan.in_phases and owed:
            owed = await self._answer_first(list(owed))

        async def play(owed: Owed) -> None:
            sample, repeat = owed
            with progress.activity(f"{sample.dataset} {sample.id}"):
                episode = plan.episode(sample, repeat, session.player, session.books, session.judge)
                played = await episode.play(plan.row(sample))
            self.recording.append(played)

        await self._work(owed, play)
        if plan.judge and plan.judge.local and (memory := await peak(plan.judge.local)):
            progress.say(memory)

    async def _answer_first(self, owed: list[Owed]) -> list[Owed]:
        """Ask the model for every owed answer and free its memory; returns what is left for the judge.

        Where both run on this machine, holding both would need the memory of both. This phase fills the
        cache with answers and records only what ended without one; the second finds every answer there.
        A kill between the two loses nothing.
        """
        plan, progress = self.plan, self.progress
        assert plan.model is not None
        assert plan.model.local is not None
        left: list[Owed] = []

        async def answer(owed: Owed) -> None:
            sample, repeat = owed
            played = await plan.episode(sample, repeat, self.session.player, Books()).play(plan.row(sample))
            if played["outcome"] == "failed":
                # It has no answer, and asking again would need the model's memory again.
                self.recording.append(played)
            else:
                left.append(owed)
            progress.stage = f"{len(left)} answers"

        progress.say(f"Phase 1 of 2: {len(owed)} answers by {plan.model.title}, then the judge.")
        await self._work(owed, answer)
        progress.stage = ""
        memory = await peak(plan.model.local)
        await plan.model.local.aclose()
        if self.session.unusable is None:
            progress.say(f"Phase 2 of 2: {len(left)} verdicts. {memory}".rstrip())
        return left

    async def _work(self, owed: Order[Sample] | list[Owed], do: Callable[[Owed], Awaitable[None]]) -> None:
        """`do` each of what is owed, as many at once as the run may, until no call can succeed."""
        workers = min(self.plan.config.concurrency, len(owed))
        await work(owed, workers, do, until=lambda: self.session.unusable, interrupts=self.interrupts)


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
