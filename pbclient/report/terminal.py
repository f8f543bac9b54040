"""The edge where text is printed: everything that people see leaves through here.

What models, servers, files and options say is data: characters that a terminal would obey, or not show,
are spelled out (`visible`), and what a stream cannot take is written in ASCII (`fitting`).

On a terminal that has room for them tables are drawn. Elsewhere the same values are plain text, never
wrapped or cut, which a narrow terminal breaks where it ends and mends when it is widened.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from shutil import get_terminal_size
from textwrap import TextWrapper
from typing import TYPE_CHECKING, TextIO, cast

import click

if TYPE_CHECKING:
    from rich.console import Console

# Control (Cc), format (Cf) and surrogate (Cs) characters, line separators (Zl, Zp), and whatever else
# Unicode lets a display leave out (Default_Ignorable_Code_Point); not the tab and the end of a line.
_OBEYED = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160"
    r"\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff"
    r"\uffa0\ufff0-\ufffb\ufffe\uffff\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    r"\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# What we draw with, a character for a character: the width of a line stays.
_IN_ASCII = str.maketrans("─━╸╺·…", "----|~")


def visible(text: str) -> str:
    """`text` with every character that a terminal obeys or hides spelled as Python does: `\\x1b`."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def fitting(text: str, stream: TextIO | None) -> str:
    """`text` in characters that `stream` can take; `LC_ALL=C` says that a terminal shows ASCII alone."""
    charset = getattr(stream, "encoding", None) or "utf-8"
    if os.environ.get("LC_ALL") in ("C", "POSIX") and is_terminal(stream):
        charset = "ascii"
    try:
        text.encode(charset)
    except UnicodeEncodeError:
        return text.translate(_IN_ASCII).encode(charset, "backslashreplace").decode(charset)
    return text


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person sits before `stream`; a program may be started with it closed."""
    return stream is not None and not stream.closed and stream.isatty()


def say(text: str = "", *, err: bool = False) -> None:
    """Print lines to stdout, or to stderr with `err`."""
    _print(visible(text), err=err)


def _print(text: str, *, err: bool = False) -> None:
    click.echo(fitting(text, sys.stderr if err else sys.stdout), err=err)


class Outlet:
    """A stream for what is told while a run goes on: it takes any text, and never fails.

    Whoever reads along may leave: that is no reason to lose a paid run.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:
        """By which rich decides whether it draws bars in ASCII."""
        return "ascii" if fitting("─", self._stream) == "-" else "utf-8"

    def write(self, text: str) -> int:
        if self._stream is not None:
            with suppress(OSError, ValueError):  # a ValueError: it is closed
                self._stream.write(fitting(text, self._stream))
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            with suppress(OSError, ValueError):
                self._stream.flush()

    def isatty(self) -> bool:
        return is_terminal(self._stream)

    def say(self, sentence: str) -> None:
        """Write a line at once."""
        self.write(visible(sentence) + "\n")
        self.flush()


def console(stream: TextIO | None) -> Console:
    """Rich over this stream. What it prints is made `visible` before: it adds its own sequences."""
    from rich.console import Console

    return Console(file=cast(TextIO, Outlet(stream)))


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
    at_terminal = bool(grids) and is_terminal(sys.stdout)
    room = at_terminal and max(map(len, plain(grids).splitlines())) <= columns
    _print(draw(parts, columns) if room else plain(parts))


def plain(parts: Sequence[Part]) -> str:
    """As text: never wrapped or cut, no colours."""
    return "\n\n".join(visible(part) if isinstance(part, str) else "\n".join(_lines(part)) for part in parts)


def draw(parts: Sequence[Part], columns: int) -> str:
    """For a terminal with room for the tables: with rules and bold rows, paragraphs broken between words."""
    wrapper = TextWrapper(columns, break_long_words=False, break_on_hyphens=False)
    drawn: list[str] = []
    for part in parts:
        lines = (
            _lines(part, ruled=True)
            if isinstance(part, Grid)
            else map(wrapper.fill, visible(part).splitlines())
        )
        drawn.append("\n".join(lines))
    return "\n\n".join(drawn)


def _lines(grid: Grid, *, ruled: bool = False) -> Iterator[str]:
    rows = [[visible(cell).replace("\n", r"\n") for cell in row] for row in (grid.headings, *grid.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows, -1):
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
