"""`pbclient data`: get the published data, check a data folder, write the built-in samples."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pbclient.cli.options import FOLDER, TEXT
from pbclient.report.terminal import console, say, show, visible

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID

_DATASETS = click.option(
    "--dataset", "datasets", multiple=True, help="ROD, VSOD, MVP-N, IN-C, QD, CIT or COCO; repeatable."
)


@click.group("data")
def data() -> None:
    """Get the published data, or look into a data folder."""


@data.command("download")
@click.argument("folder", metavar="[DIR]", required=False, type=FOLDER)
@_DATASETS
@click.option("--revision", type=TEXT, help="A branch, tag or commit of the repository; by default main.")
def download(folder: Path | None, datasets: tuple[str, ...], revision: str | None) -> None:
    """Fetch the published data into DIR, by default into your data folder, where `run` finds it.

    Goes on with the files that an earlier download lacks; one that had come in part is fetched again.
    HF_ENDPOINT and HF_TOKEN are heeded.
    """
    from rich.progress import DownloadColumn, TimeRemainingColumn, TransferSpeedColumn

    from pbclient.data.download import download as fetched
    from pbclient.data.home import default_folder

    target = folder or default_folder()
    try:
        with _bars(DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()) as watch:
            record = fetched(target, datasets, revision, watch)
    except KeyboardInterrupt:
        say("Stopped: the same command goes on from here.", err=True)
        sys.exit(130)
    say(f"{', '.join(record.datasets)} at revision {record.commit[:12]} in {target}")
    if folder is not None:
        say(f"Use it with: --data {target}")


@data.command("check")
@click.argument("folder", metavar="[DIR]", required=False, type=FOLDER)
@_DATASETS
@click.option("--decode", is_flag=True, help="Read every picture whole; takes minutes.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def check(folder: Path | None, datasets: tuple[str, ...], decode: bool, as_json: bool) -> None:
    """Hold DIR, by default your data folder, against what is published; exit code 4 if it is not sound."""
    from rich.progress import MofNCompleteColumn

    from pbclient.data.check import check as checked
    from pbclient.data.home import default_folder
    from pbclient.report.tables import of_check

    with _bars(MofNCompleteColumn()) as watch:
        report = checked(folder or default_folder(), datasets, decode=decode, tell=watch.progress)
    show(*[json.dumps(report.to_json(), indent=2)] if as_json else of_check(report))
    sys.exit(4 if report.problems else 0)


@data.command("sample")
@click.argument("folder", metavar="DIR", type=FOLDER)
def sample(folder: Path) -> None:
    """Write the built-in samples to DIR, in the layout of the published data."""
    from pbclient.data.samples import write_sample_folder

    write_sample_folder(folder)
    say(f"Built-in samples: {folder}")


class _Bars:
    """Lines for what is done, and on a terminal a bar for what is going on; both on stderr."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def say(self, sentence: str) -> None:
        from rich.text import Text

        self._bars.console.print(Text(visible(sentence)), soft_wrap=True)

    def progress(self, name: str, have: int, size: int) -> None:
        if name not in self._tasks:
            for task in self._tasks.values():
                self._bars.update(task, visible=False)
            self._tasks[name] = self._bars.add_task(visible(name), total=size)
        self._bars.update(self._tasks[name], completed=have)


@contextmanager
def _bars(*columns: ProgressColumn) -> Iterator[_Bars]:
    from rich.progress import BarColumn, Progress, TextColumn

    name = TextColumn("{task.description}", markup=False)
    drawn = console(sys.stderr)
    with Progress(
        name, BarColumn(), *columns, console=drawn, transient=True, disable=not drawn.is_terminal
    ) as bars:
        yield _Bars(bars)
