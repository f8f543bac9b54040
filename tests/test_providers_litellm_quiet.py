"""LiteLLM is silent, leaves nothing behind and takes no keys from files: in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, gc, logging, os, sys
sys.path.insert(0, {root!r})
from providers import EncodedImage, Hosted, Message, ProviderError, Request
from providers.loopback import Fault, LoopbackServer

class Picture:
    identity = {{}}
    async def encode(self):
        return EncodedImage("image/png", b"pixels" * 200_000, 1, 1)  # large enough for aiohttp to warn

KINDS = ("rate_limit", "server_error", "html", "reset", "hang")

def faults(ask, attempt):
    return Fault(KINDS[attempt - 1]) if attempt <= len(KINDS) else None

async def ask(hosted):
    request = Request((Message("user", ("what", Picture())),), {{"max_tokens": 5}})
    for kind in KINDS:
        hosted.timeout = 0.05 if kind == "hang" else 10
        try:
            await hosted.complete(request)
        except ProviderError as error:
            assert error.__context__ is None
    hosted.timeout = 10
    assert (await hosted.complete(request)).text == "A"

async def main():
    asyncio.get_running_loop().slow_callback_duration = 1e9  # importing LiteLLM is slow
    async with LoopbackServer(faults=faults) as server:
        import providers.litellm_quiet as quiet
        quiet.load().api_base = server.url
        for hosted in (
            Hosted("openai", "gpt-4.1-mini", api_key="sk-123456789"),
            Hosted("openai", "m", base_url=server.url),
            Hosted("anthropic", "claude-haiku-5-5", base_url=server.root),
            Hosted("gemini", "gemini-3.8-flash", base_url=server.root),
            Hosted("openrouter", "a/b", base_url=server.url),
        ):
            async with hosted:
                await ask(hosted)
                assert gc.get_freeze_count() > 100_000
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert left == [], left

for round in range(2):
    asyncio.run(main())
    assert gc.get_freeze_count() == 0
assert os.environ.get("STRAY") is None
assert logging.getLogger().handlers == []
"""


@pytest.mark.slow
def test_calls_and_faults_leave_no_trace(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("STRAY=1\n")
    program = PROGRAM.format(root=str(Path(__file__).parents[1]))
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
