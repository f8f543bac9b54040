"""What people see while a run goes on: a live panel on a terminal, a line now and then in a pipe.

Reads `Progress` and changes nothing. The closing table is in `tables`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from pbclient.intervals import wilson
from pbclient.progress import Progress, Tally

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

LINE_EVERY = 15.0  # seconds between two lines in a pipe
SHOWN_WAITING = 3  # how many of the oldest running episodes say what they wait for


@contextmanager
def panel(progress: Progress, stream: TextIO) -> Iterator[None]:
    """A live panel on a terminal, gone when the block ends."""
    from rich.console import Console
    from rich.live import Live

    console = Console(file=stream)
    with Live(console=console, get_renderable=lambda: _render(progress), transient=True):
        progress.say = lambda sentence: console.print(sentence, markup=False, highlight=False)
        yield


@contextmanager
def plain(progress: Progress, stream: TextIO) -> Iterator[None]:
    """A line at every tenth of the run's time that is worth one, never more often than every 15 s."""
    done = threading.Event()

    def tell() -> None:
        said = -1
        while not done.wait(LINE_EVERY):
            if progress.finished != said:
                said = progress.finished
                print(status_line(progress), file=stream, flush=True)

    progress.say = lambda sentence: print(sentence, file=stream, flush=True)
    teller = threading.Thread(target=tell, name="pbclient-status", daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


def status_line(progress: Progress) -> str:
    """The whole run in one line."""
    return f"{progress.finished}/{progress.planned} episodes · {money_line(progress)} · {wire_line(progress)}"


def money_line(progress: Progress) -> str:
    """Spent, held, limit, speed, projection and what the cache saved."""
    settled, held, limit = progress.money()
    parts = [f"${settled:.4f} spent", f"${held:.4f} held" + ("" if limit is None else f" of ${limit:.2f}")]
    minutes = (progress.clock() - progress.started) / 60
    if settled and minutes > 0.05:
        parts.append(f"${settled / minutes:.2f}/min")
    if settled and progress.finished:
        parts.append(f"~${settled * progress.planned / progress.finished:.2f} in all")
    if progress.saved:
        parts.append(f"${progress.saved:.4f} saved by the cache")
    return " · ".join(parts)


def wire_line(progress: Progress) -> str:
    """Calls, hits, retries, and how many are on the wire."""
    calls, running = progress.wire()
    return f"{calls} calls · {progress.hits} hits · {progress.retries} retries · {running} on the wire"


def _render(progress: Progress) -> Group:
    from rich.console import Group
    from rich.text import Text

    lines = [Text(money_line(progress)), Text(wire_line(progress), style="dim")]
    if waiting := _waiting(progress):
        lines.append(Text(waiting, style="dim"))
    return Group(_bars(progress), *lines)


def _bars(progress: Progress) -> Table:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    table = Table.grid(padding=(0, 1))
    for name, tally in progress.datasets.items():
        bar = ProgressBar(total=max(tally.planned, 1), completed=tally.finished, width=24)
        table.add_row(name, bar, f"{tally.finished}/{tally.planned}", _so_far(tally))
    return table


def _so_far(tally: Tally) -> str:
    interval = wilson(tally.correct, tally.resolved)
    if interval is None:
        return ""
    low, high = (100 * bound for bound in interval)
    acc = 100 * tally.correct / tally.resolved
    return f"acc {acc:5.1f} [{low:.1f}, {high:.1f}]  ps {tally.suggestions / tally.resolved:.2f}"


def _waiting(progress: Progress) -> str:
    now = progress.clock()
    oldest = sorted(list(progress.active.values()), key=lambda activity: activity.since)[:SHOWN_WAITING]
    if not oldest:
        return ""
    return "longest: " + " · ".join(
        f"{activity.name} waits for {activity.state} ({now - activity.since:.0f} s)" for activity in oldest
    )
