"""`pbclient data`: get the published data, check a data folder, write the built-in samples."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pbclient.cli.options import FOLDER, TEXT
from pbclient.report.terminal import show

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


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
    from pbclient.data.download import Download
    from pbclient.data.home import default_folder

    target = folder or default_folder()
    try:
        with _watch() as watch:
            record = Download(target, datasets, revision).run(watch)
    except KeyboardInterrupt:
        click.echo("Stopped: the same command goes on from here.", err=True)
        sys.exit(130)
    click.echo(f"{', '.join(record.datasets)} at revision {record.commit[:12]} in {target}")
    if folder is not None:
        click.echo(f"Use it with: --data {target}")


@data.command("check")
@click.argument("folder", metavar="[DIR]", required=False, type=FOLDER)
@_DATASETS
@click.option("--decode", is_flag=True, help="Read every picture whole; takes minutes.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def check(folder: Path | None, datasets: tuple[str, ...], decode: bool, as_json: bool) -> None:
    """Hold DIR, by default your data folder, against what is published; exit code 4 if it is not sound."""
    import json

    from pbclient.data.check import check as checked
    from pbclient.data.home import default_folder
    from pbclient.report.data import parts

    with _counting() as tell:
        report = checked(folder or default_folder(), datasets, decode=decode, tell=tell)
    show(*[json.dumps(report.to_json(), indent=2)] if as_json else parts(report))
    sys.exit(4 if report.problems else 0)


@data.command("sample")
@click.argument("folder", metavar="DIR", type=FOLDER)
def sample(folder: Path) -> None:
    """Write the built-in samples to DIR, in the layout of the published data."""
    from pbclient.data.samples import write_sample_folder

    write_sample_folder(folder)
    click.echo(f"Built-in samples: {folder}")


class _Lines:
    """A line for each file."""

    def say(self, sentence: str) -> None:
        click.echo(sentence, err=True)

    def progress(self, name: str, have: int, size: int) -> None:
        """Nothing: a line for each file is enough."""


class _Bars:
    """A line for each file that is there, and a bar for the one that is coming."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._coming: tuple[str, TaskID] | None = None

    def say(self, sentence: str) -> None:
        self._bars.console.print(sentence, markup=False, highlight=False, emoji=False)

    def progress(self, name: str, have: int, size: int) -> None:
        if self._coming is None or self._coming[0] != name:
            if self._coming is not None:
                self._bars.remove_task(self._coming[1])
            self._coming = name, self._bars.add_task(name, total=size, completed=have)
        self._bars.update(self._coming[1], completed=have)


@contextmanager
def _watch() -> Iterator[_Lines | _Bars]:
    """Bars on a terminal, lines elsewhere; either on stderr."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        yield _Bars(bars)


@contextmanager
def _counting() -> Iterator[Callable[[str, int, int], None]]:
    """A bar a data set on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(f"Frames of {name}", total=total)
            bars.update(tasks[name], completed=done)

        yield tell
