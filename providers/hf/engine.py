"""Ask a model in this process through transformers, many episodes at once.

One thread owns the model and runs requests in batches; the event loop only decodes images (in threads)
and waits. Neither torch nor transformers is imported before `start`.
A batch begins when all who were likely to ask have asked, or nobody has for a few milliseconds; what arrives
while it runs is taken together when it ends. It holds the oldest row and those nearest to it in size, so
nobody starves and little is padded.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from providers.errors import AttemptTimedOut, ProviderError, Unusable
from providers.hf import batch as transformers_batch
from providers.hf import model as transformers_model
from providers.hf.batch import OutOfMemory, Row
from providers.hf.folder import abilities, find, folder_digest, settings
from providers.hf.model import Loaded, choose
from providers.hf.sampler import read_options
from providers.types import Json, Request, Response
from providers.weights import Digests, FileDigest

# As many as one device is likely to take; memory that is full makes it less.
BATCH = {"cpu": 16, "mps": 16, "cuda": 64}
WAIT = 0.005  # s
_GAPS = 10  # so many of them at most before a batch begins
# Rows of one batch differ in size by no more than a factor, or by an amount that padding makes cheap.
SPREAD = 2
SLACK = 256
_CLOSED = "The model was closed."


class Gatherer:
    """Owns one thread, in which `run` is called with one batch at a time; it may end early when `closing`.

    `run` settles every row it is given, or raises: `OutOfMemory` halves the batches from then on, any
    other exception sends the rows that are left through alone, so that only the one at fault fails.
    `most` is the largest batch, `wait` the seconds without news after which one begins. Its methods may
    be called from any thread.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Row]], None],
        *,
        most: int,
        wait: float = WAIT,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.most = most
        self.closing = False
        self._run = run
        self._wait = wait
        self._say = say
        self._mixes_shapes = True
        self._rows: deque[Row] = deque()
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._expected = most  # how many are likely to ask at once
        self._coming = 0
        self._news = threading.Condition()
        # A daemon, so that an owner whom nobody closed does not keep the process alive.
        self._thread = threading.Thread(target=self._own, name="device-owner", daemon=True)
        self._thread.start()

    @contextmanager
    def announced(self) -> Iterator[None]:
        """Whoever prepares a row in this block is waited for, if it does not take long."""
        with self._news:
            self._coming += 1
        try:
            yield
        finally:
            with self._news:
                self._coming -= 1
                self._news.notify()

    def put(self, row: Row) -> None:
        """Queue a row; after `close` it fails at once, with `Unusable`."""
        with self._news:
            if not self.closing:
                self._rows.append(row)
                self._news.notify()
                return
        row.fail(Unusable(_CLOSED))

    def call[T](self, work: Callable[[], T]) -> Future[T]:
        """Have `work` done by the owner, before any further batch. Raises `Unusable` after `close`."""
        done: Future[T] = Future()
        with self._news:
            if self.closing:
                raise Unusable(_CLOSED)
            self._calls.append((done, work))
            self._news.notify()
        return done

    def close(self, last: Callable[[], None] = lambda: None) -> Future[None]:
        """End the thread after the batch that runs; queued rows fail, `last` is the owner's last work."""
        with self._news:
            if self.closing:
                done: Future[None] = Future()
                done.set_result(None)
                return done
            done = self.call(last)
            self.closing = True
            return done

    def _own(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._calls or self._rows or self.closing)
                call = self._calls.popleft() if self._calls else None
            if call is not None:
                done, work = call
                if done.set_running_or_notify_cancel():
                    try:
                        done.set_result(work())
                    except Exception as error:
                        done.set_exception(error)
                continue
            if self.closing:
                break
            if batch := self._next_batch():
                self._serve(batch)
                with self._news:
                    self._expected = min(self.most, len(batch) + len(self._rows))
        _fail(self._rows, Unusable(_CLOSED))

    def _next_batch(self) -> list[Row]:
        """The next batch, after a wait for company; empty when nobody waits for an answer any more."""
        with self._news:
            longest = time.monotonic() + _GAPS * self._wait
            # Whose batch has just ended come back one after the other with their next turns.
            while not self.closing and len(self._rows) < self.most:
                left = longest - time.monotonic()
                if not self._coming:
                    if len(self._rows) >= self._expected:
                        break
                    left = min(left, self._wait)
                if not self._news.wait(left):
                    break
            waiting = [row for row in self._rows if not row.over]
            self._rows = deque(waiting)
            if self.closing or not waiting:
                return []
            oldest = waiting[0]
            fitting = [row for row in waiting if self._fit(oldest, row)]
            batch = sorted(fitting, key=lambda row: abs(row.size - oldest.size))[: self.most]
            taken = set(map(id, batch))
            self._rows = deque(row for row in waiting if id(row) not in taken)
            return batch

    def _fit(self, one: Row, other: Row) -> bool:
        small, large = sorted((one.size, other.size))
        near = large <= SPREAD * small + SLACK
        return one.kind == other.kind and near and (self._mixes_shapes or one.shape == other.shape)

    def _serve(self, batch: Sequence[Row]) -> bool:
        """Run a batch; whether it went through."""
        try:
            self._run(batch)
        except Exception as error:
            # Its frames would keep the batch's tensors in memory.
            failure = error.with_traceback(None)
        else:
            _fail(batch, Unusable(_CLOSED) if self.closing else RuntimeError("The model gave no answer."))
            return True
        left = [row for row in batch if not row.over]
        if len(batch) == 1:
            _fail(left, failure)
        elif isinstance(failure, OutOfMemory):
            self.most = min(self.most, len(batch) // 2)
            self._say(
                f"A batch of {len(batch)} did not fit into memory: from now on at most {self.most} at once."
            )
            with self._news:
                self._rows.extendleft(reversed(left))
        else:
            passed = [self._serve([row]) for row in left]
            if all(passed) and len({row.shape for row in left}) > 1:
                self._mixes_shapes = False
        return False


def _fail(rows: Iterable[Row], error: Exception) -> None:
    for row in rows:
        if not row.over:
            row.fail(error)


class LocalTransformers:
    """One model on one device. Making it reads no weights; `start`, or the first call, loads it.

    `model` is a folder, or a model's name on the Hugging Face hub, which is downloaded at once unless
    it is in the local cache or `fetch` is off. `device`, `dtype` and `attention` are chosen by the
    machine where they are None; `batch` is the most requests at once, `timeout` the deadline in seconds of
    a request from when its batch begins. `digest` digests a file, `say` hears what a user should know.
    Raises `Unusable` (and `ModelNotFound`) with one sentence.
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
        self.abilities = abilities(self.folder)
        self._digest = digest or Digests().of
        self._say = say
        most = batch or BATCH[self.setting.device.partition(":")[0]]
        self._owner = Gatherer(self._run, most=most, say=say)
        self._loaded: Loaded | None = None
        self._facts: Mapping[str, Json] = {}
        self._loading: Future[None] | None = None

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
        if self._owner.closing:
            raise Unusable(f"{self.name} was closed.")
        if self._loading is None:
            self._loading = self._owner.call(self._load)
        loading = self._loading
        try:
            # All who ask wait for one loading; it goes on when one of them does not.
            await asyncio.shield(asyncio.wrap_future(loading))
        except ProviderError:
            if self._loading is loading:
                self._loading = None
            raise

    async def complete(self, request: Request) -> Response:
        """One answer, or a `ProviderError`; the first call loads the model if `start` has not."""
        options = read_options(request.params)
        await self.start()
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
            if loaded is None or self._owner.closing:
                raise Unusable(f"{self.name} was closed.")
            row = await asyncio.to_thread(transformers_batch.render, loaded, request, images, options)
            row.began = began
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
        if self._loaded is not None and not self._owner.closing:
            await asyncio.wrap_future(self._owner.call(self._measure))
        return self._facts or {"engine": self._engine, "device": self.setting.device}

    async def aclose(self) -> None:
        """End the batch that runs and give the memory back; what is still asked fails."""
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
        assert self._loaded is not None
        transformers_batch.run(self._loaded, rows, lambda: self._owner.closing)

    def _measure(self) -> None:
        assert self._loaded is not None
        self._facts = {**transformers_model.facts(self._loaded), "batch": self._owner.most}

    def _release(self) -> None:
        if self._loaded is not None:
            self._measure()
            self._loaded = None
            transformers_model.free()
