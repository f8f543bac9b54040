"""LiteLLM, loaded when it is first needed, silent, with one attempt a call, and put away again.

Its import takes seconds, fetches a price list, reads `.env` files and prints; its calls log,
try again behind our back and leave sessions open. What a call says is not looked at here.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from providers.hosted.answers import reading

LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "LiteLLM Logger")


_LOADING = threading.Lock()


def load() -> Any:
    """The module, set up once for the process, whichever threads ask for it first."""
    with _LOADING:
        return _load()


@cache
def _load() -> Any:
    # Without these LiteLLM fetches prices over the network and takes keys from a stray `.env`.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    _reach_directly("localhost", "127.0.0.1", "::1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import litellm
        from litellm.litellm_core_utils import core_helpers
        from litellm.litellm_core_utils.llm_response_utils import response_metadata
        from litellm.litellm_core_utils.prompt_templates import common_utils
        from litellm.llms.custom_httpx.aiohttp_transport import LiteLLMAiohttpTransport
        from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

        litellm.Message(content="")  # its model is built at first use, and warns
    litellm.suppress_debug_info = True
    litellm.drop_params = False
    for name in LOGGERS:
        _silence(logging.getLogger(name))
    # It posts a second time when a connection breaks off, also after the first was read (and billed).
    AsyncHTTPHandler.single_connection_post_request = _raise_again
    LiteLLMAiohttpTransport.handle_async_request = reading(LiteLLMAiohttpTransport.handle_async_request)
    # It takes `<think>...</think>` out of the text.
    _replace(common_utils.parse_content_for_reasoning, _as_it_came)
    # It looks for the price of each answer: a third of its time, more for a model that has none.
    noted = response_metadata.update_response_metadata
    _replace(noted, _for_others(noted))
    # Endings that it takes for a plain stop with only a warning.
    core_helpers._FINISH_REASON_MAP.update(model_context_window_exceeded="length", model_length="length")
    # They come from its answers' models, and from aiohttp on pictures of a megabyte, at any later time.
    warnings.filterwarnings("ignore", message="Pydantic serializer warnings")
    warnings.filterwarnings("ignore", message="Sending a large body", category=ResourceWarning)
    # A call that is given up while a thread prepares it leaves a coroutine that nobody waits for.
    warnings.filterwarnings("ignore", message=r"coroutine '\S*\.a\w*completion\w*' was never awaited")
    return litellm


def reach(endpoint: str) -> None:
    """Let no proxy stand between us and a server on this machine: all of 127.0.0.0/8 is this machine."""
    host = urlsplit(endpoint).hostname or ""
    with suppress(ValueError):  # a name; `localhost` is always reached so
        if ip_address(host).is_loopback:
            _reach_directly(host)


def _reach_directly(*hosts: str) -> None:
    if not any(name.lower().endswith("_proxy") and name.lower() != "no_proxy" for name in os.environ):
        return
    both = ("no_proxy", "NO_PROXY")
    said = next((os.environ[name] for name in both if os.environ.get(name)), "")
    for name in both:
        known = [host.strip() for host in (os.environ.get(name) or said).split(",") if host.strip()]
        if known != ["*"]:
            os.environ[name] = ",".join([*known, *(host for host in hosts if host not in known)])


@cache
def own_settings() -> frozenset[str]:
    """The names of arguments that LiteLLM keeps to itself: they are not sent as options."""
    litellm = load()
    from litellm.constants import DEFAULT_CHAT_COMPLETION_PARAM_VALUES

    signature = inspect.signature(litellm.acompletion).parameters
    more = ("api_base", "custom_llm_provider", "extra_body", "extra_query", "headers", "organization")
    return frozenset(
        (*litellm.types.utils.all_litellm_params, *DEFAULT_CHAT_COMPLETION_PARAM_VALUES, *signature, *more)
    )


def claude_can(model: str, ability: str) -> bool:
    """What LiteLLM believes of one of Anthropic's models, by the name of the flag in its price map."""
    load()
    from litellm.llms.anthropic.common_utils import AnthropicModelInfo

    return bool(AnthropicModelInfo.supports_model_capability(model, ability, "anthropic"))


def unlogged() -> None:
    """In this task, keep LiteLLM from pricing each call and from queueing it for its logs."""
    from litellm._internal_context import is_internal_call

    is_internal_call.set(True)


class Clients:
    """Counts who uses LiteLLM's clients in each loop, since it shares them: the last one closes them."""

    def __init__(self) -> None:
        self._users: WeakKeyDictionary[asyncio.AbstractEventLoop, int] = WeakKeyDictionary()
        self._heap = _StillHeap()

    def enter(self) -> None:
        """Note one user of the running loop."""
        loop = asyncio.get_running_loop()
        self._users[loop] = self._users.get(loop, 0) + 1
        self._heap.enter()

    async def leave(self) -> None:
        """Note that a user is done; close every client when it was the last."""
        loop = asyncio.get_running_loop()
        left = self._users.get(loop, 1) - 1
        self._users[loop] = left
        self._heap.leave()
        if left == 0:
            await _close()


class _StillHeap:
    """Keeps the collector away from what was there before the first call, until the last user leaves.

    LiteLLM's import leaves 300,000 objects, and each full collection would stop all threads for a
    quarter of a second to look at them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0

    def enter(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                gc.freeze()

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                gc.unfreeze()


async def _close() -> None:
    litellm = load()
    await litellm.close_litellm_async_clients()
    # A closed client must not be found again.
    litellm.in_memory_llm_clients_cache.flush_cache()
    await asyncio.sleep(0)  # the transports close in the loop's next round


def _silence(logger: logging.Logger) -> None:
    logger.handlers = [logging.NullHandler()]
    logger.propagate = False
    logger.setLevel(logging.CRITICAL + 1)


def _replace(theirs: Callable[..., object], ours: Callable[..., object]) -> None:
    """Put our function under every name by which LiteLLM's modules call theirs."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "litellm":
            for attribute, value in list(vars(module).items()):
                if value is theirs:
                    setattr(module, attribute, ours)


def _as_it_came(text: str | None) -> tuple[None, str | None]:
    return None, text


def _for_others(noted: Callable[..., object]) -> Callable[..., None]:
    """What LiteLLM notes on an answer, its own cost and headers, for calls that are not `unlogged`."""
    from litellm._internal_context import is_internal_call

    def note(*args: object, **kwargs: object) -> None:
        if not is_internal_call.get():
            noted(*args, **kwargs)

    return note


async def _raise_again(*args: object, **kwargs: object) -> None:
    error = sys.exception()
    raise error if error is not None else RuntimeError("LiteLLM tried a second attempt")
