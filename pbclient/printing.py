"""What several commands print to stdout: lines, and a summary as a table, as text or as JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import click


def print_lines(lines: Iterable[str]) -> None:
    """A line each."""
    for line in lines:
        click.echo(line)


def print_summary(summary: dict[str, Any], as_json: bool) -> None:
    """A table on a terminal, plain text in a pipe, or the bytes of summary.json."""
    from pbclient.scores import dump
    from pbclient.tables import plain, table

    if as_json:
        click.echo(dump(summary).decode(), nl=False)
    elif sys.stdout is not None and sys.stdout.isatty():
        from rich.console import Console

        Console().print(table(summary))
    else:
        click.echo(plain(summary))
