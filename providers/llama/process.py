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

from providers.replies.error_text import one_line

type Say = Callable[[str], None]
type Command = Callable[[int], Sequence[str]]

HOST = "127.0.0.1"
KEY_VARIABLE = "LLAMA_API_KEY"  # not on the command line, where every user of the machine can read it
_WATCHDOG = str(Path(__file__).with_name("watchdog.py"))
_LOG_LINES = 200
_LONGEST_LINE = 10_000
_PORTS_TRIED = 3
_FIRST_LOOK, _LOOK = 0.02, 0.5  # seconds between looks at /health, doubling
_HEARTBEAT = 15.0  # seconds of loading without a word
# llama.cpp begins a line with `0.00.008.877 I srv    load_model: `, or some of that.
_START = re.compile(r"(?:\d+\.\d\d\.\d{3}\.\d{3} )?(?:[A-Z] )?(?:\w+ +(?=\w+: ))?(?:\w+: )*")
_ERROR = re.compile(r"^\S+ E |error|fail|abort|assert|invalid|exception", re.IGNORECASE)
_PROGRESS = re.compile(r"loading model|model loaded|loaded multimodal|offloaded|(?:model|KV) buffer size")
_PORT_TAKEN = re.compile(r"couldn't bind|address already in use|failed to bind", re.IGNORECASE)


class NotStartedError(Exception):
    """The child ended, or never became ready; `log` are its last lines, `port_taken` if that was why."""

    def __init__(self, message: str, log: str) -> None:
        super().__init__(message)
        self.log = log
        self.port_taken = bool(_PORT_TAKEN.search(log))


class Child:
    """A server that was started, behind its watchdog. `headers` are what it takes requests with."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, key: str, say: Say) -> None:
        self._process = process
        self._say: Say | None = say
        self._last_told = time.monotonic()
        self._lines: deque[str] = deque(maxlen=_LOG_LINES)
        self._end = asyncio.create_task(self._read_to_the_end())
        self.url = url
        self.headers = {"Authorization": f"Bearer {key}"}

    @property
    def alive(self) -> bool:
        """Whether it runs, as far as is known: who lost a connection asks `ended`."""
        return not self._end.done()

    @property
    def pid(self) -> int:
        """The process number of the watchdog, whose only child is the server."""
        return self._process.pid

    async def ended(self, within: float) -> bool:
        """Whether it ends within so many seconds."""
        await asyncio.wait([self._end], timeout=within)
        return self._end.done()

    async def ready(self, within: float) -> None:
        """Return once it answers. Raises `NotStartedError` when it ends first, or after so many seconds."""
        import aiohttp

        deadline, pause = time.monotonic() + within, _FIRST_LOOK
        async with aiohttp.ClientSession(headers=self.headers, timeout=aiohttp.ClientTimeout(10)) as session:
            while not await self._answers(session):
                if await self.ended(pause):
                    raise self._not_started(f"{self.how_it_ended} before it was ready")
                if time.monotonic() > deadline:
                    raise self._not_started(f"was not ready within {within:.0f} s")
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
    def log(self) -> str:
        """The last lines that it wrote."""
        return "\n".join(self._lines)

    @property
    def last_words(self) -> str:
        """The errors at the end of its log in one line, or else its last lines."""
        lines = [line for line in self._lines if _ERROR.search(line)] or list(self._lines)
        return one_line("; ".join(plain(line) for line in lines[-3:])) or "it wrote nothing"

    def _not_started(self, how: str) -> NotStartedError:
        return NotStartedError(f"llama.cpp {how}: {self.last_words}", self.log)

    async def _answers(self, session: Any) -> bool:
        import aiohttp

        try:
            # Anybody says how he is; /props is only told to who has the key, so it is our child that answers.
            for path in ("/health", "/props"):
                async with session.get(self.url + path) as response:
                    if response.status != 200:
                        return False
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
                self._lines.append(text)
            if _PROGRESS.search(text):
                self._tell(plain(text))

    def _tell(self, text: str) -> None:
        if self._say:
            self._last_told = time.monotonic()
            self._say(f"llama.cpp: {one_line(text)}")


async def start(command: Command, environment: Mapping[str, str], say: Say, within: float) -> Child:
    """A child that answers. `command` is what to run for a port; `say` hears the progress of loading.

    Raises `NotStartedError` when it ends first, or is not ready `within` seconds.
    """
    for attempt in range(1, _PORTS_TRIED + 1):
        child = await _spawn(command, environment, say)
        try:
            await child.ready(within)
            return child
        except NotStartedError as error:
            await child.aclose()
            if not error.port_taken or attempt == _PORTS_TRIED:
                raise
        except BaseException:
            await child.aclose()
            raise
    raise AssertionError  # the last try returns or raises


async def _spawn(command: Command, environment: Mapping[str, str], say: Say) -> Child:
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
    return Child(process, f"http://{HOST}:{port}", key, say)


def plain(line: str) -> str:
    """A line of the log without time, level and function."""
    return line[match.end() :] if (match := _START.match(line)) else line


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
