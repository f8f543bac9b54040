"""The command line: parse, call one function, print. No logic lives here.

Errors become one sentence and an exit code at this edge and nowhere else; nothing heavy is
imported before a command needs it.
"""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from pbclient import DISTRIBUTION
from pbclient.cli.cache import cache
from pbclient.cli.data import data
from pbclient.cli.export import export
from pbclient.cli.options import FOLDER, TEXT, ConfiguredCommand
from pbclient.cli.study import study
from pbclient.report.summary import print_summary
from pbclient.report.terminal import Grid, fitting, say, show, visible

_RUNS = click.argument("folders", metavar="RUN...", nargs=-1, type=FOLDER)
_FORCE = click.option(
    "--force", is_flag=True, help="Match samples by id where the data are not known to be the same."
)


_EXAMPLES = """\b
Examples:
  pbclient run --provider openai --model gpt-4.1 --max-cost 25 --out results/mine
  pbclient run --provider anthropic --dataset ROD --limit 20 --hint --max-cost 2
  pbclient run --provider openai --base-url http://localhost:8000/v1 --model NAME --price 0,0
  pbclient run --provider transformers --model ./weights --mode oeg --judge-provider openai
"""


class _Sentences(click.Group):
    """Turns every error that we raise ourselves into one sentence and exit code 2, and Ctrl-C into 130."""

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        with _shown():
            return super().make_context(*args, **more)

    def invoke(self, context: click.Context) -> Any:
        try:
            with _shown():
                return super().invoke(context)
        except (KeyboardInterrupt, click.Abort):
            say("Stopped.", err=True)
            raise click.exceptions.Exit(130) from None
        except Exception as error:
            sentence = _sentence(error)
            if sentence is None:
                raise
            say(f"Error: {sentence}", err=True)
            raise click.exceptions.Exit(2) from None


@contextmanager
def _shown() -> Iterator[None]:
    """What click says of a command line names what was given: it is printed as everything else."""
    try:
        yield
    except click.ClickException as error:
        vars(error)["message"] = fitting(visible(error.message), sys.stderr)
        raise


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
@click.version_option(package_name=DISTRIBUTION, prog_name="pbclient")
def main() -> None:
    """Evaluate multimodal models on ProactiveBench: at a bounded price, with nothing paid twice."""


main.add_command(data)
main.add_command(cache)
main.add_command(export)
main.add_command(study)


@main.command()
def demo() -> None:
    """Try everything in a few seconds: no key, no data, no network."""
    from pbclient.cli.demo import demonstrate

    demonstrate(say)


@main.command(cls=ConfiguredCommand, config="pbclient.config.RunConfig", epilog=_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--report", "reports", is_flag=True, help="Make the run's report at the end.")
@click.option("--debug", is_flag=True, help="Say which callbacks hold the event loop up for more than 50 ms.")
def run(as_json: bool, reports: bool, debug: bool, **options: Any) -> None:
    """Play the episodes with a model, or continue the run in --out."""
    from pbclient.cli.live import ending, play, report_line
    from pbclient.config import RunConfig

    config = RunConfig(**options)
    result = play(config, debug=debug)
    print_summary(result.summary, as_json)
    for line in [*ending(result, ["pbclient", *sys.argv[1:]]), *report_line(result, config, make=reports)]:
        say(line, err=True)
    sys.exit(result.exit_code)


@main.command(cls=ConfiguredCommand, config="pbclient.config.RunConfig", without={"release_holds"})
@click.option("--json", "as_json", is_flag=True, help="Print the estimate as JSON.")
def estimate(as_json: bool, **options: Any) -> None:
    """What a run with these options will cost and tell. Asks nobody, needs no key."""
    from pbclient.config import RunConfig
    from pbclient.forecast.estimate import estimate as estimated
    from pbclient.report.tables import of_estimate

    found = estimated(RunConfig(**options))
    show(*[json.dumps(found.to_json(), indent=2)] if as_json else of_estimate(found))


@main.command()
@click.argument("folder", metavar="RUN", type=FOLDER)
@click.option("--reward", is_flag=True, help="The paper's post-training reward of each turn instead.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def score(folder: Path, reward: bool, as_json: bool) -> None:
    """Score a run again from its recorded answers: no call, no cache, no images."""
    if reward:
        from pbclient.report.tables import of_rewards
        from pbclient.scores.rescore import recorded_rewards

        found = recorded_rewards(folder)
        show(json.dumps(found, indent=2) if as_json else of_rewards(found))
    else:
        from pbclient.scores.rescore import rescore_run

        print_summary(rescore_run(folder), as_json)


@main.command(cls=ConfiguredCommand, config="pbclient.config.JudgeConfig", without={"mmproj"})
@click.argument("folder", metavar="RUN", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def judge(folder: Path, as_json: bool, **options: Any) -> None:
    """Judge the recorded open-ended answers of a run, again or by another model."""
    from pbclient.cli.live import attended, unresolved
    from pbclient.config import JudgeConfig
    from pbclient.report.summary import as_judged_by
    from pbclient.scheduler.rejudge import rejudge

    config = JudgeConfig(**options)
    result = attended(
        lambda progress, interrupts: rejudge(folder, config, progress=progress, interrupts=interrupts)
    )
    print_summary(result.summary if as_json else as_judged_by(result.summary, result.beside), as_json)
    judged = result.outcomes.get("resolved", 0)
    say(f"{result.judge} judged {judged} of {result.planned} answers.", err=True)
    for line in unresolved(result):
        say(line, err=True)
    sys.exit(result.exit_code)


@main.command()
@_RUNS
@click.option(
    "--flips", is_flag=True, help="List every episode whose answer changed, not only the first few."
)
@click.option(
    "--with",
    "beside",
    type=click.Choice(["paper"]),
    help="Hold each run against the paper's table of its condition; one run is enough.",
)
@_FORCE
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def compare(folders: tuple[Path, ...], flips: bool, beside: str | None, force: bool, as_json: bool) -> None:
    """Two or more runs on the episodes they share: paired differences, tests, what changed."""
    from pbclient.compare.comparison import compare as compared
    from pbclient.report.comparison import parts

    comparison = compared(folders, force=force, with_paper=beside is not None)
    show(*[json.dumps(comparison, indent=2)] if as_json else parts(comparison, flips=flips))


@main.command()
@click.argument("folder", metavar="[FOLDER]", type=FOLDER, default=Path("results"))
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def runs(folder: Path, as_json: bool) -> None:
    """The run folders below FOLDER (./results): model, conditions, date, figures, cost."""
    from pbclient.compare.listing import list_runs
    from pbclient.report.tables import of_runs

    entries = list_runs(folder)
    show(json.dumps(entries, indent=2) if as_json else of_runs(entries))


@main.command()
@_RUNS
@click.option("--out", type=FOLDER, help="The file; by default report.html, of one run in its own folder.")
@click.option(
    "--images",
    type=click.Choice(["some", "all", "none"]),
    default="some",
    show_default=True,
    help="Frames: a choice that keeps the page small; all, in a folder beside it; none, for publishing.",
)
@click.option("--data", type=FOLDER, help="The data folder of the runs; by default where `run` looks for it.")
@_FORCE
def report(folders: tuple[Path, ...], out: Path | None, images: str, data: Path | None, force: bool) -> None:
    """Runs as one HTML file: tables, figures, every episode with what the model saw and said."""
    from pbclient.report.html.report import write_report

    written = write_report(folders, out, images=images, data=data, force=force)
    for note in written.notes:
        say(note, err=True)
    say(f"Report: {written.path} ({written.size / 1e6:.1f} MB)")


@main.command("filter")
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
    from pbclient.report.tables import of_filter

    filtered = make_filter(folders, read_threshold(threshold), force=force)
    written = "--out FILE writes the list."
    if out is not None:
        write(out, filtered)
        written = f"Kept samples: {out} (run --filter {out} plays them)."
    show(*[dump(filtered).decode().rstrip("\n")] if as_json else [*of_filter(filtered), written])


@main.command()
def providers() -> None:
    """What can be named after --provider, and what each needs."""
    from pbclient.models.doctor import HEAD, OTHERS, provider_rows

    show(Grid(HEAD, provider_rows(), left=4), OTHERS)


@main.command(cls=ConfiguredCommand, config="pbclient.models.doctor.DoctorConfig")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def doctor(as_json: bool, **options: Any) -> None:
    """What is installed, whether a model sees, how fast it is, and whether batching changes its answers.

    A model that costs money is asked nothing. Exit code 4 when something must be mended.
    """
    import asyncio
    import time

    from pbclient.models.doctor import DoctorConfig, examine
    from pbclient.models.trials import Finding, to_json

    config = DoctorConfig(**options)
    findings: list[Finding] = []

    def tell(finding: Finding) -> None:
        findings.append(finding)
        if not as_json:
            say(str(finding))

    asyncio.run(examine(config, tell, time.perf_counter, lambda line: say(line, err=True)))
    if as_json:
        say(json.dumps(to_json(findings), indent=2))
    sys.exit(0 if all(finding.good for finding in findings) else 4)
