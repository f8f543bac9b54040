"""`pbclient export`: a run in the formats of other tools."""

from __future__ import annotations

from pathlib import Path

import click

from pbclient.cli.options import FOLDER
from pbclient.report.terminal import say

FORMATS = ("inspect", "csv", "jsonl", "latex", "hf", "eee")


@click.command()
@click.argument("folders", metavar="RUN...", nargs=-1, type=FOLDER)
@click.option(
    "--to",
    type=click.Choice(FORMATS),
    required=True,
    help="inspect: a log of Inspect AI; csv, jsonl: a row a turn, of several runs if you like; latex: the "
    "table; hf: the results entry of a model card; eee: Every Eval Ever.",
)
@click.option("--out", type=FOLDER, help="By default stdout; for inspect and eee the current folder.")
@click.option("--data", type=FOLDER, help="inspect: the run's data folder; by default where `run` looks.")
@click.option("--images/--no-images", default=True, help="inspect: whether the log holds the frames.")
def export(folders: tuple[Path, ...], to: str, out: Path | None, data: Path | None, images: bool) -> None:
    """Recorded runs in the formats of other tools. No key, path or user name leaves with them."""
    from pbclient.export.export import export as exported
    from pbclient.export.export import read

    for line in exported(read(folders, to), to, out, data=data, images=images):
        say(line)
