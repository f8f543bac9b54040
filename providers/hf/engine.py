"""Ask a model in this process through transformers, many episodes at once.

One thread owns the model and runs requests in batches; the event loop only decodes images (in threads)
and waits. Neither torch nor transformers is imported before `start`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Self

from providers.errors import AttemptTimedOut, ProviderError, Unusable
from providers.hf import batch as transformers_batch
from providers.hf import model as transformers_model
from providers.hf.batch import Row
from providers.hf.folder import find, folder_digest, settings
from providers.hf.gatherer import WAIT, Gatherer
from providers.hf.model import Loaded, choose
from providers.hf.sampler import read_options
from providers.types import Json, Request, Response
from providers.weights import Digests, FileDigest

# As many as one device is likely to take; memory that is full makes it less.
BATCH = {"cpu": 16, "mps": 16, "cuda": 64}
_HELPERS = 2


class LocalTransformers:
    """One model on one device. Making it reads no weights; `start`, or the first call, loads it.

    `model` is a folder, or a model's name on the Hugging Face hub, which is downloaded at once unless
    it is in the local cache or `fetch` is off. `device`, `dtype` and `attention` are chosen by the
    machine where they are None; `batch` is the most requests at once, `wait` for how many seconds an idle
    device waits for company, `timeout` the deadline in seconds of a request from when its batch begins.
    `digest` digests a file, `say` hears what a user should know. Raises `Unusable` (and `ModelNotFound`)
    with one sentence.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str | None = None,
        dtype: str | None = None,
        batch: int | None = None,
        attention: str | None = None,
        digest: FileDigest | None = None,
        say: Callable[[str], None] = lambda text: None,
        timeout: float = 600.0,
        wait: float = WAIT,
        fetch: bool = True,
    ) -> None:
        if batch is not None and batch < 1:
            raise Unusable(f"A batch of {batch} requests cannot be run: give at least 1.")
        self._engine = transformers_model.engine()
        self.setting = choose(device, dtype, attention)
        self.timeout = timeout
        self.folder = find(str(model), fetch=fetch, say=say)
        self.name = self.folder.resolve().name if Path(model).expanduser().is_dir() else str(model)
        self.config = settings(self.folder)
        self._digest = digest or Digests().of
        self._say = say
        self._batch = batch or BATCH[self.setting.device.partition(":")[0]]
        self._wait = wait
        self._owner: Gatherer | None = None
        self._loaded: Loaded | None = None
        self._facts: Mapping[str, Json] = {}
        self._loading: Future[None] | None = None
        self._closed = False
        self._helpers = ThreadPoolExecutor(_HELPERS, thread_name_prefix="prompts")

    @cached_property
    def identity(self) -> Mapping[str, Json]:
        """What a cache key says of it. The first time it reads all weights: seconds for each gigabyte.

        `model` is the architecture, so that a folder may be moved and renamed.
        """
        architectures = self.config.get("architectures") or [self.config.get("model_type")]
        return {
            "provider": "transformers",
            "model": str(architectures[0]),
            "weights": folder_digest(self.folder, self._digest),
            "dtype": self.setting.dtype,
            "attention": self.setting.attention,
            "engine": self._engine,
        }

    async def start(self) -> None:
        """Load the model, in the thread that will own it; again it does nothing. Raises `Unusable`."""
        if self._closed:
            raise Unusable(f"{self.name} was closed.")
        if self._loading is None:
            self._owner = Gatherer(self._run, most=self._batch, wait=self._wait, say=self._say)
            self._loading = self._owner.call(self._load)
        loading, owner = self._loading, self._owner
        try:
            # All who ask wait for one loading; it goes on when one of them does not.
            await asyncio.shield(asyncio.wrap_future(loading))
        except ProviderError:
            if self._loading is loading and owner is not None:
                self._loading = None
                owner.close()
            raise

    async def complete(self, request: Request) -> Response:
        """One answer, or a `ProviderError`; the first call loads the model if `start` has not."""
        options = read_options(request.params)
        await self.start()
        assert self._owner is not None
        loop, deadline = asyncio.get_running_loop(), asyncio.timeout(None)

        def start_clock() -> None:
            if not row.gone and not deadline.expired():
                deadline.reschedule(loop.time() + self.timeout)

        def began() -> None:
            # The clock of a request starts here: while others are answered it stands still.
            with suppress(RuntimeError):  # the loop may have ended meanwhile
                loop.call_soon_threadsafe(start_clock)

        with self._owner.announced():
            parts = [part for message in request.messages for part in message.parts]
            images = [await part.encode() for part in parts if not isinstance(part, str)]
            loaded = self._loaded
            if loaded is None or self._closed:
                raise Unusable(f"{self.name} was closed.")
            render = transformers_batch.render
            row = await loop.run_in_executor(self._helpers, render, loaded, request, images, options, began)
            del loaded  # a request that waits keeps no model in memory
            self._owner.put(row)
        try:
            async with deadline:
                return await asyncio.wrap_future(row.future)
        except TimeoutError:
            raise AttemptTimedOut(f"{self.name} did not answer within {self.timeout:g} s.") from None
        finally:
            row.gone = True

    async def facts(self) -> Mapping[str, Json]:
        """What `doctor` says of engine, device and memory; after `aclose` as it was at the end."""
        if self._owner is not None and self._loaded is not None and not self._closed:
            await asyncio.wrap_future(self._owner.call(self._measure))
        return self._facts or {"engine": self._engine, "device": self.setting.device}

    async def aclose(self) -> None:
        """End the batch that runs and give the memory back; what is still asked fails."""
        self._closed = True
        self._helpers.shutdown(wait=False)
        if self._owner is not None:
            ended = self._owner.close(self._release)
            # Nobody can break off loading: then the thread ends by itself, or with the process.
            if self._loaded is not None:
                await asyncio.wrap_future(ended)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    # What follows runs in the owner's thread.

    def _load(self) -> None:
        self._loaded = transformers_model.load(self.folder, self.name, self.config, self.setting, self._say)

    def _run(self, rows: Sequence[Row]) -> None:
        loaded, owner = self._loaded, self._owner
        assert loaded is not None
        assert owner is not None
        transformers_batch.run(loaded, rows, lambda: owner.closing)

    def _measure(self) -> None:
        if self._loaded is not None and self._owner is not None:
            self._facts = {**transformers_model.facts(self._loaded), "batch": self._owner.most}

    def _release(self) -> None:
        self._measure()
        self._loaded = None
        transformers_model.free()
