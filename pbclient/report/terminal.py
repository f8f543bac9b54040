"""Print tables and paragraphs to stdout.

On a terminal that has room for them tables are drawn. Elsewhere the same values are plain text, never
wrapped or cut, which a narrow terminal breaks where it ends and mends when it is widened.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: rows of cells under headings, with a line above each row whose number is in `breaks`.

    The first `left` columns are set to the left, the others to the right. With `total` the last row is
    of all the others.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    breaks: tuple[int, ...] = ()
    left: int = 1
    total: bool = False


type Part = Grid | str  # a paragraph is a text


def show(*parts: Part) -> None:
    """Print tables and paragraphs, with an empty line between them."""
    grids = [part for part in parts if isinstance(part, Grid)]
    if grids and sys.stdout is not None and sys.stdout.isatty():
        # Rich costs a tenth of a second that pipes and plain lines need not pay.
        from rich.console import Console

        console = Console()
        if all(_has_room(console, draw([grid])) for grid in grids):
            console.print(draw(parts))
            return
    click.echo(plain(parts))


def plain(parts: Sequence[Part]) -> str:
    """As text: never wrapped or cut, no colours."""
    return "\n\n".join(part if isinstance(part, str) else "\n".join(_lines(part)) for part in parts)


def _lines(grid: Grid) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(grid.headings, *grid.rows, strict=True)]
    for number, row in enumerate([grid.headings, *grid.rows], -1):
        if number in grid.breaks:
            yield ""
        cells = [
            cell.ljust(width) if column < grid.left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def draw(parts: Sequence[Part]) -> RenderableType:
    """For a terminal with room for it."""
    from rich.console import Group
    from rich.text import Text

    lines: list[RenderableType] = []
    for part in parts:
        lines += ["", Text(part) if isinstance(part, str) else _table(part)]
    return Group(*lines[1:])


def _table(grid: Grid) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column, heading in enumerate(grid.headings):
        table.add_column(Text(heading), justify="left" if column < grid.left else "right", overflow="fold")
    for number, row in enumerate(grid.rows):
        total = grid.total and number == len(grid.rows) - 1
        if total or number in grid.breaks:
            table.add_section()
        table.add_row(*map(Text, row), style="bold" if total else None)
    return table


def _has_room(console: Console, drawn: RenderableType) -> bool:
    from rich.measure import Measurement

    unbounded = console.options.update(width=1_000_000)
    return Measurement.get(console, unbounded, drawn).maximum <= console.width
