"""Too many images and too large ones: said before anything is sent, shrunk only where a rule says so."""

from __future__ import annotations

import asyncio
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback_faults import LoopbackServer
from package_loop import heard
from PIL import Image

from pbclient import RunConfig, estimate, evaluate
from pbclient.images.encoding import fitted
from pbclient.images.frames import FrameStore
from pbclient.images.pictures import Pictures
from pbclient.money.bounds import Bounds, refuse_too_large, refuse_too_many
from pbclient.money.prices import Price
from providers import BadRequest, EncodedImage, Message, Request
from providers.catalog.image_limits import MIB, NO_LIMITS, ImageLimits

LIMITS = ImageLimits("Somebody", images=3, image_bytes=4 * MIB, request_bytes=8 * MIB)


def test_up_to_the_limit_nothing_is_said():
    refuse_too_many(LIMITS, 3)
    refuse_too_many(NO_LIMITS, 10**6)
    refuse_too_large(LIMITS, [3 * MIB, 3 * MIB])
    refuse_too_large(LIMITS, [])
    refuse_too_large(NO_LIMITS, [10**9])


def test_one_sentence_names_the_cause_and_the_fix():
    with pytest.raises(
        BadRequest, match=r"has 4 images, and Somebody takes 3 .* --shots, leave --history"
    ) as one:
        refuse_too_many(LIMITS, 4)
    with pytest.raises(
        BadRequest, match=r"An image has 4\.0 MiB .* Somebody takes 4\.0 MiB: --resize"
    ) as two:
        refuse_too_large(LIMITS, [10, 3 * MIB + 1])
    with pytest.raises(BadRequest, match=r"The request has 12\.0 MiB of images .*--history") as three:
        refuse_too_large(LIMITS, [3 * MIB] * 3)
    with pytest.raises(BadRequest, match=r"has 8\.0 MiB of images .*--resize makes frames smaller\.$"):
        refuse_too_large(ImageLimits("X", request_bytes=4 * MIB), [6 * MIB])
    assert not any(each.value.billed for each in (one, two, three))


class Heavy:
    """An image of so many bytes."""

    identity: ClassVar[dict] = {}

    def __init__(self, size: int) -> None:
        self.size = size

    async def encode(self) -> EncodedImage:
        return EncodedImage("image/png", b"\0" * self.size, 10, 10)


@pytest.mark.parametrize("price", [Price.free(), Price.flat(1, 1, source="test")])
def test_bytes_are_checked_before_a_hold_also_when_calls_are_free(price):
    bounds = Bounds("somebody", "model", price, limits=LIMITS)

    def request(*sizes: int) -> Request:
        return Request((Message("user", (*map(Heavy, sizes), "?")),), {"max_tokens": 5})

    assert (asyncio.run(bounds.of(request(3 * MIB))) == 0) == price.is_free
    with pytest.raises(BadRequest, match="An image has"):
        asyncio.run(bounds.of(request(4 * MIB)))
    with pytest.raises(BadRequest, match="The request has"):
        asyncio.run(bounds.of(request(3 * MIB, 3 * MIB, 3 * MIB)))


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.integers(1, 10_000))
def test_what_is_shrunk_keeps_its_proportions_and_fits(width, height, edge):
    size = fitted((width, height), edge)
    if max(width, height) <= edge:
        assert size is None
    else:
        assert max(size) == edge
        scale = edge / max(width, height)
        assert all(abs(now - before * scale) <= 1 for now, before in zip(size, (width, height), strict=True))


def _crop(image):
    return image.crop((0, 0, 240, 60))


def test_a_picture_over_the_edge_is_shrunk_and_says_so_in_its_identity(tmp_path):
    Image.effect_noise((300, 100), 80).convert("RGB").save(tmp_path / "wide.png")
    whole = Image.open(tmp_path / "wide.png")

    async def opened(pictures: Pictures, transform, edge):
        picture = await pictures.open("wide.png", transform, edge)
        encoded = await picture.encode()
        assert pictures.size("wide.png", transform) == (whole.size if transform is same else (240, 60))
        return dict(picture.identity), encoded

    def same(image):
        return image

    with FrameStore(tmp_path) as frames, Pictures(frames) as pictures:
        plain, untouched = asyncio.run(opened(pictures, same, None))
        assert untouched.data == (tmp_path / "wide.png").read_bytes()
        # Within the limit: the same bytes, the same key.
        assert asyncio.run(opened(pictures, same, 300)) == (plain, untouched)
        identity, shrunk = asyncio.run(opened(pictures, same, 150))
        assert identity == {**plain, "fit": [150, 50]}
        assert (shrunk.width, shrunk.height, shrunk.media_type) == (150, 50, "image/png")
        expected = whole.convert("RGB").resize((150, 50), Image.Resampling.LANCZOS)
        assert Image.open(io.BytesIO(shrunk.data)).tobytes() == expected.tobytes()
        identity, cut = asyncio.run(opened(pictures, _crop, 150))
        assert identity == {**plain, "crop": [0, 0, 240, 60], "fit": [150, 37]}
        assert (cut.width, cut.height) == (150, 37)


# A whole run: a sketch of 24 frames, each wider than Claude takes them in a long conversation.

FRAMES = 24


@pytest.fixture(scope="module")
def wide(samples, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wide")
    name = "QuickDraw_preprocessed.jsonl"
    row = json.loads((samples / name).read_text(encoding="utf-8").splitlines()[0])
    row.update(num_images=FRAMES, reference_image=0, image_template="wide-{image}.png")
    (folder / name).write_text(json.dumps(row) + "\n")
    for frame in range(FRAMES):
        Image.new("RGB", (2100, 42), (frame, 0, 0)).save(folder / f"wide-{frame:04}.png")
    return folder


def ask_on(ask) -> str:
    return next(line for line in ask.question.splitlines() if "strokes" in line)


async def _play(wide: Path, out: Path, server: LoopbackServer, model: str, **options):
    config = RunConfig(
        provider="anthropic",
        model=model,
        base_url=server.root,
        price="1,2",
        max_cost=Decimal(50),
        max_tokens=50,
        data=wide,
        cache_dir=out / "answers",
        out=out / "run",
        **options,
    )
    bound = estimate(config, out / "none").to_json()["total"]
    result = await evaluate(config)
    (line,) = map(json.loads, (out / "run" / "episodes.jsonl").read_text().splitlines())
    return bound, result, line


def _sizes(server: LoopbackServer) -> list[set[tuple[int, int]]]:
    said = [heard(served.ask) for served in server.served]
    return [{picture.size for _, _, picture in messages if picture} for messages in said]


def test_the_edge_gets_shorter_with_the_twenty_first_image(wide, tmp_path, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")

    async def main():
        async with LoopbackServer(ask_on, keep_asks=True) as server:
            played = await _play(wide, tmp_path, server, "claude-haiku-5-5", history=True)
            return played, _sizes(server)

    (bound, result, line), sizes = asyncio.run(main())
    assert line["outcome"] == "resolved"
    assert sizes == [{(2100, 42)}] * 20 + [{(2000, 40)}] * (FRAMES - 20)
    assert bound["calls"]["most"] == result.summary["calls"]["wire"] == FRAMES
    assert bound["cost"]["most"] >= result.summary["cost"]["settled"]


def test_one_image_too_many_fails_the_episode_and_is_not_sent(wide, tmp_path, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")
    monkeypatch.setattr("providers.catalog.image_limits.CLAUDE", ImageLimits("Anthropic", images=5))

    async def main():
        async with LoopbackServer(ask_on) as server:
            return await _play(wide, tmp_path, server, "claude-haiku-5-5", history=True), server.calls

    (bound, result, line), calls = asyncio.run(main())
    assert (line["outcome"], len(line["turns"]), calls) == ("failed", 5, 5)
    assert "has 6 images, and Anthropic takes 5 in a request: lower --shots, leave --history" in line["error"]
    assert result.exit_code == 4
    assert result.summary["cost"]["held"] == 0
    assert bound["calls"]["most"] == 5


def test_without_history_or_at_another_server_nothing_is_shrunk(wide, tmp_path, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")

    async def main():
        async with LoopbackServer(ask_on, keep_asks=True) as server:
            await _play(wide, tmp_path / "one", server, "claude-haiku-5-5")
            await _play(wide, tmp_path / "two", server, "own-model", history=True)
            return _sizes(server)

    assert asyncio.run(main()) == [{(2100, 42)}] * (2 * FRAMES)
