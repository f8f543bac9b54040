"""`pbclient doctor`: parse, call `examine`, print."""

from __future__ import annotations

import sys
from typing import Any

import click

from pbclient.cli.options import FOLDER, TEXT, engine_options


@click.command()
@click.option("--provider", type=TEXT, help="What to look at; without it: what there is to choose from.")
@click.option("--model", type=TEXT, help="llamacpp: a .gguf file; transformers: a folder or a hub name.")
@click.option("--base-url", type=TEXT, help="A server of your own.")
@click.option("--price", type=TEXT, help="IN,OUT in dollars per million tokens; 0,0 lets it be tried out.")
@click.option("--mmproj", type=FOLDER, help="llamacpp: the projector file that gives the model eyes.")
@engine_options
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def doctor(as_json: bool, **options: Any) -> None:
    """What is installed, whether a model sees, how fast it is, and whether batching changes its answers.

    A model that costs money is asked nothing. Exit code 4 when something must be mended.
    """
    import asyncio
    import json
    import time
    from dataclasses import fields

    from pbclient.models.doctor import DoctorConfig, examine
    from pbclient.models.engines import Engine
    from pbclient.models.findings import Finding, to_json

    engine = Engine(**{option.name: options.pop(option.name) for option in fields(Engine)})
    config = DoctorConfig(**options, engine=engine)
    findings: list[Finding] = []

    def tell(finding: Finding) -> None:
        findings.append(finding)
        if not as_json:
            click.echo(str(finding))

    asyncio.run(examine(config, tell, time.perf_counter, lambda line: click.echo(line, err=True)))
    if as_json:
        click.echo(json.dumps(to_json(findings), indent=2))
    sys.exit(0 if all(finding.good for finding in findings) else 4)
