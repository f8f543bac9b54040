"""Which options `--param` may carry: anything that shapes the answer, nothing that breaks a promise.

An option that raises the output limit, asks for several answers or names another model would
make the bound of a call no bound. Providers spell the same option in many ways and nest it, so
names are compared at every depth without case, dashes and underscores.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from pbclient.errors import InputError
from providers.types import Json

# Each of these has a flag of its own.
FLAGS = {
    "maxtokens": "--max-tokens",
    "maxcompletiontokens": "--max-tokens",
    "maxoutputtokens": "--max-tokens",
    "maxnewtokens": "--max-tokens",
    "maxtokenstosample": "--max-tokens",
    "numpredict": "--max-tokens",
    "temperature": "--temperature",
    "model": "--model",
}
# What is asked, and of whom.
ASKED = {
    "messages",
    "system",
    "systeminstruction",
    "cachedcontent",
    "contents",
    "models",
    "route",
    "fallbacks",
}
# How often, and how it comes back.
SHAPE = {"stream", "n", "candidatecount", "bestof", "numreturnsequences", "minnewtokens"}
# What the client itself sets.
CLIENT = {"apikey", "apibase", "baseurl", "timeout", "numretries", "maxretries", "extrabody", "extraheaders"}
# What is billed beside the tokens.
EXTRA = {"websearchoptions", "searchparameters", "enablesearch", "plugins"}
FIXED = ASKED | SHAPE | CLIENT | EXTRA
# Inside these the names are the user's own: the fields of a schema or the arguments of a function.
FREE = {
    "responseformat",
    "responseschema",
    "jsonschema",
    "schema",
    "tools",
    "functions",
    "logitbias",
    "metadata",
}


def refuse_own_options(params: Mapping[str, Json]) -> None:
    """Raises `InputError` naming the first option that may not be set, or that is no JSON."""
    for name, value in params.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"--param {name} is not JSON that can be sent: {error}.") from None
    for name in option_names(params):
        if name in FLAGS:
            raise InputError(f"--param {name}: give it as {FLAGS[name]}.")
        if name in FIXED:
            raise InputError(f"--param {name} cannot be set: the client decides it, or no bound would hold.")


def option_names(params: Json | Mapping[str, Json]) -> Iterator[str]:
    """The plain names of all options at every depth: `maxOutputTokens` and `max_output_tokens` are one."""
    if isinstance(params, Mapping):
        for name, value in params.items():
            yield (plain := name.lower().replace("_", "").replace("-", ""))
            if plain not in FREE:
                yield from option_names(value)
    elif isinstance(params, list):
        for value in params:
            yield from option_names(value)
