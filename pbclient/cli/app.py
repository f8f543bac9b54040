"""The command line: parse, call one function, print. No logic lives here.

Errors become one sentence and an exit code at this edge and nowhere else; nothing heavy is
imported before a command needs it.
"""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pbclient.cli.cache import cache
from pbclient.cli.compare import compare, filter_
from pbclient.cli.data import data
from pbclient.cli.doctor import doctor
from pbclient.cli.judge import judge
from pbclient.cli.options import FOLDER, ConfiguredCommand
from pbclient.report.summary import print_summary
from pbclient.report.terminal import show

if TYPE_CHECKING:
    from pbclient.scheduler.evaluate import RunResult


class _Sentences(click.Group):
    """Turns every error that we raise ourselves into one sentence and exit code 2, and Ctrl-C into 130."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (KeyboardInterrupt, click.Abort):
            click.echo("Stopped.", err=True)
            raise click.exceptions.Exit(130) from None
        except Exception as error:
            sentence = _sentence(error)
            if sentence is None:
                raise
            click.echo(f"Error: {sentence}", err=True)
            raise click.exceptions.Exit(2) from None


def _sentence(error: Exception) -> str | None:
    # A closed pipe (`| head`) is no error of anybody: click ends the process quietly.
    if isinstance(error, OSError) and error.errno not in (None, errno.EPIPE):
        return f"{error.filename or 'The output'} cannot be used: {error.strerror}."
    # Looked up among what is loaded: an error of a package that was never imported cannot come.
    ours = [("pbclient.errors", "PbclientError"), ("runs.errors", "RunError")]
    ours += [("cache.errors", "CacheError"), ("providers.errors", "ProviderError")]
    for module, name in ours:
        if module in sys.modules and isinstance(error, getattr(sys.modules[module], name)):
            return str(error)
    return None


@click.group(
    cls=_Sentences, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="pbclient")
def main() -> None:
    """Evaluate multimodal models on ProactiveBench: at a bounded price, with nothing paid twice."""


@main.command()
def demo() -> None:
    """Try everything in a few seconds: no key, no data, no network."""
    from pbclient.cli.demo import show

    show(click.echo)


@main.command(cls=ConfiguredCommand, config="pbclient.config.RunConfig")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--debug", is_flag=True, help="Say which callbacks hold the event loop up for more than 50 ms.")
def run(as_json: bool, debug: bool, **options: Any) -> None:
    """Play the episodes with a model, or continue the run in --out."""
    from pbclient.cli.live import play
    from pbclient.config import RunConfig

    result = play(RunConfig(**options), debug=debug)
    print_summary(result.summary, as_json)
    _print_ending(result)
    sys.exit(result.exit_code)


@main.command(cls=ConfiguredCommand, config="pbclient.config.RunConfig", without={"release_holds"})
@click.option("--json", "as_json", is_flag=True, help="Print the estimate as JSON.")
def estimate(as_json: bool, **options: Any) -> None:
    """What a run with these options will cost and tell. Asks nobody, needs no key."""
    import json

    from pbclient.config import RunConfig
    from pbclient.forecast.estimate import estimate as estimated
    from pbclient.report.estimate import parts

    found = estimated(RunConfig(**options))
    show(*[json.dumps(found.to_json(), indent=2)] if as_json else parts(found))


@main.command()
@click.argument("folder", metavar="RUN", type=FOLDER)
@click.option("--reward", is_flag=True, help="The paper's post-training reward of each turn instead.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def score(folder: Path, reward: bool, as_json: bool) -> None:
    """Score a run again from its recorded answers: no call, no cache, no images."""
    from pbclient.scores.rescore import rescore_run

    if reward:
        _print_rewards(folder, as_json)
    else:
        print_summary(rescore_run(folder), as_json)


def _print_rewards(folder: Path, as_json: bool) -> None:
    import json

    from pbclient.scores.rewards import recorded_rewards, reward_lines

    found = recorded_rewards(folder)
    show(json.dumps(found, indent=2) if as_json else "\n".join(reward_lines(found)))


@main.command()
def providers() -> None:
    """What can be named after --provider, and what each needs."""
    from pbclient.models.doctor import HEAD, OTHERS, provider_rows

    rows = [HEAD, *provider_rows()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(map(str.ljust, row, widths)).rstrip())
    click.echo(f"\n{OTHERS}")


def _print_ending(result: RunResult) -> None:
    from pbclient.cli.live import ending

    for line in ending(result, ["pbclient", *sys.argv[1:]]):
        click.echo(line, err=True)


for command in (judge, compare, filter_, data, doctor, cache):
    main.add_command(command)
