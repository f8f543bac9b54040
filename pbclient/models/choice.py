"""What a user named of a model, under test or a judge, and which options `--param` may carry.

Three kinds of options. What the client itself decides (who is asked, what, how often, up to which length) is
never taken. Of the others some are known to leave the bill within its bound: they shape the tokens that are
counted. Whatever is in neither list may cost more than any hold (a search, a faster tier, sound), so with a
dollar limit it needs the user's word. Providers spell the same option in many ways and nest it, so names are
compared at every depth without case, dashes and underscores.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
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
FIXED = ASKED | WHO | SHAPE | CLIENT

# Options that shape what is written within the output limit, or the form of the answer: their effect on the
# bill is that of the tokens that are counted.
SAMPLING = frozenset(
    {
        "topp", "topk", "topa", "minp", "typicalp", "seed", "randomseed", "stop", "stopsequences",
        "frequencypenalty", "presencepenalty", "repetitionpenalty", "repeatpenalty", "logitbias",
        "logprobs", "toplogprobs", "responseformat", "reasoningeffort", "verbosity", "user",
    }
)  # fmt: skip
_REASONING = {"reasoning", "includereasoning"}
_GOOGLE = frozenset(
    {
        "generationconfig", "thinkingconfig", "safetysettings", "labels", "responsemimetype",
        "responseschema", "responsejsonschema", "responselogprobs",
    }
)  # fmt: skip
# What is known beside of each provider's own options.
BY_PROVIDER: Mapping[str, frozenset[str]] = {
    "anthropic": frozenset({"thinking", "outputconfig", "metadata", "cachecontrol"}),
    "dashscope": frozenset({"enablethinking", "thinkingbudget"}),
    "deepseek": frozenset({"thinking"}),
    "gemini": _GOOGLE,
    "groq": frozenset({"reasoningformat", *_REASONING}),
    "openai": frozenset({"metadata", "store", "promptcachekey", "safetyidentifier"}),
    "openrouter": frozenset(_REASONING),
    "vertex_ai": _GOOGLE,
}
# What servers that people run themselves (vLLM, llama-server, SGLang) take beside.
AT_A_SERVER = frozenset(
    {
        "addgenerationprompt", "cacheprompt", "chattemplatekwargs", "grammar", "guidedchoice",
        "guidedgrammar", "guidedjson", "guidedregex", "ignoreeos", "includestopstrinoutput",
        "jsonschema", "lengthpenalty", "mintokens", "mirostat", "mirostateta", "mirostattau",
        "nprobs", "repeatlastn", "samplers", "skipspecialtokens", "stoptokenids", "structuredoutputs",
    }
)  # fmt: skip
# Of these only the values that are billed as if they were not there.
VALUES: Mapping[tuple[str, str], frozenset[str]] = {
    ("anthropic", "inferencegeo"): frozenset({"global"}),
    ("anthropic", "servicetier"): frozenset({"standard_only"}),
    ("openai", "servicetier"): frozenset({"default"}),
}
# What is known inside of an option; of the others nothing is.
INSIDE: Mapping[str, frozenset[str]] = {
    "cachecontrol": frozenset({"type", "ttl"}),
    "generationconfig": SAMPLING | _GOOGLE,
    "outputconfig": frozenset({"effort"}),
    "reasoning": frozenset({"effort", "enabled", "exclude", "summary"}),
    "thinking": frozenset({"type", "budgettokens", "display"}),
    "thinkingconfig": frozenset({"thinkingbudget", "thinkinglevel", "includethoughts"}),
}
# Inside these the names are the user's own: the fields of a schema or the arguments of a template.
FREE = {"responseformat", "responseschema", "responsejsonschema", "jsonschema", "schema", "guidedjson"}
FREE |= {"tools", "functions", "logitbias", "metadata", "labels", "safetysettings", "chattemplatekwargs"}
FREE |= {"structuredoutputs"}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a user named of a model. `prefix` begins the flags that name it: "" or "judge-".

    `allow_params` are options that the user takes at her own risk where there is a `max_cost`. `sees` is
    whether it will be shown images, `grammar` whether a judge is held to the form of a verdict,
    `offline` whether nothing will be asked of it. Where the user said nothing of the output limit or the
    temperature, `protocol` and `mode` do.
    """

    provider: str
    model: str | None = None
    base_url: str | None = None
    max_tokens: int | None = None
    temperature: float | str | None = BY_PROTOCOL
    params: Mapping[str, Json] = field(default_factory=dict)
    allow_params: tuple[str, ...] = ()
    max_cost: Decimal | None = None
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


def unpriced(provider: str, params: Mapping[str, Json], *, server: bool, stated: bool) -> list[str]:
    """The options, as they are named, of which nobody knows what they add to a bill.

    `server` is whether another one than the provider's own is asked, `stated` whether `--price` says what
    a token costs: that says nothing of a cache's writes.
    """
    known = SAMPLING | BY_PROVIDER.get(provider, frozenset()) | (AT_A_SERVER if server else frozenset())
    known -= {"cachecontrol"} if stated else set()
    return [name for name, value in params.items() if not _is_priced(provider, name, value, known)]


def _is_priced(provider: str, name: str, value: Json, known: frozenset[str]) -> bool:
    named = plain(name)
    if value is None:
        return True  # it is not sent
    if isinstance(value, str) and value in VALUES.get((provider, named), ()):
        return True
    if named not in known:
        return False
    inner = value if isinstance(value, list) else [value]
    inside = INSIDE.get(named, frozenset())
    return named in FREE or all(
        _is_priced(provider, deeper, own, inside)
        for part in inner
        if isinstance(part, Mapping)
        for deeper, own in part.items()
    )


def plain(name: str) -> str:
    """A name without case, dashes and underscores: `maxOutputTokens` and `max_output_tokens` are one."""
    return name.lower().replace("_", "").replace("-", "")


def option_names(params: Json | Mapping[str, Json]) -> Iterator[str]:
    """The plain names of all options at every depth."""
    if isinstance(params, Mapping):
        for name, value in params.items():
            yield (named := plain(name))
            if named not in FREE:
                yield from option_names(value)
    elif isinstance(params, list):
        for value in params:
            yield from option_names(value)
