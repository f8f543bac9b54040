"""The data folder in its published layout: which samples a filter keeps, and their rows.

Rows are untrusted and many: each is checked once when the folder is opened, only its place in
its file is kept, and it is read again when its episode starts. Frames are
`pbclient/frames.py`'s business; what a row means is the environment's.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from reprlib import repr as shortly
from string import Formatter
from typing import Any, Self

from pbclient import rows
from pbclient.benchmark import DATA_SETS, DataSet, data_set, skip_row
from pbclient.errors import DataError
from pbclient.frames import FrameStore, is_inside
from pbclient.kept import OFFICIAL, Filter

MAX_LINE_BYTES = 4 * 1024 * 1024
# The environments make lists of this many numbers, and an episode may take this many turns.
MAX_FRAMES = 20_000
MAX_OPTIONS = 1_000
MAX_PIXEL = 1_000_000

_BOM = b"\xef\xbb\xbf"


type _Check = tuple[str, Callable[[Any], bool]]
type _Feed = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample: its data set and id, and where its row is; `mark` tells whether it is still the same."""

    dataset: str
    id: str
    offset: int
    length: int
    mark: bytes


@dataclass(frozen=True)
class DataFolder:
    """An open data folder: the kept samples of each data set in file order, their rows and frames.

    `digest` depends on the kept rows and their order, and on nothing else. `sources` has a digest
    for each data set, of all its rows whatever the filter: equal ones mean equal samples under equal ids.
    A file from which rows are read stays open: what has been put in its place meanwhile is not played.
    """

    folder: Path
    samples: Mapping[str, tuple[Sample, ...]]
    digest: str
    sources: Mapping[str, str]
    frames: FrameStore
    _opened: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def described(self) -> dict[str, Any]:
        """What run.json says of the data; what two runs are matched by."""
        return {"digest": self.digest, "sources": dict(self.sources)}

    def row(self, sample: Sample) -> dict[str, Any]:
        """The row of a sample, read again. Raises `DataError` when the file has changed."""
        try:
            line = os.pread(self._descriptor(sample.dataset), sample.length, sample.offset)
        except OSError as error:
            raise _unreadable(self._path(sample.dataset), error) from error
        if _mark(line) != sample.mark:
            os.close(self._opened.pop(sample.dataset))  # who asks again is to see what is there by then
            raise DataError(
                f"{self._path(sample.dataset)} has changed since the run began: start the run again."
            )
        return rows.read(line)

    def close(self) -> None:
        """Let go of the rows and the frames."""
        while self._opened:
            os.close(self._opened.popitem()[1])
        self.frames.close()

    def _path(self, dataset: str) -> Path:
        return self.folder / data_set(dataset).file_name

    def _descriptor(self, dataset: str) -> int:
        if dataset not in self._opened:
            self._opened[dataset] = os.open(self._path(dataset), os.O_RDONLY)
        return self._opened[dataset]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_data(folder: Path, datasets: Sequence[str] | None = None, keep: Filter = OFFICIAL) -> DataFolder:
    """Check a data folder and find the samples that `keep` keeps, of the named data sets or of all.

    Raises `DataError` for what cannot be used, a sample that a user's list keeps and the data lack among it.
    """
    named = {data_set(name) for name in datasets or ()}
    digest = hashlib.sha256()
    samples: dict[str, tuple[Sample, ...]] = {}
    sources: dict[str, str] = {}
    for each in _chosen(folder, named, keep):
        source = hashlib.sha256()
        found = tuple(_kept(folder / each.file_name, each.acronym, keep, digest.update, source.update))
        _refuse_absent(folder / each.file_name, each.acronym, keep, found)
        samples[each.acronym], sources[each.acronym] = found, source.hexdigest()
    return DataFolder(folder, samples, digest.hexdigest(), sources, FrameStore(folder))


def _chosen(folder: Path, named: set[DataSet], keep: Filter) -> list[DataSet]:
    """The data sets to open, in table order."""
    try:
        present = _present(folder)
        if not present:
            raise DataError(_nothing_here(folder))
    except OSError as error:
        raise _unreadable(folder, error) from error
    missing = [each for each in DATA_SETS if each in named and each not in present]
    if missing:
        raise DataError(
            f"{folder} holds no {missing[0].file_name}, which --dataset {missing[0].acronym} needs: "
            f"download it, or choose from what is there ({', '.join(each.acronym for each in present)})."
        )
    unread = [each for each in DATA_SETS if each not in present and keep.listed and keep.ids(each.acronym)]
    if unread and not named:
        raise DataError(
            f"{folder} holds no {unread[0].file_name}, of which {keep.name} keeps samples: download it, "
            "or choose data sets with --dataset."
        )
    return _with_samples([each for each in present if not named or each in named], named, keep)


def _with_samples(chosen: list[DataSet], named: set[DataSet], keep: Filter) -> list[DataSet]:
    """Those that the filter keeps anything of; one that the user named has to be among them."""
    empty = [each for each in chosen if keep.ids(each.acronym) == frozenset()]
    if empty and (named or len(empty) == len(chosen)):
        names = ", ".join(each.acronym for each in empty)
        raise DataError(f"{keep.name} keeps no sample of {names}: choose other data sets, or another filter.")
    return [each for each in chosen if each not in empty]


def _present(folder: Path) -> list[DataSet]:
    return [each for each in DATA_SETS if _is_there(folder / each.file_name)]


def _is_there(path: Path) -> bool:
    if path.is_symlink() and not path.exists():
        raise DataError(f"{path} is a link to a file that is not there: download it again.")
    return path.is_file()


def _nothing_here(folder: Path) -> str:
    """Why this is no data folder, and which may be meant."""
    wanted = "the folder that holds the *_preprocessed.jsonl files"
    if not folder.exists():
        return f"There is no data folder {folder}: give {wanted}."
    if not folder.is_dir():
        return f"{folder} is not a folder: give {wanted}."
    # The published data is in test/; where there is such a folder, it is meant.
    children = sorted(folder.iterdir(), key=lambda child: (child.name != "test", child.name))
    below = next((child for child in children if child.is_dir() and _present(child)), None)
    if below is not None:
        return f"{folder} is one level too high: give {below}, {wanted}."
    above = folder.resolve().parent
    if _present(above):
        return f"{folder} is one level too low: give {above}, {wanted}."
    names = ", ".join(each.file_name for each in DATA_SETS)
    return f"{folder} holds none of the data files ({names}): give {wanted}."


def _kept(path: Path, acronym: str, keep: Filter, feed: _Feed, feed_all: _Feed) -> Iterator[Sample]:
    """The samples of one file that are kept; what they hold is fed to one digest, every row to the other."""
    ids = keep.ids(acronym)
    lines: dict[int, int] = {}
    feed(acronym.encode() + b"\n")
    for number, offset, line in _lines(path):
        feed_all(line.strip() + b"\n")
        try:
            row = rows.read(line)
            if skip_row(row):
                continue
            found = _id(row)
            if ids is not None and found not in ids:
                continue
            _check_row(acronym, row)
            feed(rows.spelled(row) + b"\n")
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error}.") from None
        first = lines.setdefault(found, number)
        if first != number:
            raise DataError(f"{path}: lines {first} and {number} have the same id {found}: remove one.")
        yield Sample(acronym, str(found), offset, len(line), _mark(line))
    if not lines and not keep.listed:
        raise DataError(f"{path} holds no sample that the benchmark keeps: download it again.")


def _refuse_absent(path: Path, acronym: str, keep: Filter, found: tuple[Sample, ...]) -> None:
    """A run on fewer samples than the user listed would not be the run that was asked for."""
    ids = keep.ids(acronym)
    if not keep.listed or ids is None:
        return
    absent = sorted(ids - {int(sample.id) for sample in found})
    if absent:
        raise DataError(
            f"{path} lacks {len(absent)} of the {len(ids)} samples that {keep.name} keeps "
            f"(ids {shortly(absent)[1:-1]}): the list was made from other data."
        )


def _lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Number, place and bytes of every line that is not blank."""
    try:
        with path.open("rb") as file:
            offset = len(_BOM) if file.read(len(_BOM)) == _BOM else 0
            file.seek(offset)
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise DataError(f"{path}, line {number}: more than {MAX_LINE_BYTES >> 20} MiB is no row.")
                if line.strip():
                    yield number, offset, line
                offset += len(line)
    except OSError as error:
        raise _unreadable(path, error) from error


def _mark(line: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=8).digest()


def _unreadable(path: Path | str, error: OSError) -> DataError:
    return DataError(f"{path} cannot be read: {error.strerror or error}.")


# What JSON gives has exactly these types, and its true and false are no numbers here.
def _whole(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _is_frame(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_FRAMES


def _is_number(value: Any) -> bool:
    # No comparison holds for NaN.
    return type(value) in (int, float) and abs(value) <= MAX_PIXEL


def _is_list(value: Any, holds: Callable[[Any], bool], most: int) -> bool:
    return type(value) is list and len(value) <= most and all(map(holds, value))


def _is_text(value: Any) -> bool:
    return type(value) is str


def _are_texts(value: Any) -> bool:
    return type(value) is list and 0 < len(value) <= MAX_OPTIONS and {str}.issuperset(map(type, value))


def _is_crop(value: Any) -> bool:
    return type(value) is dict and all(_is_number(value.get(edge)) for edge in _EDGES)


_EDGES = ("top", "left", "height", "width")

_TEXT: _Check = ("a text", _is_text)
_TEXTS: _Check = (f"a list of 1 to {MAX_OPTIONS} texts", _are_texts)
_FRAME: _Check = (f"a whole number from 0 to {MAX_FRAMES}", _is_frame)
_COUNT: _Check = (f"a whole number from 1 to {MAX_FRAMES}", lambda value: _whole(value, 1, MAX_FRAMES))
_NUMBER: _Check = (f"a number of at most {MAX_PIXEL}", _is_number)
# These are only written into paths, so a text serves as well.
_NAME: _Check = (
    "a frame's number or name",
    lambda value: _is_frame(value) or _is_text(value),
)
_MAYBE_NAME: _Check = (
    "a frame's number or name, or null",
    lambda value: value is None or _is_frame(value) or _is_text(value),
)
_NAMES: _Check = (
    f"a list of at most {MAX_FRAMES} frame numbers or names",
    lambda value: _is_list(value, _NAME[1], MAX_FRAMES),
)
_FLAG: _Check = ("true or false", lambda value: type(value) is bool or _whole(value, 0, 1))
_CROP: _Check = (f"an object with the numbers {', '.join(_EDGES)}", _is_crop)

# What the environments read of every row, and what single ones read besides or otherwise.
_COMMON_FIELDS: Mapping[str, _Check] = {
    "image_template": _TEXT,
    "first_image": _FRAME,
    "num_images": _COUNT,
    "reference_image": _MAYBE_NAME,
    "prompt": _TEXT,
    "options": _TEXTS,
    "categories": _TEXTS,
    "answer": _TEXT,
}
_OWN_FIELDS: Mapping[str, Mapping[str, _Check]] = {
    "ROD": {},
    "VSOD": {"strong_occlusions": _FLAG},
    "MVP-N": {"valid_images": _NAMES, "first_image": _NAME},
    "IN-C": {"quality_answer": _TEXT},
    "QD": {},
    "CIT": {"step_size": _FRAME, "max_steps": _COUNT},
    "COCO": {
        "direction": _TEXT,
        "granularity": _COUNT,
        "horizontal_step": _NUMBER,
        "vertical_step": _NUMBER,
        "crop": _CROP,
    },
}
_FIELDS = {acronym: {**_COMMON_FIELDS, **own} for acronym, own in _OWN_FIELDS.items()}

# What the environments fill into the path; that of COCO takes it as it is.
_PLACES: Mapping[str, frozenset[str] | None] = {
    "ROD": frozenset({"image"}),
    "VSOD": frozenset({"image"}),
    "MVP-N": frozenset({"image", "informative"}),
    "IN-C": frozenset({"level"}),
    "QD": frozenset({"image"}),
    "CIT": frozenset({"image"}),
    "COCO": None,
}


def _id(row: Mapping[str, Any]) -> int:
    found = row.get("id")
    if "id" not in row:
        raise DataError("field 'id' is missing")
    if not isinstance(found, int) or isinstance(found, bool):
        raise DataError(f"field 'id' must be a whole number, not {shortly(found)}")
    return found


def _check_row(acronym: str, row: Mapping[str, Any]) -> None:
    """Refuse a row that the environment of this data set could not read."""
    for name, (wanted, holds) in _FIELDS[acronym].items():
        if name not in row:
            raise DataError(f"field {name!r} is missing")
        if not holds(row[name]):
            raise DataError(f"field {name!r} must be {wanted}, not {shortly(row[name])}")
    if row["answer"] not in row["categories"]:
        raise DataError(f"field 'answer' is none of the categories: {shortly(row['answer'])}")
    _check_template(row["image_template"], _PLACES[acronym])


def _check_template(template: str, places: frozenset[str] | None) -> None:
    """Refuse what `str.format` must not be given: it follows attributes and indexes."""
    filled = template if places is None else _filled(template, places)
    if not is_inside(filled):
        raise DataError(f"field 'image_template' leads out of the data folder: {shortly(template)}")


def _filled(template: str, places: frozenset[str]) -> str:
    filled = template
    for place in places:
        filled = filled.replace(f"{{{place}}}", "0")
    # Only where other braces are left it takes a parser to say what they mean.
    return "".join(_parts(template, places)) if "{" in filled or "}" in filled else filled


def _parts(template: str, places: frozenset[str]) -> Iterator[str]:
    try:
        for text, place, width, conversion in Formatter().parse(template):
            if place is not None and (place not in places or width or conversion):
                raise ValueError("unknown place")
            yield text if place is None else f"{text}0"
    except ValueError:
        allowed = " and ".join(f"{{{place}}}" for place in sorted(places))
        raise DataError(f"field 'image_template' may hold {allowed} only: {shortly(template)}") from None
