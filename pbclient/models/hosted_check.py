"""What is known of a hosted model without asking it: its key, its price, whether it sees images."""

from __future__ import annotations

import os

from pbclient.errors import InputError
from pbclient.models.findings import Finding
from pbclient.models.trials import BLIND, SEES, UNKNOWN, sight
from pbclient.money.prices import MILLION, OWN_MACHINE, Price, describe, price_of
from providers import Json
from providers.catalog import names as catalog
from providers.catalog import prices as price_map
from providers.direct.wire import Direct, speaks
from providers.hosted.wire import Hosted

_SIGHT = {
    True: (SEES, "the price list says so"),
    False: (BLIND, "the price list says so: name a vision model"),
    None: (UNKNOWN, "the price list does not say"),
}


def check(
    provider: str, model: str | None, base_url: str | None, stated: str | None
) -> tuple[list[Finding], Hosted | Direct | None]:
    """The findings, and the wire to try it out where that is free: on the user's own server, at a price of 0.

    `stated` is `--price`. Raises `InputError` for a provider, base URL, model or price that cannot be used.
    """
    try:
        entry = catalog.lookup(provider)
        endpoint = catalog.endpoint(provider, base_url, os.environ)
    except LookupError as error:
        raise InputError(str(error)) from None
    except ValueError as error:
        raise InputError(f"--base-url: {error}") from None
    own_server = endpoint is not None or provider in OWN_MACHINE
    if provider in catalog.KEYLESS and not own_server:
        raise InputError(f"{provider} is a server of your own: name it with --base-url.")
    name = model or entry.default_model
    if name is None:
        raise InputError(f"{provider} has no default model: name one with --model.")
    price, cost = _price(provider, name, endpoint, stated)
    findings = [Finding("model", name, name), _key(entry, own_server), cost]
    if own_server and price is not None and price.is_free:
        # LiteLLM costs processor time that would be taken for the server's.
        wire = Direct if speaks(provider) else Hosted
        return findings, wire.of(provider, name, base_url=endpoint, api_key=entry.key(os.environ))
    if own_server and price is None:
        reason = "it might cost money: --price 0,0 says that it is free, and tries it out"
    else:
        command = f"pbclient run --provider {provider} --limit 1 --max-cost 0.10"
        reason = f"it costs money: `{command}` asks it a little"
    sees = sight(*_SIGHT[price_map.supports_vision(provider, name)])
    return [*findings, sees, Finding("asked", False, f"nothing, since {reason}")], None


def _key(entry: catalog.HostedProvider, own_server: bool) -> Finding:
    is_set = entry.key(os.environ) is not None
    is_needed = bool(entry.key_variables) and not own_server
    value: Json = {"variables": list(entry.key_variables), "set": is_set}
    if is_set:
        sentence = "set; not checked, which would be a call"
    elif is_needed:
        sentence = f"not set: set the environment variable {' or '.join(entry.key_variables)}"
    else:
        sentence = "none is set; a server of your own may need none" if own_server else entry.note
    return Finding("key", value, sentence, good=is_set or not is_needed)


def _price(
    provider: str, model: str, endpoint: str | None, stated: str | None
) -> tuple[Price | None, Finding]:
    try:
        price = price_of(provider, model, base_url=endpoint, stated=stated)
    except InputError as error:
        if stated is not None:
            raise
        # A run refuses a model of unknown price.
        return None, Finding("price", None, str(error), good=False)
    first = price.tiers[0]
    cost = f"${first.input / MILLION:g} in, ${first.output / MILLION:g} out per million tokens"
    return price, Finding("price", describe(price), "free" if price.is_free else f"{cost} ({price.source})")
