"""`pbclient judge`: parse, call `rejudge`, print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pbclient.cli.options import FOLDER, TEXT, dollars, engine_options
from pbclient.report.summary import print_summary


def _limit(context: click.Context, option: click.Parameter, text: str) -> Any:
    from pbclient.scheduler.rejudge import AS_THE_RUN

    return text if text == AS_THE_RUN else dollars(context, option, text)


@click.command()
@click.argument("folder", metavar="RUN", type=FOLDER)
@click.option("--judge-provider", "provider", type=TEXT, help="Who judges; by default the run's own judge.")
@click.option("--judge-model", "model", type=TEXT, help="Its name at the provider.")
@click.option("--judge-base-url", "base_url", type=TEXT, help="Any server that speaks its protocol.")
@click.option(
    "--judge-max-tokens",
    "max_tokens",
    type=click.IntRange(1),
    help="Output limit; by default what suits it.",
)
@click.option("--judge-price", "price", type=TEXT, help="IN,OUT in dollars per million tokens.")
@click.option("--judge-grammar", "grammar", is_flag=True, help="Let it write nothing but a verdict.")
@engine_options
@click.option(
    "--only-failed", is_flag=True, help="Only answers that this judge of the run left without a verdict."
)
@click.option(
    "--max-cost",
    default="as the run",
    show_default=True,
    callback=_limit,
    help="Dollars that the whole run may cost, judging included, or none.",
)
@click.option(
    "--concurrency", type=click.IntRange(1), default=64, show_default=True, help="Most calls at once."
)
@click.option("--rpm", type=click.IntRange(1), help="Most requests a minute.")
@click.option("--tpm", type=click.IntRange(1), help="Most tokens a minute.")
@click.option("--timeout", type=float, default=300.0, show_default=True, help="Seconds for one attempt.")
@click.option("--cache-dir", type=FOLDER, help="Where answers are kept; by default as the run keeps them.")
@click.option("--offline", is_flag=True, help="Ask nobody: only verdicts that the cache holds.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def judge(folder: Path, as_json: bool, **options: Any) -> None:
    """Judge the recorded open-ended answers of a run, again or by another model."""
    from dataclasses import fields

    from pbclient.cli.live import attended, unresolved
    from pbclient.models.engines import Engine
    from pbclient.scheduler.rejudge import JudgeConfig, rejudge

    engine = Engine(**{each.name: options.pop(each.name) for each in fields(Engine) if each.name in options})
    config = JudgeConfig(**options, engine=engine)
    result = attended(
        lambda progress, interrupts: rejudge(folder, config, progress=progress, interrupts=interrupts)
    )
    print_summary(result.summary, as_json)
    click.echo(f"{result.judge} judged {result.judged} of {result.asked} answers.", err=True)
    for line in unresolved(result.reasons):
        click.echo(line, err=True)
    if result.unusable is not None:
        click.echo(f"Stopped: {result.unusable}", err=True)
    sys.exit(result.exit_code)
