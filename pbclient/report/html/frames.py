"""What a model was shown: frames as small WebP pictures, each once, and what the environment would take.

The data folder is looked for where a run looks for it, and used only where its rows are those that the
run played. An episode is stepped again with its recorded answers, so that a frame is cropped as it was.
"""

from __future__ import annotations

import hashlib
import io
import os
import random
import warnings
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Self

from pbclient.benchmark.package import MCQA
from pbclient.data.filters import NONE
from pbclient.data.folder import DataFolder, Sample, open_data
from pbclient.data.home import DATA_VARIABLE, downloaded_folder
from pbclient.episodes.random_options import ForeignOptions
from pbclient.errors import PbclientError
from pbclient.images import encoding
from pbclient.images.encoding import Transform
from pbclient.report.html.reported import Reported
from runs import Episode, Identity, identity

EDGE = 320  # pixels, the longer edge of a thumbnail
QUALITY = 60
BUDGET = 20_000_000  # bytes of a page that frames may take, as base64
LETTERS = 16  # of a frame's digest: enough to tell apart what a page holds


@dataclass(frozen=True, slots=True)
class View:
    """What a turn showed, and the options that the environment would have taken then."""

    image: str
    transform: Transform
    right: tuple[str, ...]


@dataclass(frozen=True)
class Views:
    """The rows of a run, to step its episodes again."""

    run: Reported
    data: DataFolder
    samples: Mapping[tuple[str, str], Sample]
    foreign: ForeignOptions | None

    @classmethod
    def of(cls, run: Reported, named: Path | None) -> Self | None:
        """Those of the first data folder whose rows are the run's; None where there is none."""
        datasets = list(run.summary["datasets"])
        played = run.folder.manifest.get("data")
        recorded = played.get("sources") if isinstance(played, Mapping) else None
        if not datasets or not isinstance(recorded, Mapping):
            return None
        for folder in _folders(named):
            try:
                data = open_data(folder, datasets, NONE)
                if any(data.sources[name] != recorded.get(name) for name in datasets):
                    data.close()
                    continue
                rules = run.rules
                foreign = ForeignOptions.of(data, rules.seed) if rules.random_options else None
            except (PbclientError, OSError):
                continue
            samples = {(each.dataset, each.id): each for own in data.samples.values() for each in own}
            return cls(run, data, samples, foreign)
        return None

    def episode(self, episode: Episode) -> list[View]:
        """A view a turn, as far as the rows give what was recorded."""
        sample = self.samples.get((episode["dataset"], episode["sample"]))
        views: list[View] = []
        if sample is None:
            return views
        rules = self.run.rules
        try:
            row = self.data.row(sample)
            if self.foreign is not None:
                row = self.foreign.put_into(sample.dataset, row)
            environment = rules.environment(sample, row)
            for turn in episode["turns"]:
                state = rules.state(environment)
                if state["image_path"] != turn.get("image"):
                    break
                options, categories = environment._get_correct_options_and_categories()
                right = (*options, *categories)
                views.append(View(state["image_path"], state["transform"], right))
                # Over several open-ended turns the environment was given what the judge found in the answer.
                taken = turn.get("given", turn.get("answer") if self.run.mode == MCQA else None)
                if not isinstance(taken, str):
                    break
                rules.evaluate(environment, sample, episode["repeat"], taken)
        except (PbclientError, ValueError, TypeError, KeyError):
            pass  # a row or an answer that was not played like this: the record stands without its frames
        return views

    def close(self) -> None:
        self.data.close()


def _folders(named: Path | None) -> Iterator[Path]:
    """Where the data of a run may be: the named folder, or those that `pbclient run` takes by itself."""
    if named is not None:
        yield named
        return
    if from_environment := os.environ.get(DATA_VARIABLE):
        yield Path(from_environment)
    if (downloaded := downloaded_folder()) is not None:
        yield downloaded
    from pbclient.data.samples import builtin_folder

    yield builtin_folder()


@dataclass
class Frames:
    """The frames of a page by their names; `missing` are those that could not be read, with the reason."""

    budget: int | None
    pictures: dict[str, bytes] = field(default_factory=dict)
    size: int = 0
    missing: dict[str, str] = field(default_factory=dict)
    full: bool = False
    _names: dict[tuple[Any, ...], str | None] = field(default_factory=dict)

    def add(self, data: DataFolder, view: View) -> str | None:
        """The name of a view's frame, which is read the first time; None where it has no room or no file."""
        recorder = encoding.Recorder(lambda: encoding.picture_size(data.frames.read(view.image)))
        try:
            change = encoding.recorded(recorder, view.transform)
            key = data.folder, view.image, change
            if key not in self._names:
                if self.full:
                    return None
                frame = thumbnail(data.frames.read(view.image), view.transform if change else None)
                self._names[key] = self._keep(frame)
            return self._names[key]
        except Exception as error:
            # Pillow raises nearly anything on broken files; a frame that is gone is named, not an error.
            self.missing.setdefault(view.image, type(error).__name__)
            return None

    def _keep(self, picture: bytes) -> str | None:
        name = hashlib.sha256(picture).hexdigest()[:LETTERS]
        if name in self.pictures:
            return name
        size = LETTERS + 2 + (len(picture) + 2) // 3 * 4
        if self.budget is not None and self.size + size > self.budget:
            self.full = True
            return None
        self.pictures[name] = picture
        self.size += size
        return name

    def island(self) -> str:
        """A line a frame: its name, a space, its bytes as base64."""
        return "\n".join(f"{name} {b64encode(data).decode()}" for name, data in sorted(self.pictures.items()))

    def write(self, folder: Path) -> None:
        """A file a frame, in a folder beside the page."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.pictures.items():
            (folder / f"{name}.webp").write_bytes(data)


def thumbnail(data: bytes, transform: Transform | None) -> bytes:
    """The picture as it was shown, small, as WebP without metadata. Raises whatever Pillow raises."""
    from PIL import Image

    encoding.checked_size(encoding.picture_size(data))
    with warnings.catch_warnings(), closing(Image.open(io.BytesIO(data))) as image:
        warnings.simplefilter("ignore")
        if transform is None:
            image.draft("RGB", (2 * EDGE, 2 * EDGE))  # a JPEG is decoded no larger than is needed
        shown = image.convert("RGB")
        shown = shown if transform is None else transform(shown)
        shown.thumbnail((EDGE, EDGE))
        file = io.BytesIO()
        shown.save(file, "WEBP", quality=QUALITY, method=2, icc_profile=None)
        return file.getvalue()


def wanted(runs: Sequence[Reported], flips: Iterable[Sequence[Any]]) -> Iterator[Identity]:
    """The episodes in the order in which their frames are worth room: flips and a seeded sample in turn."""
    everything = sorted({identity(episode) for run in runs for episode in run.episodes})
    flipped = sorted({(str(dataset), str(sample), int(repeat)) for dataset, sample, repeat in flips})
    for episodes in (everything, flipped):
        random.Random("frames").shuffle(episodes)
    seen = chain.from_iterable(zip_longest(flipped, everything))
    yield from dict.fromkeys(which for which in seen if which is not None)
