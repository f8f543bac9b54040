"""One run as a person sits before it: the panel, Ctrl-C, and what to type next."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys

from pbclient.config import RunConfig
from pbclient.evaluate import OWED, RunResult, evaluate
from pbclient.interrupts import Interrupts
from pbclient.panel import panel, plain
from pbclient.progress import Progress


def play(config: RunConfig) -> RunResult:
    """Run `config` with a live panel on a terminal and plain lines in a pipe, both on stderr."""
    progress = Progress()
    with (panel if sys.stderr.isatty() else plain)(progress, sys.stderr):
        return asyncio.run(_play(config, progress))


async def _play(config: RunConfig, progress: Progress) -> RunResult:
    interrupts = Interrupts()

    def interrupt() -> None:
        if interrupts.count == 0:
            progress.say("Finishing and storing what is on the wire; Ctrl-C again stops at once.")
        interrupts()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    return await evaluate(config, progress=progress, interrupts=interrupts)


def ending(result: RunResult) -> list[str]:
    """Where the run is, why it stopped if it did, and the command that continues it."""
    lines = [f"Run folder: {result.folder}"]
    if result.unusable is not None:
        lines.append(f"Stopped: {result.unusable}")
    if result.interrupted:
        lines.append("Interrupted; the figures above are of what was finished.")
    elif result.exit_code == 3:
        lines.append("Stopped by the budget: raise --max-cost and continue.")
    if _owes(result):
        lines.append(f"To continue: the same command with --out {shlex.quote(str(result.folder))}")
    return lines


def _owes(result: RunResult) -> bool:
    """Whether the same command would ask anything again: refusals and cut answers are final."""
    outcomes = result.outcomes
    return sum(outcomes.values()) < result.planned or any(outcomes.get(outcome) for outcome in OWED)
