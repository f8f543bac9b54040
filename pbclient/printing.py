"""What several commands print to stdout: lines, tables with paragraphs, and a summary as either or as JSON.

Tables are drawn on a terminal that has room for them. Elsewhere they are plain text, never wrapped or
cut, which a narrow terminal breaks where it ends and mends when it is widened.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from pbclient.grids import Part


def print_lines(lines: Iterable[str]) -> None:
    """A line each."""
    for line in lines:
        click.echo(line)


def print_parts(found: Sequence[Part]) -> None:
    """Tables and paragraphs."""
    from pbclient.grids import Grid, plain, rich

    console = _terminal()
    if console and all(_has_room(console, rich([part])) for part in found if isinstance(part, Grid)):
        console.print(rich(found))
    else:
        click.echo(plain(found))


def print_summary(summary: dict[str, Any], as_json: bool) -> None:
    """A table, or the bytes of summary.json."""
    from pbclient.scores import dump
    from pbclient.tables import plain, table

    if as_json:
        click.echo(dump(summary).decode(), nl=False)
    elif (console := _terminal()) and _has_room(console, drawn := table(summary)):
        console.print(drawn)
    else:
        click.echo(plain(summary))


def _terminal() -> Console | None:
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    # Rich costs a tenth of a second that scripts need not pay.
    from rich.console import Console

    return Console()


def _has_room(console: Console, drawn: RenderableType) -> bool:
    from rich.measure import Measurement

    unbounded = console.options.update(width=1_000_000)
    return Measurement.get(console, unbounded, drawn).maximum <= console.width
