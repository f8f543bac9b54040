"""LiteLLM is silent, leaves nothing behind and takes no keys from files: in a process of its own."""

import asyncio
import os
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest
from loopback_faults import Fault, FaultKind, LoopbackServer

from providers import Message, ProviderError, Request, Unusable
from providers.hosted.library import (
    PATCHES,
    VERSION,
    _reach_directly,
    check_version,
    enter,
    leave,
    load,
    unlogged,
)
from providers.hosted.wire import Hosted

ROOT = str(Path(__file__).parents[1])

PROGRAM = """
import asyncio, logging, os, sys
from contextlib import suppress
sys.path[:0] = [{root!r}, {root!r} + '/tests']
from loopback_faults import Fault, LoopbackServer
from providers import EncodedImage, Message, ProviderError, Request
from providers.hosted.wire import Hosted

class Picture:
    identity = {{}}
    async def encode(self):
        return EncodedImage("image/png", b"pixels" * 200_000, 1, 1)  # large enough for aiohttp to warn

KINDS = ("rate_limit", "server_error", "html", "reset", "hang")

def faults(ask, attempt):
    return Fault(KINDS[attempt - 1]) if attempt <= len(KINDS) else None

async def ask(hosted, server):
    request = Request((Message("user", ("what", Picture())),), {{"max_tokens": 5}})
    for kind in KINDS:
        hosted.timeout = 0.05 if kind == "hang" else 60
        calls = server.calls
        while server.calls == calls:  # a busy machine may not get there in 0.05 s
            try:
                await hosted.complete(request)
            except ProviderError as error:
                assert error.__context__ is None
    hosted.timeout = 60
    assert (await hosted.complete(request)).text == "A"
    hosted.timeout = 1e-6  # ends while LiteLLM prepares the call, in a thread
    for _ in range(5):
        with suppress(ProviderError):
            await hosted.complete(request)

async def main():
    asyncio.get_running_loop().slow_callback_duration = 1e9  # importing LiteLLM is slow
    async with LoopbackServer(faults=faults) as server:
        import providers.hosted.library as quiet
        quiet.load().api_base = server.url
        for hosted in (
            Hosted.of("openai", "gpt-4.1-mini", api_key="sk-123456789"),
            Hosted.of("openai", "m", base_url=server.url),
            Hosted.of("anthropic", "claude-haiku-5-5", base_url=server.root),
            Hosted.of("gemini", "gemini-3.8-flash", base_url=server.root),
            Hosted.of("openrouter", "a/b", base_url=server.url),
        ):
            async with hosted:
                await ask(hosted, server)
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert left == [], left

for round in range(2):
    asyncio.run(main())
assert os.environ.get("STRAY") is None
assert logging.getLogger().handlers == []
"""


@pytest.mark.slow
def test_calls_and_faults_leave_no_trace(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("STRAY=1\n")
    program = PROGRAM.format(root=ROOT)
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


FIRST_CALLS = """
import asyncio, os, sys, threading, time, urllib.request
sys.path[:0] = [{root!r}, {root!r} + '/tests']
from loopback_faults import LoopbackServer
from providers import Message, Request
from providers.hosted.wire import Hosted
import providers.hosted.library as quiet

class Slow:
    # An import that takes longer than a call may: it is no part of one.
    def find_spec(self, name, path=None, target=None):
        if name == "litellm":
            time.sleep({timeout})

sys.meta_path.insert(0, Slow())

async def main():
    asyncio.get_running_loop().slow_callback_duration = 1e9
    timeout = {timeout}
    request = Request((Message("user", ("what",)),), {{"max_tokens": 5}})
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    async with LoopbackServer() as server:
        several = [
            Hosted.of("openai", "m", base_url=server.url, timeout=timeout),
            Hosted.of("anthropic", "m", base_url=server.root, api_key="k"),
            Hosted.of("gemini", "m", base_url=server.root, api_key="k"),
        ]
        calls = [asyncio.create_task(hosted.complete(request)) for hosted in several * 4]
        while ticks < 3:
            await asyncio.sleep(0.01)
        calls[0].cancel()
        try:
            await calls.pop(0)
        except asyncio.CancelledError:
            assert quiet._load.cache_info().currsize == 0  # it did not wait for the import
        for answer in await asyncio.gather(*calls):
            assert answer.text == "A"
        for hosted in several:
            await hosted.aclose()
    ticking.cancel()
    assert ticks > 20, ticks  # the loop went on during the import

asyncio.run(main())
assert quiet._load.cache_info().misses == 1
assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == "h.example,localhost,127.0.0.1,::1"
quiet.reach("http://127.9.9.9:8/v1")
for host in ("127.0.0.1", "localhost", "::1", "127.9.9.9", "h.example"):
    assert urllib.request.proxy_bypass(host), host
quiet.reach("http://10.0.0.1/v1")
quiet.reach("http://elsewhere.example/v1")
for host in ("10.0.0.1", "elsewhere.example"):
    assert not urllib.request.proxy_bypass(host), host
"""


@pytest.mark.slow
def test_the_first_calls_leave_the_loop_free_and_go_past_the_proxy(tmp_path: Path) -> None:
    proxies = {name: "http://127.0.0.1:9" for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")}
    environ = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
    for timeout in (1, 4, 16):
        done = subprocess.run(
            [
                sys.executable,
                "-X",
                "dev",
                "-W",
                "error",
                "-c",
                FIRST_CALLS.format(root=ROOT, timeout=timeout),
            ],
            cwd=tmp_path,
            env=environ | proxies | {"NO_PROXY": "h.example"},
            capture_output=True,
            text=True,
            timeout=100,
        )
        if "AttemptTimedOut" not in done.stderr:  # a busy machine may take seconds for a call, too
            break
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"NO_PROXY": "h"}, "h"),
        ({"https_proxy": "http://p"}, "localhost"),
        ({"HTTP_PROXY": "http://p", "no_proxy": "h , i"}, "h,i,localhost"),
        ({"HTTP_PROXY": "http://p", "no_proxy": "localhost,h"}, "localhost,h"),
        ({"HTTP_PROXY": "http://p", "NO_PROXY": "*"}, "*"),
    ],
)
def test_what_the_user_has_said_of_proxies_stays(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], expected: str | None
) -> None:
    named = (name for name in os.environ if not name.lower().endswith("_proxy"))
    mine = {name: os.environ[name] for name in named} | environ
    monkeypatch.setattr(os, "environ", mine)
    _reach_directly("localhost")
    assert mine.get("NO_PROXY", mine.get("no_proxy")) == expected


@pytest.mark.parametrize("ours", [True, False])
def test_only_calls_of_others_are_priced_by_litellm(ours: bool) -> None:
    async def call() -> bool:
        async with LoopbackServer() as server:
            enter()
            if ours:
                unlogged()
            messages = [{"role": "user", "content": "what"}]
            answer = await litellm.acompletion(
                model="hosted_vllm/m", messages=messages, api_base=server.url, api_key="none"
            )
            await leave()
        return "response_cost" in answer._hidden_params

    litellm = load()
    assert asyncio.run(call()) is not ours


def test_only_the_version_that_the_patches_are_made_for_is_taken() -> None:
    check_version(f"{VERSION}.2")
    check_version(version("litellm"))
    for other in ("1.83.0", "1.1060.0", "1.107.0", "2.0.0"):
        with pytest.raises(Unusable, match=f"LiteLLM {other} .* --wire direct"):
            check_version(other)


@pytest.mark.parametrize("where", [where for where, _, _ in PATCHES])
def test_nothing_of_litellms_own_is_left_where_a_patch_is(where: str) -> None:
    load()
    module, _, path = where.partition(":")
    value: object = import_module(module)
    for name in path.split("."):
        value = getattr(value, name)
    if isinstance(value, dict):
        assert value["model_length"] == value["model_context_window_exceeded"] == "length"
    else:
        assert str(getattr(value, "__module__", None)).startswith("providers.hosted.")
    if "." not in path:
        modules = [loaded for name, loaded in sys.modules.items() if name.startswith("litellm.")]
        assert all(getattr(loaded, path, value) is value for loaded in modules)


ATTEMPTS = [
    ("openai", "gpt-4.1-mini", False),  # the route `openai/`, through OpenAI's SDK
    ("openai", "m", True),  # the route `hosted_vllm/`
    ("hosted_vllm", "m", True),
    ("anthropic", "claude-haiku-4-5", True),
]


@pytest.mark.parametrize("kind", ["server_error", "rate_limit"])
@pytest.mark.parametrize(("provider", "model", "own"), ATTEMPTS)
def test_a_call_is_one_attempt_even_with_tenacity(
    provider: str, model: str, own: bool, kind: FaultKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    # LiteLLM tries again with it where it can be imported.
    pytest.importorskip("tenacity")

    async def main() -> tuple[int, int | None]:
        async with LoopbackServer(faults=lambda ask, attempt: Fault(kind)) as server:
            base_url = (server.root if provider == "anthropic" else server.url) if own else None
            monkeypatch.setattr(load(), "api_base", None if own else server.url)
            async with Hosted.of(provider, model, base_url=base_url, api_key="k" * 8, timeout=30) as hosted:
                with pytest.raises(ProviderError) as caught:
                    await hosted.complete(Request((Message("user", ("what",)),), {"max_tokens": 5}))
            return server.calls, caught.value.status

    calls, status = asyncio.run(main())
    assert calls == 1
    assert status == {"server_error": 500, "rate_limit": 429}[kind]
