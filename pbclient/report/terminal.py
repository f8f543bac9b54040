"""Print tables and paragraphs to stdout.

On a terminal that has room for them tables are drawn. Elsewhere the same values are plain text, never
wrapped or cut, which a narrow terminal breaks where it ends and mends when it is widened.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from shutil import get_terminal_size
from textwrap import TextWrapper

import click


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
    columns = get_terminal_size().columns
    at_terminal = bool(grids) and sys.stdout is not None and sys.stdout.isatty()
    room = at_terminal and max(map(len, plain(grids).splitlines())) <= columns
    click.echo(draw(parts, columns) if room else plain(parts))


def plain(parts: Sequence[Part]) -> str:
    """As text: never wrapped or cut, no colours."""
    return "\n\n".join(part if isinstance(part, str) else "\n".join(_lines(part)) for part in parts)


def draw(parts: Sequence[Part], columns: int) -> str:
    """For a terminal with room for the tables: with rules and bold rows, paragraphs broken between words."""
    wrapper = TextWrapper(columns, break_long_words=False, break_on_hyphens=False)
    drawn: list[str] = []
    for part in parts:
        lines = _lines(part, ruled=True) if isinstance(part, Grid) else map(wrapper.fill, part.splitlines())
        drawn.append("\n".join(lines))
    return "\n\n".join(drawn)


def _lines(grid: Grid, *, ruled: bool = False) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(grid.headings, *grid.rows, strict=True)]
    for number, row in enumerate([grid.headings, *grid.rows], -1):
        total = ruled and grid.total and number == len(grid.rows) - 1
        if ruled and number == 0:
            yield "─" * (sum(widths) + 2 * len(widths) - 2)
        elif number in grid.breaks or total:
            yield ""
        cells = [
            cell.ljust(width) if column < grid.left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        line = "  ".join(cells).rstrip()
        yield click.style(line, bold=True) if ruled and (number < 0 or total) else line
