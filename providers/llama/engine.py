"""Ask a model in a GGUF file, run by llama.cpp on this machine: one request, one answer, for nothing.

A `llama-server` child does the work, or llama-cpp-python in a child where there is no server. It
starts with the first call, is started once more when it dies, and ends with `aclose`. What it was
answering when it died fails as a broken connection, which whoever retries asks again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Self

from providers.catalog.target import Asked
from providers.direct.openai import ChatCompletions
from providers.errors import ConnectionFailed, ImagesUnsupported, ProviderError
from providers.host_memory import children, free_memory, peak_memory, processors
from providers.llama.answers import read_answer, read_error, why_it_ended
from providers.llama.binary import Device, environment, find_engine
from providers.llama.command import command, read_overrides
from providers.llama.gguf import Header, shards
from providers.llama.process import Child, NotStartedError, start
from providers.llama.settings import Settings, open_files, settle
from providers.replies.bodies import LONGEST_ERROR, BodyError, parse
from providers.replies.refusals import no_answer
from providers.types import Json, Request, Response
from providers.weights import Digests, FileDigest, combined

if TYPE_CHECKING:
    from providers.direct.pool import Pool

LOADING = 1800.0  # seconds: a hundred gigabytes from a slow disk
_DYING = 5.0  # seconds between a broken connection and the end of the process behind it
_SHAPE = ChatCompletions("any")

type Say = Callable[[str], None]


@dataclass(frozen=True)
class _Running:
    """A child that answers, and the connections to it."""

    child: Child
    pool: Pool


@dataclass(frozen=True, slots=True)
class Memory:
    """The most bytes of this machine's memory that an engine has held, and what it took of its devices'.

    None where it cannot be seen, or where there is nothing to see.
    """

    host: int | None
    device: int | None


class LlamaCpp:
    """One model. Making it reads headers and finds an engine; nothing is started.

    `mmproj` is the projector that gives it eyes. `server` is what `--llama-server` says: a binary, or
    `library` for llama-cpp-python. `slots` is how many requests are worked on at once, `ctx` the tokens
    of each of them, `gpu_layers` how many layers go to the device; None is what fits. `overrides` are
    `KEY=TYPE:VALUE` for keys of the file. `timeout` is the wall-clock deadline of a call in seconds,
    from when the engine takes it up. `digest` digests a file. `say` hears of choices, progress and deaths.

    Raises `Unusable` in one sentence for what cannot be run: a missing or damaged file, a projector for
    another model, no engine. Close it with `aclose`, or use it as an async context manager, in the loop
    in which it was used.
    """

    def __init__(
        self,
        model: Path,
        mmproj: Path | None = None,
        *,
        server: str | None = None,
        slots: int | None = None,
        ctx: int | None = None,
        gpu_layers: int | None = None,
        overrides: Sequence[str] = (),
        digest: FileDigest | None = None,
        say: Say = lambda line: None,
        timeout: float = 600.0,
    ) -> None:
        self.files = open_files(model, mmproj)
        self.engine = find_engine(server)
        self.timeout = timeout
        read_overrides(overrides)
        self._overrides = tuple(overrides)
        self._asked = (slots, ctx, gpu_layers)
        self._file_digest = digest or Digests().of
        self._say = say
        self._starting = asyncio.Lock()
        self._calls: asyncio.Semaphore | None = None
        self._running: _Running | None = None
        self._died = False

    @property
    def name(self) -> str:
        """The model's file name, which is what people call it."""
        return self.files.model.path.name

    @cached_property
    def identity(self) -> Mapping[str, Json]:
        """What a cache key says of it. Reads the weights, the first time: seconds for each gigabyte.

        The names and places of the files are not in it, nor what only changes how fast it answers or
        how long a prompt may be.
        """
        model, projector = self.files.model, self.files.projector
        template = model.chat_template
        return {
            "provider": "llamacpp",
            "endpoint": None,
            "model": str(model.fields.get("general.name") or model.architecture),
            "weights": self._digest(model),
            "mmproj": self._digest(projector) if projector else None,
            "quantization": model.quantization,
            "chat_template": sha256(template.encode()).hexdigest() if template else None,
            "overrides": [*sorted(self._overrides)],
            "engine": self.engine.title,
        }

    def _digest(self, header: Header) -> str:
        files = shards(header.path)
        if len(files) == 1:
            return self._file_digest(header.path)
        return combined({str(number): self._file_digest(shard) for number, shard in enumerate(files)})

    @cached_property
    def settings(self) -> Settings:
        """How it is run: what was asked for, else what fits. Raises `Unusable` when nothing does."""
        slots, ctx, gpu_layers = self._asked
        if self.engine.binary is None:
            # The library answers one request at a time.
            slots = 1
        return settle(self.files, self._devices, slots, ctx, gpu_layers)

    @cached_property
    def _devices(self) -> tuple[Device, ...]:
        return self.engine.devices()

    async def start(self) -> None:
        """Start the engine now, so that the first call need not. Raises `Unusable` when it cannot be."""
        await self._ready()

    @property
    def child(self) -> Child | None:
        """The engine's process while there is one: whoever wants to look past us."""
        return self._running.child if self._running else None

    async def complete(self, request: Request) -> Response:
        """One answer, or a `ProviderError`; nothing is ever billed."""
        parts = (part for message in request.messages for part in message.parts)
        if not self.files.sees and not all(isinstance(part, str) for part in parts):
            raise ImagesUnsupported(
                f"{self.name} is shown an image and has no projector to see it with: name one with --mmproj."
            )
        asked = Asked("llama.cpp", self.name, tuple(request.params))
        settings = await self._settled()
        if self._calls is None:
            # As many wait in its queue as are worked on: no slot is idle between two calls, and no
            # deadline passes in a long queue.
            self._calls = asyncio.Semaphore(2 * settings.slots)
        async with self._calls:
            content = await _SHAPE.body(self.name, request)  # what cannot be said starts no engine
            running = await self._ready()
            arrived = await running.pool.post(partial(_ready_made, content), asked, self.timeout)
        if isinstance(arrived, ProviderError):
            if isinstance(arrived, ConnectionFailed) and await running.child.ended(_DYING):
                raise ConnectionFailed(f"llama.cpp {running.child.how_it_ended} while it answered.")
            raise arrived
        if not arrived.good:
            text = arrived.content[:LONGEST_ERROR].decode(errors="replace")
            raise read_error(arrived.status, arrived.headers, text, asked)
        try:
            body = parse(arrived.content, arrived.headers)
        except BodyError as error:
            raise no_answer(error, asked, 0.0) from None
        answer = read_answer(body, asked.who, request.params, settings.ctx)
        return answer._replace(model=self.name)  # a server names the place of the file

    async def aclose(self) -> None:
        """End the engine and free its memory; a later call starts it again."""
        async with self._starting:
            running, self._running = self._running, None
            if running:
                await running.pool.close()
                await running.child.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def memory(self) -> Memory:
        """What the running engine has taken; asks the devices, which takes a moment."""
        if self._running is None:
            return Memory(None, None)
        peaks = [peak_memory(pid) for pid in children(self._running.child.pid)]
        now = {device.name: device.free for device in self.engine.devices()}
        taken = sum(max(0, before.free - now.get(before.name, before.free)) for before in self._devices)
        return Memory(max((peak for peak in peaks if peak), default=None), taken if now else None)

    def describe(self) -> dict[str, Json]:
        """What a person wants to know of it before a run; `free` memory is in bytes."""
        settings, binary = self.settings, self.engine.binary
        return {
            "engine": self.engine.title,
            "binary": None if binary is None else str(binary),
            "devices": [{"name": f"{card.name} {card.title}", "free": card.free} for card in self._devices],
            "processors": processors(),
            "free": free_memory(),
            "model": self.files.model.architecture,
            "quantization": self.files.model.quantization,
            "size": self.files.size,
            "sees": self.files.sees,
            "slots": settings.slots,
            "ctx": settings.ctx,
        }

    async def _settled(self) -> Settings:
        # In a thread the first time, when devices are asked, so that the loop goes on meanwhile.
        known = "settings" in self.__dict__
        return self.settings if known else await asyncio.to_thread(lambda: self.settings)

    async def _ready(self) -> _Running:
        """The running engine: started if it is not, and once more if it died."""
        async with self._starting:
            if self._running is not None and not self._running.child.alive:
                child, pool = self._running.child, self._running.pool
                end = f"{child.how_it_ended}: {child.last_words.rstrip('.')}."
                if self._died:
                    twice = f"llama.cpp died twice, and is not started again: this time it {end}"
                    raise why_it_ended(child.log, self.name, twice)
                self._say(f"llama.cpp {end} It is started again.")
                self._died, self._running = True, None
                await pool.close()
                await child.aclose()
            if self._running is None:
                self._running = await self._launch()
            return self._running

    async def _launch(self) -> _Running:
        from providers.direct.pool import Pool

        settings = await self._settled()
        where = ", ".join(device.title for device in self._devices) or f"{processors()} processors"
        self._say(
            f"{self.engine.title} runs {self.name} on {where}, slots: {settings.slots} of "
            f"{settings.ctx:,} tokens each (--slots, --ctx)."
        )
        try:
            child = await start(
                lambda port: command(self.engine, self.files, settings, self._overrides, port),
                environment(os.environ),
                self._say,
                LOADING,
            )
        except NotStartedError as error:
            raise why_it_ended(error.log, self.name, str(error)) from None
        # It closes what was idle for a while: a connection for each call never finds a closed one.
        pool = Pool(f"{child.url}/v1/chat/completions", {**child.headers, "Connection": "close"})
        return _Running(child, pool)


async def _ready_made(content: bytes) -> bytes:
    return content
