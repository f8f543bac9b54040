"""`pbclient cache`: the commands that look into the stored answers."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pbclient.cli.options import FOLDER
from pbclient.report.terminal import show


@click.group()
def cache() -> None:
    """Look into the stored answers."""


_CACHE_DIR = click.option(
    "--cache-dir", type=FOLDER, help="Where answers are kept; by default the user's cache folder."
)


@cache.command("stats")
@_CACHE_DIR
def cache_stats(cache_dir: Path | None) -> None:
    """How many entries there are, how large and how old: answers, and what was learned of models."""
    from pbclient.cli.answers import stats_lines

    show("\n".join(stats_lines(cache_dir)))


@cache.command("check")
@_CACHE_DIR
@click.option("--fix", is_flag=True, help="Delete what cannot be read.")
def cache_check(cache_dir: Path | None, fix: bool) -> None:
    """Read every entry; exit code 4 if one is corrupt."""
    from pbclient.cli.answers import check_lines

    problems = check_lines(cache_dir, fix)
    show("\n".join(problems) or "Every entry is sound.")
    sys.exit(4 if problems and not fix else 0)


@cache.command("clear")
@_CACHE_DIR
@click.option("--provider", help="Only the answers of this provider.")
@click.option("--model", help="Only the answers of this model.")
@click.confirmation_option(prompt="These answers were paid for. Delete them?")
def cache_clear(cache_dir: Path | None, provider: str | None, model: str | None) -> None:
    """Delete stored answers."""
    from pbclient.cli.answers import clear

    show(f"{clear(cache_dir, provider, model)} entries deleted.")


@cache.command("why")
@_CACHE_DIR
@click.argument("what", metavar="RUN|KEY")
def cache_why(cache_dir: Path | None, what: str) -> None:
    """Why a request missed: the nearest stored one and the paths that differ."""
    from pbclient.cli.answers import why_lines

    show("\n".join(why_lines(cache_dir, what)))
