"""What a hold is the sum of, as people are told it when the money cannot cover it."""

from __future__ import annotations

import asyncio
import re
from decimal import Decimal
from pathlib import Path
from typing import ClassVar

import pytest
from loopback_faults import LoopbackServer
from package_loop import ask_by_looks

from pbclient import RunConfig, evaluate
from pbclient.models.choice import Choice, judge_named
from pbclient.models.model import resolve
from pbclient.money.amounts import format_dollars
from pbclient.money.bounds import Bounds
from pbclient.money.prices import Price, Rates, price_of
from providers import EncodedImage, Message, Request


class Square:
    """An image of 1024 pixels a side."""

    identity: ClassVar[dict] = {}

    async def encode(self) -> EncodedImage:
        return EncodedImage("image/png", b"", 1024, 1024)


def asking(images: int, limit: int = 1024) -> Request:
    return Request(
        (Message("user", (*(Square() for _ in range(images)), "What is it?")),), {"max_tokens": limit}
    )


def parts(bounds: Bounds, request: Request) -> str:
    return asyncio.run(bounds.parts(request))


TEXT = "its text (155 tokens by its bytes)"
UNKNOWN = "the largest known rule, since none is known for this model: --image-tokens states its own"


@pytest.mark.parametrize(
    ("provider", "model", "images", "said"),
    [
        ("openai", "gpt-4o", 1, "its picture (765 tokens by OpenAI's tiles)"),
        ("openai", "gpt-4o", 3, "its 3 pictures (2,295 tokens by OpenAI's tiles)"),
        ("openai", "gpt-5.4", 1, "its picture (1,229 tokens by OpenAI's patches)"),
        ("openai", "gpt-5.1", 1, "its picture (1,229 tokens by OpenAI's tiles or patches)"),
        ("anthropic", "claude-sonnet-4-5", 1, "its picture (1,399 tokens by Anthropic's pixels or patches)"),
        ("gemini", "gemini-2.5-flash", 1, "its picture (1,032 tokens by Gemini's tiles)"),
        ("gemini", "gemini-3-pro", 1, "its picture (1,120 tokens by Gemini's budget for an image)"),
        ("gemini", "gemini-flash-latest", 1, "its picture (1,120 tokens by Gemini's tiles or budget)"),
        ("mistral", "pixtral-large-latest", 1, f"its picture (25,501 tokens by {UNKNOWN})"),
    ],
)
def test_a_picture_is_told_by_its_rule(provider, model, images, said):
    bounds = Bounds(provider, model, Price.flat(10**6, 10**7, source="test"))
    told = parts(bounds, asking(images))
    assert f" for {said}, $0.00016 for {TEXT}, $0.0102 for up to 1,024 output tokens" in told
    assert told.endswith("(--max-tokens lowers it)")


@pytest.mark.parametrize("images", [0, 1, 4])
@pytest.mark.parametrize(
    "price",
    [
        price_of("openai", "gpt-4o"),
        Price(
            (Rates(0, 1, 2, 1, 1, 2), Rates(100, 10**6, 10**7, 1, 1, 10**7)), image=5 * 10**9, request=10**10
        ),
    ],
)
def test_the_parts_add_up_to_the_hold(price, images):
    bounds, request = Bounds("openai", "gpt-4o", price), asking(images, 77)
    amounts = [Decimal(each) for each in re.findall(r"\$([0-9.]+)", parts(bounds, request))]
    hold = Decimal(asyncio.run(bounds.of(request))) / 10**12
    assert abs(sum(amounts) - hold) <= Decimal("0.0001") * len(amounts)
    assert len(amounts) == 2 + bool(images) + bool(price.request)


def test_what_the_user_states_and_what_a_judge_is_held_at_are_told_by_their_flags(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    stated = resolve(Choice(provider="openai", model="glance", price="1,2", image_tokens=300), print).bounds
    assert "for its picture (300 tokens by --image-tokens)" in parts(stated, asking(1))
    judge = resolve(judge_named("openai", model="gpt-4o"), print).bounds
    assert parts(judge, asking(0)).endswith("1,024 output tokens (--judge-max-tokens lowers it)")
    assert parts(Bounds("openai", "glance", Price.free()), asking(1)) == ""


def test_a_run_without_money_names_the_numbers_once(samples: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with LoopbackServer(ask_by_looks) as server:
            options = {"provider": "openai", "model": "gpt-4o", "base_url": server.url, "wire": "direct"}
            folders = {"data": samples, "cache_dir": tmp_path / "answers", "out": tmp_path / "run"}
            result = await evaluate(
                RunConfig(**options, **folders, datasets=("QD",), max_cost=Decimal("0.009"))
            )
            assert (result.exit_code, server.calls, result.outcomes) == (3, 0, {"budget": 6})
        [(reason, count)] = result.reasons
        assert count == 6
        left = format_dollars(9 * 10**9)
        assert reason.startswith(
            f"The money that is left ({left}) cannot cover the next call, which is held at"
        )
        assert all(part in reason for part in ("its picture (", "tokens by OpenAI's tiles), ", "its text ("))
        assert reason.endswith(
            "$0.0102 for up to 1,024 output tokens (--max-tokens lowers it). "
            "Raise --max-cost and run the same command again."
        )

    asyncio.run(main())
