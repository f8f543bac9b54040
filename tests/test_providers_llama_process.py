"""A server child: its start, its progress, its ports and its end. The children are programs of Python's."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Sequence

import pytest

from providers import Unusable
from providers.llama import process as llama_process
from providers.llama.process import Child, plain, start

# Ready at the second look, and only for who has the key.
READY = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    looks = 0
    def do_GET(self):
        Handler.looks += 1
        allowed = self.headers.get("Authorization") == "Bearer " + os.environ["LLAMA_API_KEY"]
        self.send_response(503 if Handler.looks == 1 else 200 if allowed or self.path == "/health" else 401)
        self.end_headers()
    def log_message(self, *_): pass
print("0.00.001.009 I srv  llama_server: initializing ...")
print("0.00.008.877 I srv    load_model: loading model 'tiny.gguf'")
print("0.00.009.000 I load_tensors: offloaded 29/29 layers to GPU", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
BOUND = "print('couldn\\'t bind HTTP server socket', flush=True); raise SystemExit(1)"
# Takes whatever port it is given the first time, as if somebody else had got it.
TAKEN_ONCE = f"""
import pathlib
if not pathlib.Path(sys.argv[2]).exists():
    pathlib.Path(sys.argv[2]).touch()
    {BOUND}
"""


def python(code: str, *more: str):
    def command(port: int) -> Sequence[str]:
        return [sys.executable, "-c", code, str(port), *more]

    return command


async def begun(code: str, *more: str, within: float = 60.0, said: list[str] | None = None) -> Child:
    tell = (said if said is not None else []).append
    return await start(python(code, *more), {"PATH": "/usr/bin:/bin"}, "tiny.gguf", tell, within)


def test_it_is_ready_when_it_says_so_and_tells_its_progress():
    async def main() -> None:
        said: list[str] = []
        child = await begun(READY, said=said)
        assert child.alive
        assert said == [
            "llama.cpp: loading model 'tiny.gguf'",
            "llama.cpp: offloaded 29/29 layers to GPU",
        ]
        await child.aclose()
        assert not child.alive
        assert child.how_it_ended == "was killed by SIGTERM"

    asyncio.run(main())


def test_a_port_that_somebody_else_got_is_changed(tmp_path):
    async def main() -> None:
        child = await begun("import sys\n" + TAKEN_ONCE + READY, str(tmp_path / "taken"))
        assert child.alive
        await child.aclose()

    asyncio.run(main())


def test_ports_are_not_changed_for_ever():
    with pytest.raises(Unusable, match="couldn't bind"):
        asyncio.run(begun(BOUND))


def test_somebody_else_at_the_port_is_not_our_child(monkeypatch):
    """A server that is healthy but does not know our key was there before: the child's own end decides."""

    async def main() -> None:
        async def foreign(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            status = b"200 OK" if b"/health" in head else b"401 Unauthorized"
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            writer.close()

        other = await asyncio.start_server(foreign, "127.0.0.1", 0)
        monkeypatch.setattr(llama_process, "_free_port", lambda: other.sockets[0].getsockname()[1])
        with pytest.raises(Unusable, match="ended with status 3"):
            await begun("import sys; sys.stdin.read(); raise SystemExit(3)")
        other.close()
        await other.wait_closed()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise SystemExit(3)", "llama.cpp ended with status 3 before it was ready: it wrote nothing"),
        ("import os; os.abort()", "llama.cpp was killed by SIGABRT before it was ready: it wrote nothing"),
        (
            "print('a'); print('0.00.007.501 E cmn  load: error loading model: no luck'); exit(print('bye'))",
            "llama.cpp ended with status 0 before it was ready: error loading model: no luck",
        ),
        ("print('one'); print('two'); print('three'); print('four'); exit(1)", ": two; three; four"),
        ("print('x' * 100_000 + ' failed'); exit(1)", "before it was ready: "),
        (r"import sys; sys.stdout.buffer.write(b'\xff failed'); exit(1)", "failed"),
    ],
)
def test_who_ends_before_he_is_ready_is_quoted(code, said):
    with pytest.raises(Unusable) as caught:
        asyncio.run(begun(code))
    assert said in str(caught.value)
    assert len(str(caught.value)) < 500


def test_who_is_never_ready_is_ended():
    with pytest.raises(Unusable, match="was not ready within 0 s"):
        asyncio.run(begun("import time; time.sleep(600)", within=0.0))


def test_who_is_not_waited_for_any_more_is_ended():
    async def main() -> None:
        waiting = asyncio.ensure_future(
            begun("import time; print('loading model', flush=True); time.sleep(600)")
        )
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert all(task.done() for task in others)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("0.00.008.877 I srv    load_model: loading model 'tiny.gguf'", "loading model 'tiny.gguf'"),
        ("0.00.007.517 E llama_model_load: error loading model: cut", "error loading model: cut"),
        ("llama_model_loader: loaded meta data", "loaded meta data"),
        ("free(): invalid pointer", "free(): invalid pointer"),
        ("GGML_ASSERT(logits != nullptr) failed", "GGML_ASSERT(logits != nullptr) failed"),
        ("loading model tensors, this can take a while", "loading model tensors, this can take a while"),
        ("main: server is listening on http://127.0.0.1:80", "server is listening on http://127.0.0.1:80"),
        ("", ""),
    ],
)
def test_lines_are_told_without_time_level_and_function(line, text):
    assert plain(line) == text


def test_a_free_port_is_free():
    with socket.socket() as listener:
        listener.bind((llama_process.HOST, llama_process._free_port()))
