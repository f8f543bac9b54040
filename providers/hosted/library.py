"""Load LiteLLM when it is first needed: silent, patched to one attempt a call, closed when done.

Its import takes seconds, fetches a price list, reads `.env` files and prints; its calls log,
try again behind our back and leave sessions open.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.metadata import version
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from providers.errors import Unusable
from providers.hosted.answers import reading

# The version that `PATCHES` are made for; every later one may have moved what they replace.
VERSION = "1.106"
LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "LiteLLM Logger")


async def _raise_again(*args: object, **kwargs: object) -> None:
    error = sys.exception()
    raise error if error is not None else RuntimeError("LiteLLM tried a second attempt")


def _for_others(noted: Callable[..., object]) -> Callable[..., None]:
    from litellm._internal_context import is_internal_call

    def note(*args: object, **kwargs: object) -> None:
        if not is_internal_call.get():
            noted(*args, **kwargs)

    return note


# Where something of LiteLLM's stands, what we make of it, and why.
PATCHES: tuple[tuple[str, Callable[[Any], Any], str], ...] = (
    (
        "litellm.llms.custom_httpx.http_handler:AsyncHTTPHandler.single_connection_post_request",
        lambda post: _raise_again,
        "it posts a second time when a connection breaks off, also after the first was read (and billed)",
    ),
    (
        "litellm.llms.custom_httpx.aiohttp_transport:LiteLLMAiohttpTransport.handle_async_request",
        reading,
        "it follows redirects, unpacks without bound, and makes answers of errors inside of a success",
    ),
    (
        "litellm.litellm_core_utils.prompt_templates.common_utils:parse_content_for_reasoning",
        lambda parse: lambda text: (None, text),
        "it takes `<think>...</think>` out of the text",
    ),
    (
        "litellm.litellm_core_utils.llm_response_utils.response_metadata:update_response_metadata",
        _for_others,
        "it looks for the price of each answer: a third of its time, more for a model that has none",
    ),
    (
        "litellm.litellm_core_utils.core_helpers:_FINISH_REASON_MAP",
        lambda endings: {**endings, "model_context_window_exceeded": "length", "model_length": "length"},
        "it takes these endings for a plain stop with only a warning",
    ),
)

_LOADING = threading.Lock()


def load() -> Any:
    """The module, set up once for the process, whichever threads ask for it first.

    Raises `Unusable` for a version that `PATCHES` are not made for.
    """
    with _LOADING:
        return _load()


@cache
def _load() -> Any:
    check_version(version("litellm"))
    # Without these LiteLLM fetches prices over the network and takes keys from a stray `.env`.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    _reach_directly("localhost", "127.0.0.1", "::1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import litellm

        litellm.Message(content="")  # its model is built at first use, and warns
        for where, ours, _ in PATCHES:
            _patch(where, ours)
    litellm.suppress_debug_info = True
    litellm.drop_params = False
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False
        logger.setLevel(logging.CRITICAL + 1)
    # They come from its answers' models, and from aiohttp on pictures of a megabyte, at any later time.
    warnings.filterwarnings("ignore", message="Pydantic serializer warnings")
    warnings.filterwarnings("ignore", message="Sending a large body", category=ResourceWarning)
    # A call that is given up while a thread prepares it leaves a coroutine that nobody waits for.
    warnings.filterwarnings("ignore", message=r"coroutine '\S*\.a\w*completion\w*' was never awaited")
    return litellm


def check_version(installed: str) -> None:
    """Raise `Unusable` for a LiteLLM whose calls we cannot hold to one attempt."""
    if not installed.startswith(f"{VERSION}."):
        raise Unusable(
            f"LiteLLM {installed} is installed, and only {VERSION} is known to make one attempt a call: "
            f"pip install 'litellm=={VERSION}.*', or use --wire direct."
        )


def _patch(where: str, ours: Callable[[Any], Any]) -> None:
    """Put ours in the place of LiteLLM's, under every name by which its modules know it."""
    module_name, _, path = where.partition(":")
    owner: Any = import_module(module_name)
    *classes, name = path.split(".")
    for part in classes:
        owner = getattr(owner, part)
    theirs = getattr(owner, name)
    replacement = ours(theirs)
    setattr(owner, name, replacement)
    if classes:
        return
    for loaded, module in list(sys.modules.items()):
        if loaded.partition(".")[0] == "litellm":
            for attribute, value in list(vars(module).items()):
                if value is theirs:
                    setattr(module, attribute, replacement)


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


# How many use LiteLLM's clients in each loop, since it shares them.
_users: WeakKeyDictionary[asyncio.AbstractEventLoop, int] = WeakKeyDictionary()


def enter() -> None:
    """Note one user of LiteLLM's clients in the running loop."""
    loop = asyncio.get_running_loop()
    _users[loop] = _users.get(loop, 0) + 1


async def leave() -> None:
    """Note that a user is done; close every client when it was the last."""
    loop = asyncio.get_running_loop()
    _users[loop] -= 1
    if not _users[loop]:
        litellm = load()
        await litellm.close_litellm_async_clients()
        # A closed client must not be found again.
        litellm.in_memory_llm_clients_cache.flush_cache()
        await asyncio.sleep(0)  # the transports close in the loop's next round
