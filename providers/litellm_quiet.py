"""LiteLLM, loaded when it is first needed, silent, with one attempt a call, and put away again.

Its import takes seconds, fetches a price list, reads `.env` files and prints; its calls log,
try again behind our back and leave sessions open. What a call says is not looked at here.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import sys
import warnings
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "LiteLLM Logger")


@cache
def load() -> Any:
    """The module, set up once for the process."""
    # Without these LiteLLM fetches prices over the network and takes keys from a stray `.env`.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import litellm
        from litellm.litellm_core_utils import core_helpers
        from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

        litellm.Message(content="")  # its model is built at first use, and warns
    litellm.suppress_debug_info = True
    litellm.drop_params = False
    for name in LOGGERS:
        _silence(logging.getLogger(name))
    # It posts a second time when a connection breaks off, also after the first was read (and billed).
    AsyncHTTPHandler.single_connection_post_request = _raise_again
    # Endings that it takes for a plain stop with only a warning.
    core_helpers._FINISH_REASON_MAP.update(model_context_window_exceeded="length", model_length="length")
    # They come from its answers' models at any later time.
    warnings.filterwarnings("ignore", message="Pydantic serializer warnings")
    return litellm


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


def unlogged() -> None:
    """In this task, keep LiteLLM from queueing each call for its logs, a task of its own in the loop."""
    from litellm._internal_context import is_internal_call

    is_internal_call.set(True)


class Clients:
    """Counts who uses LiteLLM's clients in each loop, since it shares them: the last one closes them."""

    def __init__(self) -> None:
        self._users: WeakKeyDictionary[asyncio.AbstractEventLoop, int] = WeakKeyDictionary()

    def enter(self) -> None:
        """Note one user of the running loop."""
        loop = asyncio.get_running_loop()
        self._users[loop] = self._users.get(loop, 0) + 1

    async def leave(self) -> None:
        """Note that a user is done; close every client when it was the last."""
        loop = asyncio.get_running_loop()
        left = self._users.get(loop, 1) - 1
        self._users[loop] = left
        if left == 0:
            await _close()


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


async def _raise_again(*args: object, **kwargs: object) -> None:
    error = sys.exception()
    raise error if error is not None else RuntimeError("LiteLLM tried a second attempt")
