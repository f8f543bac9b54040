"""What people see while a run goes on: a live panel on a terminal, a line now and then in a pipe.

Reads `Progress` and changes nothing.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from pbclient.money.amounts import format_amount
from pbclient.progress import Progress
from pbclient.report.terminal import Outlet, console, visible
from pbclient.scores.intervals import wilson

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table


LINE_EVERY = 15.0  # seconds between two lines in a pipe
PACE_OVER = 60.0  # seconds of the recent past that the speed is taken from
BUSY = 0.9  # share of a core from which on the client itself is what the run waits for
BUSY_AFTER = 10.0  # seconds of such work before it is said: an import also takes seconds
SHOWN_WAITING = 3  # how many of the oldest running episodes say what they wait for


@contextmanager
def panel(progress: Progress, stream: TextIO) -> Iterator[None]:
    """A live panel on a terminal, gone when the block ends."""
    from rich.live import Live
    from rich.text import Text

    drawn, pace = console(stream), Speed()
    with Live(console=drawn, get_renderable=lambda: render(progress, pace), transient=True):
        progress.say = lambda sentence: drawn.print(Text(visible(sentence)))
        yield


@contextmanager
def plain(progress: Progress, stream: TextIO) -> Iterator[None]:
    """A line every 15 seconds in which something has changed."""
    done = threading.Event()
    pace, outlet = Speed(), Outlet(stream)

    def tell() -> None:
        last = None
        while not done.wait(LINE_EVERY):
            pace.note(progress)
            now = (progress.finished, progress.wire(), progress.retries)
            if now != last:
                last = now
                outlet.say(status_line(progress, pace))

    progress.say = outlet.say
    teller = threading.Thread(target=tell, name="pbclient-status", daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


@dataclass
class Speed:
    """How fast the run goes now: a continued run has spent and finished before it began."""

    _readings: deque[tuple[float, float, int, float]] = field(default_factory=deque)

    def note(self, progress: Progress) -> None:
        """Take a reading. Before the first episode runs, those of earlier lives are still being counted."""
        if not progress.active and not self._readings:
            return
        now = progress.clock()
        self._readings.append((now, progress.money()[0], progress.finished, progress.worked()))
        while self._readings[0][0] < now - PACE_OVER:
            self._readings.popleft()

    def per_second(self) -> tuple[float, float] | None:
        """Dollars and episodes a second, or None while too little has been seen."""
        if not self._readings:
            return None
        began, spent_then, finished_then, _ = self._readings[0]
        now, spent, finished, _ = self._readings[-1]
        if now - began < 3:
            return None
        return (spent - spent_then) / (now - began), (finished - finished_then) / (now - began)

    def busy(self) -> bool:
        """Whether the processor, not the model, has been what the run waits for."""
        if not self._readings:
            return False
        (began, _, _, worked_then), (now, _, _, worked) = self._readings[0], self._readings[-1]
        return now - began >= BUSY_AFTER and worked - worked_then >= BUSY * (now - began)


def status_line(progress: Progress, pace: Speed) -> str:
    """The whole run in one line."""
    figures, warnings = _figures(progress, pace)
    return " · ".join([*figures, *warnings])


def render(progress: Progress, pace: Speed) -> Group:
    """The panel at this moment: a bar a data set, then a line each for time, money, calls and waits."""
    from rich.console import Group
    from rich.text import Text

    pace.note(progress)
    figures, warnings = _figures(progress, pace)
    # What the episodes that have run longest do at this moment, a line each. Copied in one step, here and
    # below: the run goes on in another thread.
    oldest = sorted(list(progress.active.values()), key=lambda activity: activity.since)[:SHOWN_WAITING]
    width = max((len(activity.name) for activity in oldest), default=0)
    for activity in oldest:
        since = _duration(progress.clock() - activity.since)
        doing = activity.state if activity.state == "starting" else f"waits for {activity.state}"
        warnings.append(f"{activity.name:<{width}}  {since:>5}  {doing}")
    # Cut rather than wrapped: a panel whose height jumps cannot be read.
    figures, warnings = [list(map(visible, lines)) for lines in (figures, warnings)]
    texts = [Text(line, no_wrap=True, overflow="ellipsis") for line in figures]
    texts += [Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in warnings]
    return Group(_bars(progress), *texts)


def _figures(progress: Progress, pace: Speed) -> tuple[list[str], list[str]]:
    """A line each for episodes, money and calls; and what a person should know where there is something."""
    speed = pace.per_second()
    episodes = f"{progress.finished}/{progress.planned} episodes"
    episodes += f" ({progress.stage})" if progress.stage else ""
    if progress.planned:
        episodes += f" in {_duration(progress.clock() - progress.started)}"
        left = progress.planned - progress.finished
        if speed is not None and speed[1] > 0 and left:
            episodes += f", about {_duration(left / speed[1])} left"
    calls, running = progress.wire()
    saved = f" (saved {format_amount(progress.saved)})" if progress.saved else ""
    wire = f"{calls} calls · {progress.hits} hits{saved} · {progress.retries} retries · {running} on the wire"
    warnings: list[str] = []
    outcomes = sorted((kind, count) for kind, count in list(progress.outcomes.items()) if count)
    kinds = [f"{count} {kind.replace('_', ' ')}" for kind, count in outcomes if kind != "resolved"]
    if kinds:
        warnings.append(f"unresolved: {', '.join(kinds)}")
    if progress.remedy and pace.busy():
        warnings.append(f"this process limits the run: {progress.remedy}")
    elif limited := progress.limited():
        warnings.append(f"limited by: {limited}")
    return [episodes, _money(progress, speed), wire], warnings


def _money(progress: Progress, speed: tuple[float, float] | None) -> str:
    """Spent, held, limit, speed and projection."""
    settled, held, limit = progress.money()
    of = "" if limit is None else f" of {format_amount(limit)}"
    parts = [f"{format_amount(settled)} spent", f"{format_amount(held)} held{of}"]
    if settled and speed is not None:
        parts.append(f"{format_amount(60 * speed[0])}/min")
    if settled and progress.finished:
        parts.append(f"~{format_amount(settled * progress.planned / progress.finished)} in all")
    return " · ".join(parts)


def _bars(progress: Progress) -> Table:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    tallies = list(progress.datasets.items())
    counts = [f"{tally.finished}/{tally.planned}" for _, tally in tallies]
    table = Table.grid(padding=(0, 1))
    # In a narrow terminal the bar gives way first, then the figures; never the name and the count.
    table.add_column(no_wrap=True, min_width=max((len(name) for name, _ in tallies), default=0))
    table.add_column(min_width=4, max_width=24)
    table.add_column(no_wrap=True, min_width=max(map(len, counts), default=0), justify="right")
    table.add_column(no_wrap=True)
    for (name, tally), count in zip(tallies, counts, strict=True):
        bar = ProgressBar(total=max(tally.planned, 1), completed=tally.finished)
        figures = ""
        if interval := wilson(tally.correct, tally.resolved):
            low, high = (100 * bound for bound in interval)
            acc, ps = 100 * tally.correct / tally.resolved, tally.suggestions / tally.resolved
            figures = f"acc {acc:5.1f} [{low:4.1f}, {high:5.1f}]  ps {ps:.2f}"
        table.add_row(Text(visible(name)), bar, Text(count), Text(figures))
    return table


def _duration(seconds: float) -> str:
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
