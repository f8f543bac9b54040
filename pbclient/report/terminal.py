"""What several commands print to stdout: lines, tables with paragraphs, and a summary as either or as JSON.

Tables are drawn on a terminal that has room for them. Elsewhere they are plain text, never wrapped or
cut, which a narrow terminal breaks where it ends and mends when it is widened.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


def print_lines(lines: Iterable[str]) -> None:
    """A line each."""
    for line in lines:
        click.echo(line)


def print_parts(found: Sequence[Part]) -> None:
    """Tables and paragraphs."""
    pass

    console = terminal()
    if console and all(has_room(console, rich([part])) for part in found if isinstance(part, Grid)):
        console.print(rich(found))
    else:
        click.echo(plain(found))


def terminal() -> Console | None:
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    # Rich costs a tenth of a second that scripts need not pay.
    from rich.console import Console

    return Console()


def has_room(console: Console, drawn: RenderableType) -> bool:
    from rich.measure import Measurement

    unbounded = console.options.update(width=1_000_000)
    return Measurement.get(console, unbounded, drawn).maximum <= console.width


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: rows of cells under headings, with a line above each place in `breaks`."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    breaks: tuple[int, ...] = ()


type Part = Grid | str  # a paragraph is a text


def plain(found: Sequence[Part]) -> str:
    """As text: never wrapped or cut, no colours."""
    return "\n\n".join(part if isinstance(part, str) else "\n".join(_lines(part)) for part in found)


def rich(found: Sequence[Part]) -> RenderableType:
    """For a terminal with room for it."""
    # Rich costs a tenth of a second that scripts need not pay.
    from rich.console import Group
    from rich.text import Text

    return Group(*(Group(Text(part) if isinstance(part, str) else _table(part), "") for part in found))


def _lines(grid: Grid) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(grid.headings, *grid.rows, strict=True)]
    for number, row in enumerate([grid.headings, *grid.rows]):
        if number - 1 in grid.breaks:
            yield ""
        first, *rest = zip(row, widths, strict=True)
        yield "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]).rstrip()


def _table(grid: Grid) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for place, heading in enumerate(grid.headings):
        table.add_column(Text(heading), justify="right" if place else "left", overflow="fold")
    for number, row in enumerate(grid.rows):
        if number in grid.breaks:
            table.add_section()
        table.add_row(*map(Text, row))
    return table
