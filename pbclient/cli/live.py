"""Show a run to the person who started it: the panel, Ctrl-C, and what to type next."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shlex
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from decimal import Decimal

from pbclient.config import RunConfig
from pbclient.progress import Progress, Say
from pbclient.report.panel import panel, plain
from pbclient.scheduler.evaluate import RunResult, evaluate
from pbclient.scheduler.plan import OWED, UNJUDGED
from pbclient.scheduler.workers import ECHO, Interrupts

SHOWN = 3  # reasons that are worth reading at the end of a run
# Who is named in a URL: up to its last @ before the path.
_USER = re.compile(r"^((?:--[a-z-]*base-url=)?\s*[a-z][a-z0-9+.-]*://)[^/?#]*@", re.IGNORECASE)
SLOW = 0.05  # seconds: while a callback runs no answer is taken, no panel drawn and no Ctrl-C heard


type Work[T] = Callable[[Progress, Interrupts], Awaitable[T]]


def play(config: RunConfig, *, debug: bool = False) -> RunResult:
    """Run `config` before a person; with `debug` it says what holds the event loop up."""

    async def work(progress: Progress, interrupts: Interrupts) -> RunResult:
        with slow_callbacks(progress.say) if debug else nullcontext():
            return await evaluate(config, progress=progress, interrupts=interrupts)

    return attended(work)


@contextmanager
def slow_callbacks(say: Say) -> Iterator[None]:
    """Put the running loop into asyncio's debug mode, and `say` which callbacks take longer than `SLOW`."""
    count = 0

    def tell(record: logging.LogRecord) -> None:
        nonlocal count
        sentence = record.getMessage()
        count += sentence.startswith("Executing ")
        say(sentence)

    loop, logger, handler = asyncio.get_running_loop(), logging.getLogger("asyncio"), logging.Handler()
    handler.emit = tell  # type: ignore[method-assign]
    loop.slow_callback_duration = SLOW
    loop.set_debug(True)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        loop.set_debug(False)
        times = "once" if count == 1 else f"{count} times"
        say(f"Event loop held up {times} for more than {1000 * SLOW:.0f} ms.")


def attended[T](work: Work[T]) -> T:
    """Do `work` with a live panel on a terminal and plain lines in a pipe, both on stderr, and Ctrl-C."""
    progress = Progress()
    with ExitStack() as stack:
        # Started with stderr closed there is nobody to tell anything.
        stream = sys.stderr or stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        stack.enter_context((panel if stream.isatty() else plain)(progress, stream))
        return asyncio.run(_interruptible(work, progress))


async def _interruptible[T](work: Work[T], progress: Progress) -> T:
    at_terminal = sys.stdin is not None and sys.stdin.isatty()
    interrupts = Interrupts(echo=0.0 if at_terminal else ECHO)

    def interrupt() -> None:
        if interrupts.count == 0:
            progress.say("Finishing and storing what is on the wire; Ctrl-C again stops at once.")
        interrupts()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    return await work(progress, interrupts)


def ending(result: RunResult, command: Sequence[str]) -> list[str]:
    """Where the run is, why it stopped or left episodes unresolved, and the `command` that continues it."""
    lines = [f"Run folder: {result.folder}", *unresolved(result)]
    if result.interrupted:
        lines.append("Interrupted; the figures above are of what was finished.")
    elif result.exit_code == 3:
        lines.append("Stopped by the budget: continue with a higher --max-cost (twice as much stands below).")
    # The same command asks again for what is owed; refusals and cut answers are final.
    outcomes = result.outcomes
    if sum(outcomes.values()) < result.planned or any(outcomes.get(outcome) for outcome in OWED):
        limit = result.summary["cost"]["limit"] if result.exit_code == 3 else None
        lines.append(f"To continue: {_continued(command, str(result.folder), limit)}")
    elif outcomes.get(UNJUDGED):
        again = ["pbclient", "judge", str(result.folder), "--only-failed"]
        lines.append(f"To ask the judge again: {shlex.join(again)}")
    return lines


def report_line(result: RunResult, config: RunConfig, *, make: bool) -> Iterator[str]:
    """Where the report of a run is, made here or by the command that is named; nothing of an empty run."""
    if not result.outcomes:
        return
    if make:
        from pbclient.report.html.report import write_report

        written = write_report([result.folder], data=config.data)
        yield from written.notes
        yield f"Report: {written.path}"
    else:
        data = [] if config.data is None else ["--data", str(config.data)]
        yield f"To see every episode: {shlex.join(['pbclient', 'report', str(result.folder), *data])}"


def unresolved(result: RunResult) -> list[str]:
    """Why episodes were not resolved, the commonest reasons first, and what stopped the run; each once."""
    reasons = [(reason, count) for reason, count in result.reasons if reason != result.unusable]
    lines = [f"Unresolved ({count}): {reason}" for reason, count in reasons[:SHOWN]]
    more = sum(count for _, count in reasons[SHOWN:])
    if more:
        lines.append(f"Unresolved for other reasons ({more}): see `error` in episodes.jsonl.")
    if result.unusable is not None:
        lines.append(f"Stopped: {result.unusable}")
    return lines


def _continued(command: Sequence[str], folder: str, reached: float | None) -> str:
    """The command that continues a run, with twice the limit where that was `reached` (dollars).

    Who stands in a base URL with a password is not shown.
    """
    named = any(word == "--out" or word.startswith("--out=") for word in command)
    words = list(command) if named else [*command, "--out", folder]
    if reached is not None:
        for number, word in enumerate(words):
            if word == "--max-cost":
                del words[number : number + 2]
                break
        words = [word for word in words if not word.startswith("--max-cost=")]
        words += ["--max-cost", f"{(Decimal(str(reached)) * 2).normalize():f}"]
    return shlex.join(_USER.sub(r"\1USER:PASSWORD@", word) for word in words)
