"""What people see while a run goes on: a live panel on a terminal, a line now and then in a pipe.

Reads `Progress` and changes nothing. The closing table is in `tables`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from pbclient.progress import Progress, Tally
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
    from rich.console import Console
    from rich.live import Live

    console = Console(file=stream)
    pace = Speed()
    with Live(console=console, get_renderable=lambda: render(progress, pace), transient=True):
        progress.say = lambda sentence: console.print(sentence, markup=False, highlight=False, emoji=False)
        yield


@contextmanager
def plain(progress: Progress, stream: TextIO) -> Iterator[None]:
    """A line every 15 seconds in which something has changed."""
    done = threading.Event()
    pace = Speed()

    def say(sentence: str) -> None:
        with suppress(OSError):  # whoever read along has gone: that is no reason to lose a paid run
            print(sentence, file=stream, flush=True)

    def tell() -> None:
        said = None
        while not done.wait(LINE_EVERY):
            pace.note(progress)
            now = (progress.finished, progress.wire(), progress.retries)
            if now != said:
                said = now
                say(status_line(progress, pace))

    progress.say = say
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
        (began, spent_then, finished_then, _), (now, spent, finished, _) = (
            self._readings[0],
            self._readings[-1],
        )
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
    parts = [_count_line(progress, pace), _money_line(progress, pace), _wire_line(progress)]
    return " · ".join([*parts, *_unresolved(progress), *_busy(progress, pace)])


def render(progress: Progress, pace: Speed) -> Group:
    """The panel at this moment: a bar a data set, then a line each for time, money, calls and waits."""
    from rich.console import Group
    from rich.text import Text

    pace.note(progress)
    lines = [_count_line(progress, pace), _money_line(progress, pace), _wire_line(progress)]
    quiet = [*_unresolved(progress), *_busy(progress, pace), *_waiting(progress)]
    # Cut rather than wrapped: a panel whose height jumps cannot be read.
    texts = [Text(line, no_wrap=True, overflow="ellipsis") for line in lines]
    texts += [Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in quiet]
    return Group(_bars(progress), *texts)


def _count_line(progress: Progress, pace: Speed) -> str:
    line = f"{progress.finished}/{progress.planned} episodes"
    line += f" ({progress.stage})" if progress.stage else ""
    if not progress.planned:
        return line
    line += f" in {_duration(progress.clock() - progress.started)}"
    speed = pace.per_second()
    left = progress.planned - progress.finished
    if speed is not None and speed[1] > 0 and left:
        line += f", about {_duration(left / speed[1])} left"
    return line


def _money_line(progress: Progress, pace: Speed) -> str:
    """Spent, held, limit, speed and projection."""
    settled, held, limit = progress.money()
    of = "" if limit is None else f" of {_dollars(limit)}"
    parts = [f"{_dollars(settled)} spent", f"{_dollars(held)} held{of}"]
    speed = pace.per_second()
    if settled and speed is not None:
        parts.append(f"{_dollars(60 * speed[0])}/min")
    if settled and progress.finished:
        parts.append(f"~{_dollars(settled * progress.planned / progress.finished)} in all")
    return " · ".join(parts)


def _wire_line(progress: Progress) -> str:
    """Calls, hits and what they saved, retries, and how many are on the wire."""
    calls, running = progress.wire()
    saved = f" (saved {_dollars(progress.saved)})" if progress.saved else ""
    return f"{calls} calls · {progress.hits} hits{saved} · {progress.retries} retries · {running} on the wire"


def _unresolved(progress: Progress) -> list[str]:
    """The outcomes that are no answer, in one line where there are any."""
    # Copied in one step, here and below: the run goes on in another thread.
    kinds = [(kind, count) for kind, count in list(progress.outcomes.items()) if kind != "resolved" and count]
    said = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in sorted(kinds))
    return [f"unresolved: {said}"] if said else []


def _busy(progress: Progress, pace: Speed) -> list[str]:
    """That the client limits the run, and what helps, where something does."""
    return [f"this process limits the run: {progress.remedy}"] if progress.remedy and pace.busy() else []


def _waiting(progress: Progress) -> list[str]:
    """What the episodes that have run longest do at this moment, a line each."""
    now = progress.clock()
    oldest = sorted(list(progress.active.values()), key=lambda activity: activity.since)[:SHOWN_WAITING]
    width = max((len(activity.name) for activity in oldest), default=0)
    return [
        f"{activity.name:<{width}}  {_duration(now - activity.since):>5}  {_doing(activity.state)}"
        for activity in oldest
    ]


def _doing(state: str) -> str:
    return state if state == "starting" else f"waits for {state}"


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
        table.add_row(name, bar, Text(count), Text(_so_far(tally)))
    return table


def _so_far(tally: Tally) -> str:
    interval = wilson(tally.correct, tally.resolved)
    if interval is None:
        return ""
    low, high = (100 * bound for bound in interval)
    acc = 100 * tally.correct / tally.resolved
    return f"acc {acc:5.1f} [{low:4.1f}, {high:5.1f}]  ps {tally.suggestions / tally.resolved:.2f}"


def _dollars(value: float) -> str:
    return f"${value:.2f}" if value == 0 or value >= 1 else f"${value:.4f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
