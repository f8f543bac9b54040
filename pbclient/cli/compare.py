"""`pbclient compare` and `pbclient filter`: parse, call one function, print."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pbclient.cli.options import FOLDER, TEXT
from pbclient.report.terminal import print_parts

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

    found = compared(folders, force=force)
    if beside:
        found["paper"] = table()
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        print_parts(parts(found, flips=flips))


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

    found = make_filter(folders, read_threshold(threshold), force=force)
    if out is not None:
        write(out, found)
    if as_json:
        click.echo(dump(found).decode(), nl=False)
        return
    written = (
        f"Kept samples: {out} (run --filter {out} plays them)." if out else "--out FILE writes the list."
    )
    print_parts([*parts(found), written])
