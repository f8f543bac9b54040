"""pbclient study"""

from __future__ import annotations

from pathlib import Path

import click

from pbclient.cli.options import FOLDER


@click.group()
def study() -> None:
    """Models under the paper's conditions, side by side."""


@study.command()
@click.argument("folders", metavar="FOLDER...", nargs=-1, required=True, type=FOLDER)
@click.option(
    "--out", type=FOLDER, help="Write study.json, and every table as CSV and LaTeX, into this folder."
)
@click.option("--html", type=FOLDER, help="Write one HTML page here: charts and tables.")
@click.option("--json", "as_json", is_flag=True, help="Print study.json.")
def report(folders: tuple[Path, ...], out: Path | None, html: Path | None, as_json: bool) -> None:
    """The paper's tables and figures from your own runs: those in FOLDER, and below it.

    Which condition a run was played under, its run.json says. The paper's values stand beside yours.
    """
    from pbclient.compare.listing import recorded_cells
    from pbclient.report.study_files import report_study

    title = folders[0].resolve().name if len(folders) == 1 else "Recorded runs"
    report_study(recorded_cells(folders), out, as_json=as_json, html=html, title=title)
