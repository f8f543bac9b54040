"""`pbclient judge`: parse, call `rejudge`, print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pbclient.cli.options import FOLDER, ConfiguredCommand
from pbclient.report.summary import print_summary


@click.command(cls=ConfiguredCommand, config="pbclient.config.JudgeConfig", without={"mmproj"})
@click.argument("folder", metavar="RUN", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def judge(folder: Path, as_json: bool, **options: Any) -> None:
    """Judge the recorded open-ended answers of a run, again or by another model."""
    from pbclient.cli.live import attended, unresolved
    from pbclient.config import JudgeConfig
    from pbclient.scheduler.rejudge import rejudge

    config = JudgeConfig(**options)
    result = attended(
        lambda progress, interrupts: rejudge(folder, config, progress=progress, interrupts=interrupts)
    )
    print_summary(result.summary, as_json)
    judged = result.outcomes.get("resolved", 0)
    click.echo(f"{result.judge} judged {judged} of {result.planned} answers.", err=True)
    for line in unresolved(result.reasons):
        click.echo(line, err=True)
    if result.unusable is not None:
        click.echo(f"Stopped: {result.unusable}", err=True)
    sys.exit(result.exit_code)
