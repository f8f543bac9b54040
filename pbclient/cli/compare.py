"""`pbclient compare` and `pbclient filter`: parse, call one function, print."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pbclient.cli.options import FOLDER, TEXT
from pbclient.report.terminal import show

_RUNS = click.argument("folders", metavar="RUN...", nargs=-1, type=FOLDER)
_FORCE = click.option(
    "--force", is_flag=True, help="Match samples by id where the data are not known to be the same."
)


@click.command("compare")
@_RUNS
@click.option(
    "--flips", is_flag=True, help="List every episode whose answer changed, not only the first few."
)
@click.option(
    "--with", "beside", type=click.Choice(["paper"]), help="Show published figures beside the runs."
)
@_FORCE
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def compare(folders: tuple[Path, ...], flips: bool, beside: str | None, force: bool, as_json: bool) -> None:
    """Two or more runs on the episodes they share: paired differences, tests, what changed."""
    from pbclient.benchmark.paper import table
    from pbclient.compare.comparison import compare as compared
    from pbclient.report.comparison import parts

    comparison = compared(folders, force=force)
    if beside:
        comparison["paper"] = table()
    show(*[json.dumps(comparison, indent=2)] if as_json else parts(comparison, flips=flips))


@click.command("filter")
@_RUNS
@click.option(
    "--threshold",
    type=TEXT,
    default="25",
    show_default=True,
    help="Percent of the runs: what so many answer at the first turn is dropped.",
)
@click.option("--out", type=FOLDER, help="Write the kept samples here, for `run --filter FILE`.")
@_FORCE
@click.option("--json", "as_json", is_flag=True, help="Print what --out writes.")
def filter_(folders: tuple[Path, ...], threshold: str, out: Path | None, force: bool, as_json: bool) -> None:
    """The paper's filter from runs of several models on unfiltered data (run --filter none)."""
    from pbclient.compare.filter import dump, make_filter, read_threshold, write
    from pbclient.report.filter import parts

    filtered = make_filter(folders, read_threshold(threshold), force=force)
    written = "--out FILE writes the list."
    if out is not None:
        write(out, filtered)
        written = f"Kept samples: {out} (run --filter {out} plays them)."
    show(*[dump(filtered).decode().rstrip("\n")] if as_json else [*parts(filtered), written])
