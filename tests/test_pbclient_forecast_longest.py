"""The longest path through an episode: no play is longer, and no call on it is dearer than its step."""

from __future__ import annotations

import asyncio
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from pbclient.benchmark.package import DATA_SETS, environment_class
from pbclient.config import RunConfig
from pbclient.episodes.players import ModelPlayer, View, abstention, suggestions
from pbclient.episodes.rules import WITH_EXAMPLES
from pbclient.errors import FrameError
from pbclient.forecast.longest import LONGEST_TOKEN, longest_path
from pbclient.forecast.replay import replay
from pbclient.images.frames import FrameStore
from pbclient.images.pictures import HEAD_BYTES, Pictures
from pbclient.money.books import Books
from pbclient.money.bounds import Bounds
from pbclient.scheduler.plan import prepare
from providers import Request, Response

# Of all rules these two depend most on the size: one goes by patches, one by tiles that may shrink.
MODELS = ("gpt-6-luna", "gpt-4o")


def config(data: Path, **options) -> RunConfig:
    provider = "anthropic" if str(options.get("model")).startswith("claude") else "openai"
    unused = Path("no-answers")
    fixed = {"provider": provider, "model": "gpt-4o", "data": data, "cache_dir": unused, "out": unused}
    return RunConfig(**{**fixed, **options})


class Bounding:
    """A provider that only notes the bound of the real request, with its picture encoded."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.holds: list[int] = []

    async def complete(self, request: Request) -> Response:
        self.holds.append(await self.bounds.of(request))
        return Response("", "stop")


async def _steps(plan, sample, environment):
    view = View(
        environment, plan.rules.state(environment), sample.dataset, sample.id, 0, environment.num_turns
    )
    with longest_path(plan, plan.model) as ahead:
        return await ahead.longest(sample, view)


async def _holds(plan, sample, environment, choices):
    """The holds of the calls of an episode that takes a suggestion as `choices` say, while there is one."""
    bounding = Bounding(plan.model.bounds)
    with Pictures(plan.data.frames) as pictures:
        player = plan.player(plan.model, bounding, pictures)
        for choice in choices:
            state = environment.get_state(hint=plan.rules.hint)
            view = View(environment, state, sample.dataset, sample.id, 0, environment.num_turns)
            await player.answer(view)
            found = suggestions(view)
            environment.evaluate_generated_answer(found[choice % len(found)] if found else "I cannot tell.")
            if environment.stop:
                break
    return bounding.holds


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from([each.acronym for each in DATA_SETS]),
    number=st.integers(0, 5),
    model=st.sampled_from(MODELS),
    hint=st.booleans(),
    choices=st.one_of(
        st.lists(st.integers(0, 1), min_size=30, max_size=30), st.integers(0, 3).map(lambda same: [same] * 30)
    ),
)
def test_no_way_is_longer_or_dearer(samples, name, number, model, hint, choices):
    with prepare(config(samples, datasets=(name,), model=model, hint=hint), print, asks=False) as plan:
        sample = plan.data.samples[name][number]

        def begin():
            return environment_class(name)(plan.data.row(sample), "")

        steps = asyncio.run(_steps(plan, sample, begin()))
        holds = asyncio.run(_holds(plan, sample, begin(), choices))
    assert len(holds) <= len(steps) <= begin().max_steps
    for hold, step in zip(holds, steps, strict=False):
        assert 0 < hold <= step.hold


@dataclass
class Choosing:
    """A player that puts each question to a model and then says what it likes, at length."""

    inner: ModelPlayer
    choices: list[int]
    words: int

    async def answer(self, view: View) -> Response:
        await self.inner.answer(view)
        offered = [text for text in view.state["options"] if not abstention(text)]
        choice = offered[self.choices[view.turn % len(self.choices)] % len(offered)]
        # Up to the longest that so many tokens can be.
        room = LONGEST_TOKEN * MOST - len(choice) - 3
        return Response(f"{'x' * min(self.words, room)}A. {choice}", "stop")


MOST = 20
CONDITIONS = (
    {"history": True},
    {"options": "random"},
    {"options": "random", "history": True, "hint": True},
    {"shots": 2},
    {"shots": 1, "cot": True, "history": True, "resize": True},
    {"history": True, "repeat": 2, "resize": True},
)


@settings(max_examples=80, deadline=None)
@given(
    conditions=st.sampled_from(CONDITIONS),
    name=st.sampled_from([each.acronym for each in DATA_SETS]),
    number=st.integers(0, 5),
    model=st.sampled_from((*MODELS, "claude-haiku-5-5")),
    choices=st.lists(st.integers(0, 3), min_size=1, max_size=5),
    words=st.integers(0, 3000),
)
def test_no_way_is_dearer_under_the_conditions_of_the_paper(
    samples, conditions, name, number, model, choices, words
):
    assume(not conditions.get("shots") or name in WITH_EXAMPLES)
    asked = config(samples, datasets=(name,), model=model, max_tokens=MOST, **conditions)

    async def main(plan, sample, repeat):
        bounding = Bounding(plan.model.bounds)
        with Pictures(plan.data.frames) as pictures:
            player = Choosing(plan.player(plan.model, bounding, pictures), choices, words)
            played = await plan.episode(sample, repeat, player, Books()).play(plan.row(sample))
        with replay(plan, plan.model) as stored, longest_path(plan, plan.model) as ahead:
            begun = await stored.play(sample, repeat)
            return played, bounding.holds, await ahead.longest(sample, begun.view)

    with prepare(asked, print, asks=False) as plan:
        repeat = asked.repeat - 1
        played, holds, steps = asyncio.run(main(plan, plan.data.samples[name][number], repeat))
    assert played["outcome"] == "resolved"
    assert 1 <= len(holds) <= len(steps)
    for hold, step in zip(holds, steps, strict=False):
        assert 0 < hold <= step.hold
    assert [step.images for step in steps] == sorted(step.images for step in steps)


@pytest.mark.parametrize("name", [each.acronym for each in DATA_SETS])
def test_the_longest_path_can_be_played(samples, name):
    with prepare(config(samples, datasets=(name,)), print, asks=False) as plan:
        for sample in plan.data.samples[name]:
            start = environment_class(name)(plan.data.row(sample), "")
            before = {key: repr(value) for key, value in vars(start).items()}
            steps = asyncio.run(_steps(plan, sample, start))
            assert {key: repr(value) for key, value in vars(start).items()} == before
            holds = asyncio.run(_holds(plan, sample, start, [0] * 99))
            assert len(holds) == len(steps)


def test_from_the_middle_only_the_rest_is_left(samples):
    with prepare(config(samples, datasets=("ROD",)), print, asks=False) as plan:
        sample = plan.data.samples["ROD"][0]
        environment = environment_class("ROD")(plan.data.row(sample), "")
        for _ in range(3):
            environment.evaluate_generated_answer(environment.correct_options[0])
        assert len(asyncio.run(_steps(plan, sample, environment))) == environment.max_steps - 3


def test_a_reference_is_asked_about_once(samples):
    with prepare(config(samples, reference=True), print, asks=False) as plan:
        for sample, _ in plan.order:
            make = environment_class(sample.dataset)
            start = make(plan.data.row(sample), "", reference=True)
            assert len(asyncio.run(_steps(plan, sample, start))) == 1


def test_a_frame_that_is_missing_ends_the_way_without_a_call(samples, tmp_path):
    shutil.copytree(samples, tmp_path / "data")
    with prepare(config(tmp_path / "data", datasets=("QD",)), print, asks=False) as plan:
        sample = plan.data.samples["QD"][0]
        environment = environment_class("QD")(plan.data.row(sample), "")
        whole = len(asyncio.run(_steps(plan, sample, environment)))
        gone = plan.data.row(sample)["image_template"].format(image="0003")
        (tmp_path / "data" / gone).unlink()
        assert whole > 3
        assert len(asyncio.run(_steps(plan, sample, environment))) == 3


def _crop(image):
    return image.crop((10.4, 0, 50.6, 30))


def _shrink(image):
    return image.resize((image.size[0] // 2, image.size[1] // 3))


@pytest.mark.parametrize("archived", [False, True])
def test_sizes_by_the_header_are_the_sizes_as_sent(tmp_path, archived):
    picture = Image.effect_noise((301, 203), 80).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    exif[0x010E] = "x" * (3 * HEAD_BYTES)
    picture.save(tmp_path / "wordy.jpg", exif=exif)
    picture.save(tmp_path / "plain.png")
    picture.convert("P").save(tmp_path / "old.gif")
    picture.save(tmp_path / "other.webp")
    picture.save(tmp_path / "large.tif")
    names = sorted(path.name for path in tmp_path.iterdir())
    if archived:
        with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
            for number, name in enumerate(names):
                method = zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED
                archive.write(tmp_path / name, name, method)
                (tmp_path / name).unlink()

    async def check(pictures: Pictures) -> None:
        for name in names:
            for transform in (lambda image: image, _crop, _shrink):
                sent = await (await pictures.open(name, transform)).encode()
                assert pictures.size(name, transform) == (sent.width, sent.height), name

    with FrameStore(tmp_path) as frames, Pictures(frames) as pictures:
        asyncio.run(check(pictures))
        with pytest.raises(FrameError, match=r"none\.jpg"):
            pictures.size("none.jpg", lambda image: image)


def test_the_head_of_a_frame(tmp_path):
    data = bytes(range(256)) * 100
    (tmp_path / "file.bin").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("stored.bin", data)
        archive.writestr("small.bin", data[:10], zipfile.ZIP_DEFLATED)
        archive.writestr("packed.bin", data, zipfile.ZIP_DEFLATED)
    with FrameStore(tmp_path) as frames:
        for name in ("file.bin", "stored.bin", "packed.bin"):
            assert frames.head(name, 1000) == data[:1000]
        assert frames.head("small.bin", 1000) == data[:10]
