"""Who shares a rate controller, and what is kept of it from run to run."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import pytest
from loopback_faults import LoopbackServer

from benchmarks.limited_server import limited
from pbclient import RunConfig, evaluate
from pbclient.calls.accounts import Account
from pbclient.models.choice import Choice
from pbclient.models.model import Model, resolve
from pbclient.progress import Progress
from providers import RateLimit, Usage

KEY = "hush-0123456789"


def model(name: str = "glance", base_url: str = "http://127.0.0.1:1/v1") -> Model:
    choice = Choice(provider="openai", model=name, base_url=base_url, price="1,2", wire="direct")
    return resolve(choice, lambda sentence: None)


def test_one_controller_for_a_model_an_endpoint_and_a_key(tmp_path, monkeypatch):
    async def controllers():
        same = [Account.of(model(), ceiling, tmp_path).controller for ceiling in (4, 9)]
        others = [model("other"), model(base_url="http://127.0.0.1:2/v1")]
        other = [Account.of(each, 4, tmp_path).controller for each in others]
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        other.append(Account.of(model(), 4, tmp_path).controller)
        return same, other

    (first, second), others = asyncio.run(controllers())
    assert first is second
    assert first.ceiling == 9
    assert all(first is not other for other in others)


def test_another_event_loop_has_a_controller_of_its_own(tmp_path):
    async def controller():
        return Account.of(model(), 4, tmp_path).controller

    kept = asyncio.run(controller())
    assert asyncio.run(controller()) is not kept


async def learn(folder) -> None:
    account = Account.of(model(), 1024, folder)
    departure = await account.controller.leave(0)
    account.controller.answered(departure, Usage(900, 100), [RateLimit("tokens", 60_000)])
    account.controller.back()
    account.keep()


def test_what_was_learned_is_kept_without_the_key(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    asyncio.run(learn(tmp_path))
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_bytes())["limits"] == [["tokens", 60_000, 60, 1000]]
    assert KEY not in file.read_text()

    async def again():
        account = Account.of(model(), 1024, tmp_path)
        await account.controller.leave(0)
        account.controller.open()
        assert account.controller.running == 1
        waiting = asyncio.ensure_future(account.controller.leave(0))
        await asyncio.sleep(0)
        reason = account.controller.reason
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        return reason

    assert asyncio.run(again()) == "the provider's 60,000 tokens/min"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff{",
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        b'{"limits": [["tokens", 0, 60, 1]], "calls_per_second": null, "at_once": 16}',
        b'{"limits": [["tokens", NaN, 60, 1]], "calls_per_second": null, "at_once": 16}',
        b'{"limits": [["tokens", 1e999, 60, 1]], "calls_per_second": null, "at_once": 16}',
        b'{"limits": [], "calls_per_second": -1, "at_once": 16}',
        b'{"limits": [], "calls_per_second": null, "at_once": "many"}',
    ],
)
def test_a_damaged_file_is_no_guess(tmp_path, content):
    asyncio.run(learn(tmp_path))
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)

    async def learned():
        return Account.of(model(), 1024, tmp_path).controller.learned()

    fresh = {"limits": [], "calls_per_second": None, "at_once": 1}
    assert asyncio.run(learned()) == fresh


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "rates").write_bytes(b"")
    asyncio.run(learn(tmp_path / "rates"))
    assert (tmp_path / "rates").read_bytes() == b""


def asking(url: str, samples, out, **options) -> RunConfig:
    fixed = {"provider": "openai", "model": "glance", "base_url": url, "wire": "direct", "price": "0,0"}
    return RunConfig(**{**fixed, "data": samples, "cache_dir": out.parent / "answers", "out": out, **options})


def test_a_run_uses_a_limit_that_it_is_told_and_says_so(samples, tmp_path):
    """A real provider's manners over HTTP: 1,200 requests a minute, and hardly one of them refused."""
    said: list[str] = []
    with limited(rpm=1200, latency=0.1) as url:
        result = asyncio.run(evaluate(asking(url, samples, tmp_path / "run"), progress=Progress(said.append)))
    speed = json.loads((tmp_path / "run" / "run.json").read_bytes())["speed"]
    assert result.exit_code == 0
    assert speed["answers"] == result.summary["calls"]["wire"] > 20
    assert speed["refusals"] <= 1
    assert "the provider's 1,200 requests/min" in speed["limited_by"]
    assert any(sentence.startswith("Speed: ") for sentence in said)
    (learned,) = (tmp_path / "answers" / "rates").iterdir()
    assert json.loads(learned.read_bytes())["limits"][0][:3] == ["requests", 1200, 60]


def test_two_runs_of_one_loop_and_a_second_one_from_the_cache(samples, tmp_path):
    async def main():
        async with LoopbackServer() as server:
            runs = [asking(server.url, samples, tmp_path / name, no_cache=True) for name in "ab"]
            await asyncio.gather(*(evaluate(run) for run in runs))
            cached = asking(server.url, samples, tmp_path / "c")
            await evaluate(cached)
            return await evaluate(asking(server.url, samples, tmp_path / "d"))

    again = asyncio.run(main())
    assert again.summary["calls"]["wire"] == 0
    assert "speed" not in json.loads((tmp_path / "d" / "run.json").read_bytes())
    for name in "ab":
        assert json.loads((tmp_path / name / "run.json").read_bytes())["speed"]["answers"] > 0
