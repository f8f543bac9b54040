"""`pbclient export`: the formats by their names, and where they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from pbclient.data.home import data_folder
from pbclient.errors import InputError
from pbclient.export import eee, hub, inspect_log, latex, tables
from pbclient.export.recorded import RecordedRun
from runs import replace_file

EEE = "eee"

type Lines = Callable[[Sequence[RecordedRun]], Iterable[str]]

# Formats that are lines of text, and whether several runs fit into one of them.
_LINES: Mapping[str, tuple[Lines, bool]] = {
    "csv": (tables.csv_lines, True),
    "jsonl": (tables.jsonl, True),
    "latex": (latex.lines, False),
    "hf": (hub.lines, False),
}
# What a run folder is made of: no export replaces any of it.
_OWN = ("run.json", "episodes.jsonl", "ledger.jsonl", "summary.json", "run.lock")


def read(paths: Sequence[Path], to: str) -> list[RecordedRun]:
    """The runs in these folders. Raises `InputError` where the format takes one, or `runs.RunError`."""
    if not paths:
        raise InputError("Nothing is named: give the folder of a run.")
    if len(paths) > 1 and not (to in _LINES and _LINES[to][1]):
        raise InputError(f"--to {to} takes one run and {len(paths)} are named: export each on its own.")
    return [RecordedRun.read(path) for path in paths]


def export(
    runs: Sequence[RecordedRun], to: str, out: Path | None, *, data: Path | None = None, images: bool = True
) -> Iterable[str]:
    """The lines to print: the export itself where it is text and has no `out`, else where it was written.

    `data` and `images` are of an Inspect log: where its frames are looked for, and whether it holds them.
    Raises `InputError` for a place that cannot be written to, `DataError` for data that cannot be used,
    and `InputError` where an episode contradicts its own turns.
    """
    if to in _LINES:
        lines = _LINES[to][0](runs)
        if out is None:
            return lines
        replace_file(_free(out), (f"{line}\n".encode() for line in lines))
        return [str(out)]
    if to == EEE:
        return [str(path) for path in eee.write(runs[0], _folder(out))]
    path = out if out is not None and out.suffix == ".eval" else _folder(out) / inspect_log.file_name(runs[0])
    frames = data_folder(data, lambda sentence: None) if images else None
    left_out = inspect_log.write(runs[0], _free(path), frames)
    missing = [f"{left_out} frames are not in {frames}: the log names them (--data names another folder)."]
    return [str(path), *(missing if left_out else [])]


def _free(path: Path) -> Path:
    """`path`, unless a file of a run is there, or a folder."""
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file.")
    if path.name in _OWN and (path.parent / "run.json").exists():
        raise InputError(f"{path} belongs to a run: name another file.")
    return path


def _folder(path: Path | None) -> Path:
    """The folder to write to, by default the current one; made where it is not there."""
    folder = path or Path()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: name a folder.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
