"""Built-in samples: all seven data sets in the published layout, for the demo and for runs without data.

The ids are ones that the benchmark's own filter keeps, and every row meets the rules of the benchmark's
environments. These samples show that everything works; they say nothing about how proactive a model is.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import cycle, islice
from pathlib import Path

import platformdirs
from PIL import Image

import pbclient
from pbclient.benchmark.package import STEMS, kept_ids
from pbclient.data import drawings
from pbclient.data.folder import open_data
from pbclient.errors import DataError

Row = dict[str, object]
Picture = tuple[str, Image.Image]

_ABSTAIN = ("I cannot tell from this picture.", "I do not know.", "It cannot be answered.")
_REWIND = "Rewind the video."
_REPAIRS = {
    "blur": "Deblur the image.",
    "noise": "Denoise the image.",
    "brightness": "Reduce the brightness.",
    "contrast": "Increase the contrast.",
    "pixels": "Increase the resolution.",
    "compression": "Undo the compression.",
}
_VIEWS = ("zoom", "left", "up_right", "down", "up_left", "right", "down_left", "up", "down_right")
_MOVES = {
    "zoom": "Move farther from the object.",
    "up": "Move the camera up.",
    "down": "Move the camera down.",
    "left": "Move the camera to the left.",
    "right": "Move the camera to the right.",
}


@dataclass(frozen=True)
class _Task:
    """What one sample is made from: its id, its index in its data set, its look and its own chance."""

    number: int
    index: int
    look: drawings.Look
    rng: random.Random


_Made = tuple[Row, Iterable[Picture]]


def write_samples(folder: Path, per_dataset: int = 6) -> None:
    """Write the first `per_dataset` samples that the benchmark keeps of each data set under `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for offset, (acronym, make) in enumerate(_MAKERS.items()):
        path = folder / f"{STEMS[acronym]}_preprocessed.jsonl"
        with path.open("w", encoding="utf-8", newline="\n") as rows:
            for task in _tasks(acronym, offset, per_dataset):
                row, pictures = make(task)
                rows.write(json.dumps(row) + "\n")
                for name, image in pictures:
                    _save(folder / name, image)


def builtin_folder(parent: Path | None = None) -> Path:
    """The folder of built-in samples under `parent` (the user's cache folder), made when it is not there."""
    parent = platformdirs.user_cache_path("pbclient") if parent is None else parent
    # Named after what the samples depend on: a folder made by other code is never taken for this one's.
    sources = b"".join(Path(source).read_bytes() for source in (__file__, drawings.__file__))
    digest = hashlib.sha256(sources + metadata.version("proactivebench").encode()).hexdigest()
    folder = parent / f"samples-{pbclient.__version__}-{digest[:8]}"
    if not folder.is_dir():
        try:
            _write(folder)
        except OSError as error:
            raise DataError(
                f"The built-in samples cannot be written to {parent} ({error.strerror or error}): "
                "make that folder writable, or name a data folder with --data."
            ) from error
    return folder


def write_sample_folder(folder: Path) -> None:
    """Write the built-in samples, all or nothing; anew where they are already, to mend what was broken.

    Raises `DataError` when the folder holds anything else or cannot be written.
    """
    try:
        if os.path.lexists(folder) and not folder.is_dir():
            raise DataError(f"{folder} is not a folder: name another.")
        if folder.is_dir() and any(folder.iterdir()) and not is_builtin(folder):
            raise DataError(f"{folder} is not empty and holds no built-in samples: name another folder.")
        _write(folder.resolve())
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written ({error.strerror or error}): name a folder that can."
        ) from error


def is_builtin(folder: Path, datasets: Sequence[str] | None = None) -> bool:
    """Whether a folder holds the rows of the built-in samples, of these data sets or of all."""
    try:
        with open_data(folder, datasets) as data, open_data(builtin_folder(), datasets) as builtin:
            return data.digest == builtin.digest
    except DataError:
        return False


def _write(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".samples-", dir=folder.parent) as beside:
        whole = Path(beside) / "whole"
        write_samples(whole)
        try:
            whole.replace(folder)  # in place of an empty folder, too
        except OSError:
            # It holds these samples: another process was first, or some of them are to be mended.
            if not folder.is_dir():
                raise
            for path in whole.rglob("*"):
                if path.is_file():
                    target = folder / path.relative_to(whole)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    path.replace(target)


def _save(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        image.save(path, "PNG")
    else:
        image.save(path, "JPEG", quality=88)


def _tasks(acronym: str, offset: int, per_dataset: int) -> Iterator[_Task]:
    numbers = sorted(kept_ids(acronym))[:per_dataset]
    subjects = islice(cycle(drawings.SUBJECTS), offset, None)
    for index, (number, subject) in enumerate(zip(numbers, subjects, strict=False)):
        rng = random.Random(f"{acronym} {number}")
        yield _Task(number, index, drawings.look(subject, rng), rng)


def _row(task: _Task, prompt: str, suggestions: Iterable[str], template: str, images: int) -> Row:
    """The fields that every environment reads; data sets add their own and change what differs."""
    options = [*suggestions, task.rng.choice(_ABSTAIN)]
    task.rng.shuffle(options)
    answer = _named(task.look.subject)
    others = [_named(subject) for subject in drawings.SUBJECTS if subject != task.look.subject]
    categories = task.rng.sample(others, 2 + task.index % 2)
    categories.insert(task.index % (len(categories) + 1), answer)
    return {
        "id": task.number,
        "image_template": template,
        "first_image": 0,
        "num_images": images,
        "reference_image": 0,
        "prompt": prompt,
        "options": options,
        "categories": categories,
        "answer": answer,
    }


def _named(subject: str) -> str:
    return f"{'An' if subject[0] in 'aeiou' else 'A'} {subject}."


def _numbered(template: str, images: Iterable[Image.Image], digits: int = 0) -> Iterator[Picture]:
    for number, image in enumerate(images):
        yield template.format(image=str(number).zfill(digits)), image


def _rod(task: _Task) -> _Made:
    """Blocks hide the subject in frame 7 of 14 and stand to the left before it, to the right after it."""
    template = f"rod/{task.look.subject}-{task.number}/view-{{image}}.jpg"
    moves = ("Move the blocks to the left.", "Move the blocks to the right.")
    row = _row(task, "What do the blocks hide?", moves, template, 14)
    images = (drawings.behind_blocks(task.look, (frame - 7) * 13) for frame in range(14))
    return row | {"first_image": 7}, _numbered(template, images)


def _vsod(task: _Task) -> _Made:
    """Somebody walks past and hides the subject in the first frame that is shown."""
    template = f"vsod/clip-{task.number}/{{image}}.jpg"
    waits = (_REWIND, "Wait for the person to walk on.")
    row = _row(task, "What stands on the table behind the person?", waits, template, 12)
    first = 5 + task.index % 3
    images = (drawings.behind_passer(task.look, (frame - first) * 19) for frame in range(12))
    return row | {"first_image": first, "strong_occlusions": True}, _numbered(template, images, 4)


def _mvpn(task: _Task) -> _Made:
    """Views of a box of which only the last shows the marked side."""
    views = sorted(task.rng.sample(range(24), 3 + task.index % 3))
    template = f"mvp-n/box-{task.number}/{{informative}}/{{image}}.jpg"
    turns = ("Rotate the object.", "Show it from a different angle.")
    row = _row(task, "What is painted on the marked side of the box?", turns, template, len(views))
    row |= {"first_image": views[0], "reference_image": views[-1], "valid_images": views}
    pictures = []
    for view in views:
        informative = view == views[-1]
        yaw = task.rng.uniform(-24, 24) if informative else 100 + view * 160 / 24
        path = template.format(informative=int(informative), image=str(view).zfill(4))
        pictures.append((path, drawings.turned_box(task.look, yaw)))
    return row, pictures


def _inc(task: _Task) -> _Made:
    """One fault at five levels, shown from the worst; one repair among the suggested ones is right."""
    fault = list(_REPAIRS)[task.index % len(_REPAIRS)]
    repair, levels = _REPAIRS[fault], range(1, drawings.LEVELS + 1)
    template = f"in-c/{fault}/{task.number}/level-{{level}}.jpg"
    wrong = task.rng.sample([other for other in _REPAIRS.values() if other != repair], 3)
    row = _row(task, "What does this picture show?", (repair, *wrong), template, len(levels))
    row |= {"first_image": levels[-1], "reference_image": levels[0], "quality_answer": repair}
    return row, (
        (template.format(level=level), drawings.degraded(task.look, fault, level)) for level in levels
    )


def _qd(task: _Task) -> _Made:
    """A pen sketch that gains strokes."""
    images = 7 + task.index % 3
    template = f"qd/{task.look.subject}/{task.number}-{{image}}.png"
    row = _row(task, "What is being drawn here?", ("Add more strokes to the drawing.",), template, images)
    sketches = (drawings.sketched(task.look, (frame + 1) / images) for frame in range(images))
    return row | {"reference_image": images - 1}, _numbered(template, sketches, 4)


def _cit(task: _Task) -> _Made:
    """The subject comes out of a crate while the film runs."""
    step, shown = 2 + task.index % 2, 5 + task.index % 3
    images = step * shown
    template = f"cit/film-{task.number}/frame{{image}}.jpg"
    waits = (_REWIND, "Wait for the object to appear.")
    row = _row(task, "What comes out of the crate?", waits, template, images)
    row |= {"first_image": task.index % step, "reference_image": images - 1}
    row |= {"step_size": step, "max_steps": shown}
    frames = (drawings.rising(task.look, frame / (images - 1)) for frame in range(images))
    return row, _numbered(template, frames)


def _coco(task: _Task) -> _Made:
    """A wide view of which the camera sees too small a part, or a part beside the subject."""
    view, granularity = _VIEWS[task.index % len(_VIEWS)], 3 + task.index % 3
    moves = view.split("_")
    width, height = drawings.LANDSCAPE
    if view == "zoom":
        # Here the benchmark takes the crop's width and height for what they say.
        across, down = 20, 14
        crop = {"left": (width - across) // 2, "top": (height - down) // 2, "width": across, "height": down}
        steps = crop["left"] // (granularity + 1), crop["top"] // (granularity + 1)
    else:
        # Here it takes them for its right and its lower edge. What is seen grows from a strip on the far side
        # of the subject, by as much with each move.
        strips = {
            "left": ("left", width - 24),
            "right": ("width", 24),
            "up": ("top", height - 18),
            "down": ("height", 18),
        }
        crop = {"left": 0, "top": 0, "width": width, "height": height}
        crop |= dict(strips[move] for move in moves)
        steps = (
            (width - 24) // granularity if {"left", "right"}.intersection(moves) else 0,
            (height - 18) // granularity if {"up", "down"}.intersection(moves) else 0,
        )
    x = 0.2 if "left" in moves else 0.8 if "right" in moves else 0.5
    y = 0.2 if "up" in moves else 0.8 if "down" in moves else 0.5
    path = f"coco/view-{task.number}.jpg"
    suggestions = [_MOVES[move] for move in moves]
    row = _row(task, "Which object is the main one in this scene?", suggestions, path, 1)
    row |= {"direction": view, "granularity": granularity, "crop": crop}
    row |= {"horizontal_step": steps[0], "vertical_step": steps[1]}
    return row, [(path, drawings.landscape(task.look, (x, y), 116 if view == "zoom" else 78))]


_MAKERS: dict[str, Callable[[_Task], _Made]] = {
    "ROD": _rod,
    "VSOD": _vsod,
    "MVP-N": _mvpn,
    "IN-C": _inc,
    "QD": _qd,
    "CIT": _cit,
    "COCO": _coco,
}
