"""A provider behind an API looked at from outside: key, price, images, and whether it can be reached.

A model that costs money is asked nothing: neither the key nor a question leaves this machine, only a
bare HEAD for the first page of its host, through the proxy if there is one. A server of one's own is
asked for its list of models, and tried out like a local engine where its price is known to be 0.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pbclient.errors import InputError
from pbclient.models.findings import Finding, Tell
from pbclient.models.trials import BLIND, SEES, UNKNOWN, sight
from pbclient.money.prices import MILLION, OWN_MACHINE, Price, describe, price_of
from providers import Hosted, Json
from providers.catalog import names as catalog
from providers.catalog import prices as price_map
from providers.direct.anthropic import Messages
from providers.direct.wire import Direct, speaks
from providers.replies.error_text import one_line

_PATIENCE = 15.0  # seconds
_SHOWN = 5
# Where a provider's own endpoint is, only to see whether the network leads there.
_HOSTS = {
    "anthropic": "https://api.anthropic.com",
    "dashscope": "https://dashscope.aliyuncs.com",
    "deepseek": "https://api.deepseek.com",
    "fireworks_ai": "https://api.fireworks.ai",
    "gemini": "https://generativelanguage.googleapis.com",
    "groq": "https://api.groq.com",
    "mistral": "https://api.mistral.ai",
    "openai": "https://api.openai.com",
    "openrouter": "https://openrouter.ai",
    "together_ai": "https://api.together.ai",
    "xai": "https://api.x.ai",
}


@dataclass(frozen=True)
class Place:
    """Who would be asked and where. `endpoint` is a server that the user named, or None."""

    entry: catalog.HostedProvider
    model: str | None
    endpoint: str | None
    key: str | None = field(repr=False)

    @property
    def provider(self) -> str:
        return self.entry.name

    @property
    def own(self) -> bool:
        """Whether it is a server of the user's own, which may be asked what costs nothing."""
        return self.endpoint is not None or self.provider in OWN_MACHINE


def place(provider: str, model: str | None, base_url: str | None) -> Place:
    """Raises `InputError` for a provider that there is not, or a base URL that is none."""
    try:
        entry = catalog.lookup(provider)
    except LookupError as error:
        raise InputError(str(error)) from None
    try:
        endpoint = catalog.endpoint(provider, base_url, os.environ)
    except ValueError as error:
        raise InputError(f"--base-url: {error}") from None
    if provider in catalog.KEYLESS and endpoint is None and provider not in OWN_MACHINE:
        raise InputError(f"{provider} is a server of your own: name it with --base-url.")
    return Place(entry, model or entry.default_model, endpoint, entry.key(os.environ))


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came over HTTP; `error` says why nothing did, or none that helps."""

    status: int = 0
    content: bytes = b""
    error: str | None = None


async def check(where: Place, stated: str | None, tell: Tell) -> Hosted | Direct | None:
    """Tell what there is to know. The provider comes back if it can be tried out for nothing.

    `stated` is `--price`. Raises `InputError` when no model is named or the price cannot be read.
    """
    if where.model is None:
        _, models = await _reach(where)
        has = f"; the server has {_listed(models)}" if models else ""
        raise InputError(f"{where.provider} has no default model: name one with --model{has}.")
    price, cost = _price(where, where.model, stated)
    answer, models = await _reach(where)
    tell(Finding("model", where.model, where.model))
    tell(_key(where))
    tell(_endpoint(where, answer))
    if models is not None:
        tell(_models(models, where.model))
    tell(cost)
    if where.own and answer.error is None and price is not None and price.is_free:
        return _connect(where, where.model)
    tell(_vision(where.provider, where.model))
    tell(_nothing_asked(where, price))
    return None


async def _reach(where: Place) -> tuple[_Answer, list[str] | None]:
    """What the endpoint answers, and the models that a server of one's own lists."""
    if where.endpoint:
        url, headers = _list_of_models(where.provider, where.endpoint, where.key)
        answer = await _http("GET", url, headers)
        if answer.status in (401, 403):
            answer = replace(answer, error=f"the key is refused (status {answer.status})")
        return answer, _names(answer)
    host = _HOSTS.get(where.provider)
    return (await _http("HEAD", host, {}) if host else _Answer()), None


def _list_of_models(provider: str, endpoint: str, key: str | None) -> tuple[str, Mapping[str, str]]:
    """Where a server lists its models, and what it is to be told."""
    if provider == "anthropic":
        return f"{endpoint}/v1/models", Messages().headers(key, os.environ) if key else {}
    return f"{endpoint}/models", {"Authorization": f"Bearer {key}"} if key else {}


async def _http(method: str, url: str, headers: Mapping[str, str]) -> _Answer:
    import aiohttp
    import certifi
    from yarl import URL

    from providers.direct.pool import proxy_for

    target, secrets = URL(url), tuple(headers.values())
    try:
        trust = ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE") or certifi.where())
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_PATIENCE)) as session,
            session.request(
                method, target, headers=headers, ssl=trust, proxy=proxy_for(target), allow_redirects=False
            ) as response,
        ):
            return _Answer(response.status, await response.read())
    except TimeoutError:
        return _Answer(error=f"no answer within {_PATIENCE:.0f} s")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return _Answer(error=one_line(said, secrets))


def _names(answer: _Answer) -> list[str] | None:
    """The models of an OpenAI-compatible server; None when the answer is no such list."""
    try:
        listed: Any = json.loads(answer.content)["data"]
        return [str(each["id"]) for each in listed]
    except (ValueError, LookupError, TypeError):
        return None


def _key(where: Place) -> Finding:
    variables = where.entry.key_variables
    needed = bool(variables) and not where.own
    value: Json = {"variables": list(variables), "set": where.key is not None}
    if where.key is not None:
        said = "set; not checked, which would be a call"
    elif needed:
        said = f"not set: set the environment variable {' or '.join(variables)}"
    else:
        said = "none is set; a server of your own may need none" if where.own else where.entry.note
    return Finding("key", value, said, good=not needed or where.key is not None)


def _endpoint(where: Place, answer: _Answer) -> Finding:
    url = where.endpoint or _HOSTS.get(where.provider)
    value: Json = {"url": url, "answers": answer.error is None if url else None, "error": answer.error}
    if url is None:
        return Finding("endpoint", value, "not known here, so not tried")
    said = f"{url} answers" if answer.error is None else f"{url}: {answer.error}"
    return Finding("endpoint", value, said, good=answer.error is None)


def _models(models: Sequence[str], model: str) -> Finding:
    missing = "" if model in models else f"; {model} is not among them"
    return Finding("models", list(models), f"{_listed(models)}{missing}")


def _listed(models: Sequence[str]) -> str:
    more = f" and {len(models) - _SHOWN} more" if len(models) > _SHOWN else ""
    return (", ".join(models[:_SHOWN]) or "none") + more


def _price(where: Place, model: str, stated: str | None) -> tuple[Price | None, Finding]:
    """Its price, and what is to be said of it; a run refuses a model of unknown price."""
    try:
        price = price_of(where.provider, model, base_url=where.endpoint, stated=stated)
    except InputError as error:
        if stated is not None:
            raise
        return None, Finding("price", None, str(error), good=False)
    first = price.tiers[0]
    said = (
        f"${first.input / MILLION:g} in, ${first.output / MILLION:g} out per million tokens ({price.source})"
    )
    return price, Finding("price", describe(price), "free" if price.is_free else said)


def _vision(provider: str, model: str) -> Finding:
    """What the price list says of its eyes."""
    sees = price_map.supports_vision(provider, model)
    verdict = UNKNOWN if sees is None else SEES if sees else BLIND
    said = {SEES: "the price list says so", BLIND: "the price list says so: name a vision model"}
    return sight(verdict, said.get(verdict, "the price list does not say"))


def _nothing_asked(where: Place, price: Price | None) -> Finding:
    if where.own and price is None:
        said = "nothing, since it might cost money: --price 0,0 says that it is free, and tries it out"
    elif where.own and price is not None and price.is_free:
        said = "nothing: it would not answer"
    else:
        command = f"pbclient run --provider {where.provider} --limit 1 --max-cost 0.10"
        said = f"nothing, since it costs money: `{command}` asks it a little"
    return Finding("asked", False, said)


def _connect(where: Place, model: str) -> Hosted | Direct:
    # LiteLLM costs processor time that would be taken for the server's.
    wire = Direct if speaks(where.provider) else Hosted
    return wire.of(where.provider, model, base_url=where.endpoint, api_key=where.key)
