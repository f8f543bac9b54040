"""What several benchmarks share: data as large as the published ones, and a model that answers at once.

    python benchmarks/material.py FOLDER [--episodes 7557] [--turns 3]

draws the data and nothing else. Frames are one photograph-like picture of about 40 KB, each with a
comment of its own: other bytes, so another image to every cache, and quickly made.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import resource
import statistics
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pbclient import RunConfig, evaluate
from pbclient.benchmark.package import STEMS, kept_ids
from providers import Request, Response, Usage

SIZE = (640, 480)
TURNS = 3

# "A" is the first option: a suggestion that each environment takes until its last turn.
_ABSTAIN = "I cannot tell from this picture."
_ROWS: Mapping[str, tuple[str, dict[str, object]]] = {
    "ROD": ("Move the occluding object to the left.", {}),
    "VSOD": ("Rewind the video.", {"strong_occlusions": True}),
    "MVP-N": ("Rotate the object.", {}),
    "IN-C": ("Denoise the image.", {"quality_answer": "Denoise the image."}),
    "QD": ("Add more strokes to the drawing.", {}),
    "CIT": ("Wait for the object to appear.", {"step_size": 1}),
    "COCO": (
        "Move the camera to the left.",
        {"direction": "left", "horizontal_step": 40, "vertical_step": 0},
    ),
}
_NAMES = {"ROD": "{image}", "VSOD": "{image}", "MVP-N": "{informative}-{image}", "IN-C": "{level}"}


def draw(folder: Path, episodes: int, turns: int = TURNS) -> None:
    """Samples of all data sets, in the published proportions, that take `turns` answers of "A" each."""
    picture = photograph()
    folder.mkdir(parents=True, exist_ok=True)
    for acronym, numbers in _shares(episodes).items():
        (folder / acronym).mkdir()
        with (folder / f"{STEMS[acronym]}_preprocessed.jsonl").open("w") as rows:
            for number in numbers:
                row = _row(acronym, number, turns)
                rows.write(json.dumps(row) + "\n")
                for frame in _frames(acronym, row, turns):
                    (folder / frame).write_bytes(_marked(picture, frame))


def _shares(episodes: int) -> dict[str, list[int]]:
    ids = {acronym: sorted(kept_ids(acronym)) for acronym in STEMS}
    whole = sum(map(len, ids.values()))
    return {acronym: found[: -(-len(found) * episodes // whole)] for acronym, found in ids.items()}


def _row(acronym: str, number: int, turns: int) -> dict[str, Any]:
    suggestion, own = _ROWS[acronym]
    name = "frame" if acronym == "COCO" else _NAMES.get(acronym, "{image}")
    row: dict[str, Any] = {
        "id": number,
        "image_template": f"{acronym}/{number:06}-{name}.jpg",
        "first_image": turns if acronym == "IN-C" else 0,
        "num_images": turns + 1 if acronym == "CIT" else turns,
        "reference_image": 0,
        "prompt": f"Which of these does picture {number} show? Look at it closely before you answer.",
        "options": [suggestion, _ABSTAIN],
        "categories": ["A boat.", "A house.", "A lighthouse.", "A windmill."],
        "answer": "A house.",
        **own,
    }
    if acronym == "MVP-N":
        row["valid_images"] = list(range(turns))
    if acronym == "CIT":
        row |= {"max_steps": turns, "options": [suggestion, "Rewind the video.", _ABSTAIN]}
    if acronym == "COCO":
        row |= {"granularity": turns, "crop": {"top": 0, "left": 300, "height": 480, "width": 640}}
    return row


def _frames(acronym: str, row: Mapping[str, Any], turns: int) -> Iterator[str]:
    template, first = row["image_template"], row["first_image"]
    if acronym == "COCO":
        yield template
        return
    for turn in range(turns):
        image = str(turn) if acronym in ("ROD", "CIT") else f"{turn:04d}"
        informative = int(turn + 1 == turns)
        yield template.format(image=image, level=first - turn, informative=informative)


def photograph() -> bytes:
    """A JPEG of about 40 KB: clouds and grain."""
    from io import BytesIO

    from PIL import Image

    chance = random.Random(0)
    coarse = Image.frombytes("RGB", (20, 15), chance.randbytes(20 * 15 * 3)).resize(SIZE)
    grain = Image.frombytes("RGB", SIZE, chance.randbytes(SIZE[0] * SIZE[1] * 3))
    buffer = BytesIO()
    Image.blend(coarse, grain, 0.08).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _marked(picture: bytes, comment: str) -> bytes:
    text = comment.encode()
    return picture[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2) + text + picture[2:]


NOWHERE = "http://127.0.0.1:9/v1"  # of runs that never reach the wire


def asking(base_url: str = NOWHERE, **options: Any) -> RunConfig:
    """A run that asks the model at a URL for as long as it likes; `options` are fields of `RunConfig`."""
    return RunConfig(
        provider="openai", model="glance", base_url=base_url, price="1,2", max_cost=None, **options
    )


@dataclass(eq=False)
class Instant:
    """A provider that answers "A" as soon as it has what it would send."""

    identity: Mapping[str, Any] = field(default_factory=dict)
    calls: int = 0

    async def complete(self, request: Request) -> Response:
        self.calls += 1
        for message in request.messages:
            for part in message.parts:
                if not isinstance(part, str):
                    await part.encode()
        return Response("A", "stop", Usage(400, 2), model="instant")

    async def aclose(self) -> None:
        pass


@contextmanager
def answered_at_once() -> Iterator[Instant]:
    """Runs in this process ask an `Instant` where they would go to the wire."""
    from pbclient.models.model import Model

    instant, connect = Instant(), Model.connect
    Model.connect = lambda model: instant  # type: ignore[assignment, method-assign, return-value]
    try:
        yield instant
    finally:
        Model.connect = connect  # type: ignore[method-assign]


def play(config: RunConfig) -> int:
    """Run `config` with an `Instant`; how often it was asked is returned."""
    with answered_at_once() as instant:
        result = asyncio.run(evaluate(config))
    assert result.exit_code == 0, result.reasons
    return instant.calls


def alone[**P, T](work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do `work` in a fresh process, as a person starts it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *args, **kwargs).result()


def processor_seconds(command: tuple[str, ...]) -> float:
    """User and system time of one process and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def median_seconds(commands: Iterable[tuple[str, ...]]) -> float:
    """Of the processor time that they take."""
    return round(statistics.median(map(processor_seconds, commands)), 3)


def rows(title: str, figures: Mapping[str, float]) -> str:
    """Figures by their names, as lines of Markdown."""
    lines = [f"| {name.replace('_', ' ')} | {value:,} |" for name, value in figures.items()]
    return "\n".join([f"| | {title} |", "|---|---:|", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--episodes", type=int, default=7557)
    parser.add_argument("--turns", type=int, default=TURNS)
    options = parser.parse_args()
    draw(options.folder, options.episodes, options.turns)


if __name__ == "__main__":
    main()
