"""The folder that the published data is downloaded to, and the record that says it is whole.

The record (`download.json`) is written last, so that a folder which is being filled, or whose filling
was interrupted, is never taken for the data.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from pbclient.benchmark.package import data_set
from pbclient.data.hub import DataFile, size_of
from pbclient.errors import DataError
from pbclient.progress import Say

DATA_VARIABLE = "PBCLIENT_DATA"
RECORD = "download.json"
SCHEMA = 1


@dataclass(frozen=True)
class Record:
    """What a download has put into a folder. Unless `complete`, it was interrupted while doing so."""

    commit: str
    datasets: tuple[str, ...]
    complete: bool = False
    files: Mapping[str, DataFile] = field(default_factory=dict)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The record as it was written. Raises whatever comes of reading anything else."""
        if record["schema"] != SCHEMA:
            raise ValueError("written by another version")
        files = {name: DataFile(**file) for name, file in record["files"].items()}
        if any(Path(name).name != name for name in files):
            # Files of a record are replaced and deleted.
            raise ValueError("names that lead elsewhere")
        datasets = tuple(data_set(name).acronym for name in record["datasets"])
        return cls(record["commit"], datasets, record["complete"] is True, files)


def default_folder() -> Path:
    """Where the published data goes unless the user names a folder."""
    from platformdirs import user_data_path

    return user_data_path("pbclient") / "ProactiveBench"


def recorded(folder: Path) -> Record | None:
    """The record of a folder; None when there is none that can be read."""
    try:
        return Record.from_json(json.loads((folder / RECORD).read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DataError):
        return None


def downloaded_folder(folder: Path | None = None) -> Path | None:
    """The folder of downloaded data (by default the user's) if the download is complete, else None.

    Looks at names and sizes only: digests were checked when the files arrived.
    """
    folder = default_folder() if folder is None else folder
    record = recorded(folder)
    if record is None or not record.complete or not record.files:
        return None
    whole = all(size_of(folder / name) == file.size for name, file in record.files.items())
    return folder if whole else None


def data_folder(named: Path | None, say: Say) -> Path:
    """The folder that the user named, else the downloaded data, else the built-in samples."""
    if named is not None:
        return named
    from_environment = os.environ.get(DATA_VARIABLE)
    if from_environment:
        say(f"Data: {from_environment} (from {DATA_VARIABLE}).")
        return Path(from_environment)
    from pbclient.data.samples import builtin_folder

    downloaded = downloaded_folder()
    if downloaded is not None:
        say(f"Data: {downloaded} (from `pbclient data download`).")
        return downloaded
    say("Data: the built-in samples, drawn for trying things out (`pbclient data download` gets the real).")
    return builtin_folder()
