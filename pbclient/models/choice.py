"""What a user named of a model, under test or a judge, and which options `--param` may carry.

`--param` takes anything that shapes the answer and nothing that breaks a promise: an option that raises the
output limit, asks for several answers or names another model would make the bound of a call no bound.
Providers spell the same option in many ways and nest it, so names are compared at every depth without case,
dashes and underscores.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pbclient.benchmark.package import MCQA, OEG
from pbclient.benchmark.protocol import STRICT
from pbclient.errors import InputError
from pbclient.models.engines import EngineOptions

if TYPE_CHECKING:
    from providers import Json

LITELLM, DIRECT = "litellm", "direct"
BY_PROTOCOL = "by protocol"
BASELINES = ("random", "always-ask", "always-abstain", "oracle")

# Each of these has a flag of its own.
_MOST = ("maxtokens", "maxcompletiontokens", "maxoutputtokens", "maxnewtokens", "maxtokenstosample")
FLAGS = dict.fromkeys([*_MOST, "numpredict"], "--max-tokens")
FLAGS |= {"temperature": "--temperature", "model": "--model"}
# What is asked, of whom, how often, and how it comes back.
ASKED = {"messages", "system", "systeminstruction", "cachedcontent", "contents"}
WHO = {"models", "route", "fallbacks"}
SHAPE = {"stream", "n", "candidatecount", "bestof", "numreturnsequences", "minnewtokens"}
# What the client itself sets.
CLIENT = {"apikey", "apibase", "baseurl", "timeout", "numretries", "maxretries", "extrabody", "extraheaders"}
# What is billed beside the tokens.
EXTRA = {"websearchoptions", "searchparameters", "enablesearch", "plugins"}
FIXED = ASKED | WHO | SHAPE | CLIENT | EXTRA
# Inside these the names are the user's own: the fields of a schema or the arguments of a function.
FREE = {"responseformat", "responseschema", "jsonschema", "schema"}
FREE |= {"tools", "functions", "logitbias", "metadata"}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a user named of a model. `prefix` begins the flags that name it: "" or "judge-".

    `sees` is whether it will be shown images, `grammar` whether a judge is held to the form of a verdict,
    `offline` whether nothing will be asked of it. Where the user said nothing of the output limit or the
    temperature, `protocol` and `mode` do.
    """

    provider: str
    model: str | None = None
    base_url: str | None = None
    max_tokens: int | None = None
    temperature: float | str | None = BY_PROTOCOL
    params: Mapping[str, Json] = field(default_factory=dict)
    price: str | None = None
    image_tokens: int | None = None
    timeout: float = 300.0
    wire: str = LITELLM
    engine: EngineOptions = field(default_factory=EngineOptions)
    grammar: bool = False
    prefix: str = ""
    sees: bool = True
    protocol: str = STRICT
    mode: str = MCQA
    offline: bool = False

    def flag(self, name: str) -> str:
        """The flag that sets this."""
        return f"--{self.prefix}{name}"


def judge_named(provider: str, **options: Any) -> Choice:
    """A judge: it sees no images, and is asked as the protocol says. `options` are fields of `Choice`."""
    return Choice(provider=provider, prefix="judge-", sees=False, mode=OEG, **options)


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
