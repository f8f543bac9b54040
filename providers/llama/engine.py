"""Ask a model in a GGUF file, run by llama.cpp on this machine: one request, one answer, for nothing.

A `llama-server` child does the work, or llama-cpp-python in a child where there is no server. It
starts with the first call, is started once more when it dies, and ends with `aclose`. What it was
answering when it died fails as a broken connection, which whoever retries asks again.
An answer is in OpenAI's shape with two differences. An empty one is an answer: the engine counted the
token that ended it, so the model chose to say nothing, and would again. And an answer that filled its
slot was not cut off by the output limit: no higher limit would have helped.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from providers.catalog.target import Asked
from providers.direct.openai import ChatCompletions
from providers.errors import BadRequest, ConnectionFailed, ContextExceeded, ImagesUnsupported, ProviderError
from providers.host_memory import children, free_memory, peak_memory, processors
from providers.llama import launch
from providers.llama.gguf import Header, shards
from providers.llama.process import Child, Say, start
from providers.replies.answers import visible
from providers.replies.bodies import LONGEST_ERROR, BodyError, parse
from providers.replies.refusals import no_answer, refused
from providers.types import Json, Request, Response
from providers.weights import Digests, FileDigest, combined

if TYPE_CHECKING:
    from providers.direct.pool import Pool

LOADING = 1800.0  # seconds: a hundred gigabytes from a slow disk
_DYING = 5.0  # seconds between a broken connection and the end of the process behind it
_SHAPE = ChatCompletions("any")


class LlamaCpp:
    """One model. Making it reads headers and finds an engine; nothing is started.

    `mmproj` is the projector that gives it eyes. `server` is what `--llama-server` says: a binary, or
    `library` for llama-cpp-python. `slots` is how many requests are worked on at once, `ctx` the tokens
    of each of them, `gpu_layers` how many layers go to the device; None is what fits. `overrides` are
    `KEY=TYPE:VALUE` for keys of the file. `timeout` is the wall-clock deadline of a call in seconds,
    from when the engine takes it up. `digest` digests a file. `say` hears of choices, progress and deaths.

    Raises `Unusable` in one sentence for what cannot be run. Close it with `aclose`, or use it as an async
    context manager, in the loop in which it was used.
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
        self.files = launch.open_files(model, mmproj)
        self.name = model.name
        self.engine = launch.find_engine(server)
        self.timeout = timeout
        launch.read_overrides(overrides)
        self._overrides = tuple(overrides)
        self._asked = (slots, ctx, gpu_layers)
        self._file_digest = digest or Digests().of
        self._say = say
        self._starting = asyncio.Lock()
        self._calls: asyncio.Semaphore | None = None
        self._running: tuple[Child, Pool] | None = None
        self._died = False
        self._left: list[Pool] = []  # connections to an engine that died

    @cached_property
    def identity(self) -> Mapping[str, Json]:
        """What a cache key says of it, without names and places of files. At first it reads the weights."""
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
    def settings(self) -> launch.Settings:
        """How it is run: what was asked for, else what fits. Raises `Unusable` when nothing does."""
        slots, ctx, gpu_layers = self._asked
        if self.engine.binary is None:
            # The library answers one request at a time.
            slots = 1
        return launch.settle(self.files, self._devices, slots, ctx, gpu_layers)

    @cached_property
    def _devices(self) -> tuple[launch.Device, ...]:
        return self.engine.devices()

    async def start(self) -> tuple[Child, Pool]:
        """The running engine and the connections to it: started if it is not, and once more if it died.

        Raises `Unusable` when it cannot be. The first call does it where nobody has.
        """
        async with self._starting:
            if self._running is not None and not self._running[0].alive:
                child, pool = self._running
                end = f"{child.how_it_ended}: {child.last_words.rstrip('.')}."
                if self._died:
                    raise child.why(f"died twice, and is not started again: this time it {end}")
                self._say(f"llama.cpp {end} It is started again.")
                self._died, self._running = True, None
                await pool.close()
                self._left.append(pool)  # a call that was about to leave by it opens it again
                await child.aclose()
            if self._running is None:
                self._running = await self._launch()
            return self._running

    @property
    def child(self) -> Child | None:
        """The engine's process while there is one: whoever wants to look past us."""
        return self._running[0] if self._running else None

    async def complete(self, request: Request) -> Response:
        """One answer, or a `ProviderError`; nothing is ever billed."""
        parts = (part for message in request.messages for part in message.parts)
        if not self.files.projector and not all(isinstance(part, str) for part in parts):
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
            child, pool = await self.start()
            arrived = await pool.post(partial(_SHAPE.body, self.name, request), asked, self.timeout)
        if isinstance(arrived, ProviderError):
            if isinstance(arrived, ConnectionFailed) and await child.ended(_DYING):
                raise ConnectionFailed(f"llama.cpp {child.how_it_ended} while it answered.")
            raise arrived
        if not arrived.good:
            text = arrived.content[:LONGEST_ERROR].decode(errors="replace")
            raise read_error(arrived.status, arrived.headers, text, asked)
        try:
            body = parse(arrived.content, arrived.headers)
        except BodyError as error:
            raise no_answer(error, asked, 0.0) from None
        answer = read_answer(body, asked, request.params, settings.ctx)
        return answer._replace(model=self.name)  # a server names the place of the file

    async def aclose(self) -> None:
        """End the engine and free its memory; a later call starts it again."""
        async with self._starting:
            running, self._running = self._running, None
            while self._left:
                await self._left.pop().close()
            if running:
                await running[1].close()
                await running[0].aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def memory(self) -> tuple[int | None, int | None]:
        """The most bytes of this machine's memory that it has held, and what it took of its devices'."""
        if self.child is None:
            return None, None
        peaks = [peak_memory(pid) for pid in children(self.child.pid)]
        now = {device.name: device.free for device in self.engine.devices()}
        taken = sum(max(0, before.free - now.get(before.name, before.free)) for before in self._devices)
        return max((peak for peak in peaks if peak), default=None), taken if now else None

    def describe(self) -> dict[str, Json]:
        """What a person wants to know of it before a run; `free` memory is in bytes."""
        return {
            "engine": self.engine.title,
            "free": free_memory(),
            "model": self.files.model.architecture,
            "quantization": self.files.model.quantization,
            "size": self.files.size,
            "slots": self.settings.slots,
            "ctx": self.settings.ctx,
        }

    async def _settled(self) -> launch.Settings:
        # In a thread the first time, when devices are asked, so that the loop goes on meanwhile.
        known = "settings" in self.__dict__
        return self.settings if known else await asyncio.to_thread(lambda: self.settings)

    async def _launch(self) -> tuple[Child, Pool]:
        from providers.direct.pool import Pool

        settings = await self._settled()
        where = ", ".join(device.title for device in self._devices) or f"{processors()} processors"
        self._say(
            f"{self.engine.title} runs {self.name} on {where}, slots: {settings.slots} of "
            f"{settings.ctx:,} tokens each (--slots, --ctx)."
        )
        line = partial(launch.command, self.engine, self.files, settings, self._overrides)
        child = await start(line, launch.environment(os.environ), self.name, self._say, LOADING)
        # It closes what was idle for a while: a connection for each call never finds a closed one.
        return child, Pool(f"{child.url}/v1/chat/completions", {**child.headers, "Connection": "close"})


def read_error(status: int, headers: Mapping[str, str], text: str, asked: Asked) -> ProviderError:
    """The error of a response with this status and body."""
    try:
        error = json.loads(text)["error"]
        kind, message = error.get("type"), str(error.get("message"))
    except (ValueError, TypeError, KeyError, AttributeError):
        kind = message = ""
        error = {}
    if kind == "exceed_context_size_error":
        needed, slot = error.get("n_prompt_tokens", "too many"), error.get("n_ctx", "fewer")
        return too_long(f"The prompt has {needed} tokens, and a slot takes {slot}", status)
    if "grammar" in message or "schema" in message:
        # An option that the judge cannot do without must not be dropped like others that are refused.
        return BadRequest(f"{asked.who} cannot use the grammar or schema: {message[:200]}", status=status)
    return refused(status, headers, text, asked, time.time())


def too_long(what: str, status: int | None = None) -> ContextExceeded:
    """The error of a prompt, or of a prompt and its answer, that do not fit into a slot."""
    return ContextExceeded(f"{what}: raise --ctx, or lower --slots where memory is short.", status=status)


def read_answer(answer: Mapping[str, Any], asked: Asked, params: Mapping[str, Json], ctx: int) -> Response:
    """Raises `MalformedResponse` when there is no answer in it, `ContextExceeded` when it had no room.

    `ctx` is the context of one slot in tokens.
    """
    try:
        choice = answer["choices"][0]
        said = (choice["message"].get("content") or "").strip()
        silent = choice["finish_reason"] == "stop" and not said and answer["usage"]["completion_tokens"] > 0
    except (LookupError, TypeError, AttributeError):
        silent = False
    if silent:
        # Words in place of nothing, which answers of this shape must have.
        answer = {**answer, "choices": [{**choice, "message": {**choice["message"], "content": "(nothing)"}}]}
    response = _SHAPE.read(answer, asked)
    usage, most = response.usage, params.get("max_tokens")
    if response.finish == "length" and usage and isinstance(most, int) and usage.output_tokens < most:
        raise too_long(
            f"The prompt has {usage.input_tokens} tokens, and its answer did not fit in a slot of {ctx}"
        )
    # A llama-server keeps thoughts apart from the answer, the library does not.
    return response._replace(text="" if silent else visible(response.text), cost=0.0)
