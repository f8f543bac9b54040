"""`pbclient doctor`: parse, call `examine`, print."""

from __future__ import annotations

import sys
from typing import Any

import click

from pbclient.cli.options import ConfiguredCommand


@click.command(cls=ConfiguredCommand, config="pbclient.models.doctor.DoctorConfig")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def doctor(as_json: bool, **options: Any) -> None:
    """What is installed, whether a model sees, how fast it is, and whether batching changes its answers.

    A model that costs money is asked nothing. Exit code 4 when something must be mended.
    """
    import asyncio
    import json
    import time

    from pbclient.models.doctor import DoctorConfig, examine
    from pbclient.models.trials import Finding, to_json

    config = DoctorConfig(**options)
    findings: list[Finding] = []

    def tell(finding: Finding) -> None:
        findings.append(finding)
        if not as_json:
            click.echo(str(finding))

    asyncio.run(examine(config, tell, time.perf_counter, lambda line: click.echo(line, err=True)))
    if as_json:
        click.echo(json.dumps(to_json(findings), indent=2))
    sys.exit(0 if all(finding.good for finding in findings) else 4)
