"""Open weights through transformers: our episodes in batches, against the benchmark's own loop.

    python benchmarks/transformers_batching.py [--shape tiny|3b|8b] [--device cpu|cuda] [--dtype NAME]
        [--episodes 8] [--scale 1] [--concurrency 16] [--batch N] [--max-tokens 50] [--json]

The benchmark's example (`proactivebench/tests/mcqa.py`) asks one question at a time: processor, then
`generate`. That loop and ours play the same episodes of the built-in samples (`--episodes` of each data
set, frames enlarged `--scale` times) with the same weights, one after the other in one process. How many
answers are the same, text for text, is counted too. Weights are random: `3b` and `8b` have the sizes of
Qwen2.5-VL-3B and 7B, so their speed is real and their answers are not; hardly any ends by itself, so
answers are as long as `--max-tokens` says. Needs the extra `transformers`, and no network.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from random_models import SHAPES, qwen25vl  # isort: skip  (sets the threads' manners before torch loads)

import torch
import transformers as hf
from PIL import Image

from pbclient.benchmark.package import STEMS, Environment, State, environment_class, multiple_choice
from pbclient.data.samples import write_samples
from pbclient.images.frames import FrameStore
from pbclient.images.pictures import Pictures
from providers import Message, Request
from providers.hf.engine import LocalTransformers


@dataclass
class Played:
    """What one way of asking took, without loading and its first answer."""

    seconds: float
    answers: Mapping[str, str]  # by episode and turn
    episodes: int
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Episodes a second."""
        return self.episodes / self.seconds


@dataclass(frozen=True)
class Episode:
    """A sample that can be played; its paths begin with `root`."""

    name: str
    make: Callable[..., Environment]
    row: Mapping[str, Any]

    def environment(self, root: str) -> Environment:
        return self.make(self.row, root)


def episodes_of(folder: Path) -> Iterator[Episode]:
    """All episodes of a data folder."""
    for acronym, stem in STEMS.items():
        make = environment_class(acronym)
        for line in (folder / f"{stem}_preprocessed.jsonl").read_text("utf-8").splitlines():
            row = json.loads(line)
            yield Episode(f"{acronym}/{row['id']}", make, row)


class Example:
    """The benchmark's example loop, line by line; only where model, device and data come from is ours."""

    def __init__(self, model: Path, options: argparse.Namespace) -> None:
        self.model = hf.AutoModelForImageTextToText.from_pretrained(
            model, device_map={"": options.device}, dtype=options.dtype, attn_implementation="sdpa"
        )
        self.processor = hf.AutoProcessor.from_pretrained(model)
        self.limit = options.max_tokens

    def play(self, data: Path, episodes: Sequence[Episode]) -> Played:
        self._play(data, episodes[0])
        begun = time.perf_counter()
        answers: dict[str, str] = {}
        for episode in episodes:
            answers |= self._play(data, episode)
        return Played(time.perf_counter() - begun, answers, len(episodes))

    def _play(self, data: Path, episode: Episode) -> dict[str, str]:
        environment = episode.environment(str(data))
        answers = {}
        while not environment.stop:
            name = f"{episode.name}/{environment.num_turns}"
            answers[name] = self._answer(environment.get_state(hint=False))
            environment.evaluate_generated_answer(answers[name])
        return answers

    def _answer(self, state: State) -> str:
        asked = multiple_choice(state["prompt"], state["options"])
        content = [{"type": "image"}, {"type": "text", "text": asked}]
        chat = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )
        image = state["transform"](Image.open(state["image_path"]).convert("RGB"))
        inputs = self.processor(images=[image], text=[chat], padding=True, return_tensors="pt")
        inputs = inputs.to(self.model.device, self.model.dtype)
        length = inputs["input_ids"].shape[1]
        end = self.processor.tokenizer.eos_token_id
        said = self.model.generate(**inputs, max_new_tokens=self.limit, pad_token_id=end)
        return str(self.processor.decode(said[0][length:], skip_special_tokens=True))


class Ours:
    """The same episodes, many at once, through the provider."""

    def __init__(self, provider: LocalTransformers, pictures: Pictures, options: argparse.Namespace) -> None:
        self.provider = provider
        self.pictures = pictures
        self.params = {"max_tokens": options.max_tokens, "temperature": 0}
        self.room = asyncio.Semaphore(options.concurrency)

    async def play(self, episodes: Sequence[Episode]) -> Played:
        await self._play(episodes[0])
        begun = time.perf_counter()
        played = await asyncio.gather(*map(self._play, episodes))
        seconds = time.perf_counter() - begun
        answers = {name: text for each in played for name, text in each.items()}
        return Played(seconds, answers, len(episodes), await self.provider.facts())

    async def _play(self, episode: Episode) -> dict[str, str]:
        async with self.room:
            environment = episode.environment("")
            answers = {}
            while not environment.stop:
                name = f"{episode.name}/{environment.num_turns}"
                answers[name] = await self._answer(environment.get_state(hint=False))
                environment.evaluate_generated_answer(answers[name])
            return answers

    async def _answer(self, state: State) -> str:
        picture = await self.pictures.open(state["image_path"], state["transform"])
        asked = multiple_choice(state["prompt"], state["options"])
        request = Request((Message("user", (picture, asked)),), self.params)
        return (await self.provider.complete(request)).text


async def ours(model: Path, data: Path, options: argparse.Namespace) -> Played:
    """Our way, from loading to giving the memory back."""
    provider = LocalTransformers(
        model, device=options.device, dtype=options.dtype, batch=options.batch, say=told
    )
    with FrameStore(data) as frames, Pictures(frames) as pictures:
        async with provider:
            return await Ours(provider, pictures, options).play(list(episodes_of(data)))


def enlarge(data: Path, scale: int) -> None:
    """Frames that are `scale` times as wide and high."""
    for path in data.rglob("*"):
        if scale > 1 and path.suffix.lower() in (".png", ".jpg", ".jpeg"):
            with Image.open(path) as image:
                larger = image.resize((image.width * scale, image.height * scale))
            larger.save(path)


def told(text: str) -> None:
    print(text, file=sys.stderr)


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Both ways in turn, and what they took."""
    with tempfile.TemporaryDirectory() as name:
        model, data = Path(name) / "model", Path(name) / "data"
        told(f"Making a model of shape {options.shape}.")
        qwen25vl(model, options.shape, options.device, options.dtype)
        write_samples(data, options.episodes)
        enlarge(data, options.scale)
        example = Example(model, options).play(data, list(episodes_of(data)))
        gc.collect()
        if options.device.startswith("cuda"):
            torch.cuda.empty_cache()
        batched = asyncio.run(ours(model, data, options))
    shared = example.answers.keys() & batched.answers.keys()
    same = sum(example.answers[name] == batched.answers[name] for name in shared)
    return {
        "shape": options.shape,
        "concurrency": options.concurrency,
        "episodes": batched.episodes,
        "example episodes/s": round(example.rate, 2),
        "our episodes/s": round(batched.rate, 2),
        "ratio": round(batched.rate / example.rate, 2),
        "same answers": f"{same} of {len(example.answers | batched.answers)}",
        "threads": torch.get_num_threads(),
        **batched.facts,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES), default="tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", help="float32 on the processor, else bfloat16")
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--max-tokens", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.dtype = options.dtype or ("float32" if options.device == "cpu" else "bfloat16")
    figures = compare(options)
    if options.json:
        print(json.dumps(figures))
    else:
        print("\n".join(f"{name:20} {value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
