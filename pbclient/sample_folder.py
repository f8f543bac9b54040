"""`pbclient data sample`: the built-in samples in a folder of the user's."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pbclient.dataset import open_data
from pbclient.errors import DataError
from pbclient.samples import builtin_folder, write_samples


def write_sample_folder(folder: Path) -> None:
    """Write the built-in samples, all or nothing; anew where they are already, to mend what was broken.

    Raises `DataError` when the folder holds anything else or cannot be written.
    """
    try:
        if os.path.lexists(folder) and not folder.is_dir():
            raise DataError(f"{folder} is not a folder: name another.")
        if folder.is_dir() and any(folder.iterdir()) and not _ours(folder):
            raise DataError(f"{folder} is not empty and holds no built-in samples: name another folder.")
        _write(folder.resolve())
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written ({error.strerror or error}): name a folder that can."
        ) from error


def _ours(folder: Path) -> bool:
    """Whether the folder holds the rows of the built-in samples."""
    try:
        with open_data(folder) as found, open_data(builtin_folder()) as builtin:
            return found.digest == builtin.digest
    except DataError:
        return False


def _write(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".samples-", dir=folder.parent) as beside:
        whole = Path(beside) / "whole"
        write_samples(whole)
        if not folder.exists() or not any(folder.iterdir()):
            whole.replace(folder)
            return
        for path in whole.rglob("*"):
            if path.is_file():
                target = folder / path.relative_to(whole)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
