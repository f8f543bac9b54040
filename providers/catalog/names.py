"""List what can be named after `--provider`: whose key it needs and which model is asked by default.

The default models are current vision models with a published price. Any other name that
LiteLLM knows is taken too; its list is read from the JSON files beside LiteLLM's code, since
importing LiteLLM takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from ipaddress import ip_address
from urllib.parse import urlsplit, urlunsplit

from providers.catalog import prices

ENDPOINTS = "provider_endpoints_support_backup.json"


class UnknownProviderError(LookupError):
    """LiteLLM has no provider of this name; the message says which names come near."""


@dataclass(frozen=True, slots=True)
class HostedProvider:
    """One provider. Any one of `key_variables` holds the key; none are needed when it is empty."""

    name: str
    key_variables: tuple[str, ...]
    default_model: str | None = None
    note: str = ""

    def key(self, environ: Mapping[str, str]) -> str | None:
        """The key in the environment, if there is one."""
        return next((environ[name] for name in self.key_variables if environ.get(name)), None)


HOSTED: tuple[HostedProvider, ...] = (
    HostedProvider("anthropic", ("ANTHROPIC_API_KEY",), "claude-haiku-5-5"),
    HostedProvider(
        "azure", ("AZURE_API_KEY",), note="the model is your deployment's name; set AZURE_API_BASE too"
    ),
    HostedProvider(
        "bedrock", (), note="AWS credentials as boto3 finds them; install boto3 (pip install boto3)"
    ),
    HostedProvider("dashscope", ("DASHSCOPE_API_KEY",), "qwen3.8-flash"),
    HostedProvider("deepseek", ("DEEPSEEK_API_KEY",), "deepseek-flash"),
    HostedProvider("fireworks_ai", ("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY"), "qwen3p7-plus"),
    HostedProvider("gemini", ("GEMINI_API_KEY", "GOOGLE_API_KEY"), "gemini-3.8-flash"),
    HostedProvider("groq", ("GROQ_API_KEY",), "qwen/qwen3.8-27b"),
    HostedProvider("mistral", ("MISTRAL_API_KEY",), "mistral-small-2603"),
    HostedProvider(
        "openai", ("OPENAI_API_KEY",), "gpt-6-luna", "at a base URL: any OpenAI-compatible server"
    ),
    HostedProvider("openrouter", ("OPENROUTER_API_KEY",), "google/gemini-3.8-flash"),
    HostedProvider("together_ai", ("TOGETHER_API_KEY", "TOGETHERAI_API_KEY"), "zai-org/GLM-5.3-Flash"),
    HostedProvider("vertex_ai", (), "gemini-3.8-flash", "needs google-auth and VERTEXAI_PROJECT"),
    HostedProvider("xai", ("XAI_API_KEY",), "grok-4.7"),
)  # fmt: skip

# What people call a provider by: its models or its maker.
MAKERS = {"claude": "anthropic", "google": "gemini", "gpt": "openai", "grok": "xai", "vllm": "hosted_vllm"}

# What is written below a base URL by the wires, and by some people in it.
_CHAT = ("/chat/completions",)
_TAILS = {"anthropic": (*_CHAT, "/messages", "/v1")}
_LIKE = "A base URL looks like http://host:port/v1"

# Servers that people run themselves: they ask for no key.
KEYLESS = frozenset({"hosted_vllm", "llamafile", "lm_studio", "ollama", "ollama_chat"})


def lookup(name: str) -> HostedProvider:
    """The provider of this name. Raises `UnknownProviderError` for a name that LiteLLM does not know."""
    for entry in HOSTED:
        if entry.name == name:
            return entry
    if name not in known_names():
        first = [entry.name for entry in HOSTED]
        near = [MAKERS[name.lower()]] if name.lower() in MAKERS else []
        near += get_close_matches(name.lower(), [*first, *sorted(known_names())], n=2, cutoff=0.7)
        advice = f"did you mean {' or '.join(dict.fromkeys(near))}?" if near else f"try {', '.join(first)}."
        raise UnknownProviderError(f"There is no provider {name!r}: {advice}")
    return HostedProvider(name, () if name in KEYLESS else (_prefix(name) + "_API_KEY",))


def known_names() -> frozenset[str]:
    """Every provider with a chat endpoint that LiteLLM knows."""
    return _litellm_names() | {entry.name for entry in HOSTED}


def endpoint(name: str, base_url: str | None, environ: Mapping[str, str]) -> str | None:
    """The server that will be asked, in one spelling; None is the provider's own.

    LiteLLM takes a server from the environment when it is told none. It is read here, so that
    what is recorded is what was asked.
    """
    variables = (f"{_prefix(name)}_BASE_URL", f"{_prefix(name)}_API_BASE")
    named = base_url or next((environ[variable] for variable in variables if environ.get(variable)), None)
    return _normalised(named, _TAILS.get(name, _CHAT)) if named else None


def _normalised(url: str, tails: tuple[str, ...]) -> str:
    """Without what does not name the server: user, password, query, default port, `tails`, trailing slash.

    Raises `ValueError` for what is no URL of a server; what is shown of it holds no password.
    """
    url = url.strip()
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        # What is neither a name nor an address: both wires would fall over it.
        if ":" in host or host.rpartition(".")[2].isdecimal():
            ip_address(host)
        host.encode("idna").decode("idna")
    except ValueError:
        raise ValueError(f"{_LIKE}: this one has an impossible host or port.") from None
    if parts.scheme not in ("http", "https") or not host or not url.isprintable() or " " in url:
        raise ValueError(f"{_LIKE}, not {parts.path or parts.scheme!r}.")
    host = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}[parts.scheme]
    path = parts.path.rstrip("/")
    for tail in tails:
        path = path.removesuffix(tail).rstrip("/")
    return urlunsplit((parts.scheme, host if port in (None, default) else f"{host}:{port}", path, "", ""))


def _prefix(name: str) -> str:
    return name.upper().replace("-", "_")


@cache
def _litellm_names() -> frozenset[str]:
    # `vertex_ai-anthropic_models` and the like are families of rows, and no routes.
    sellers = {
        row["litellm_provider"]
        for row in prices.rows().values()
        if row.get("mode") in ("chat", "responses") and "vertex_ai-" not in row["litellm_provider"]
    }
    # Providers without a price of their own (OpenRouter, local servers) are only in this file.
    endpoints = prices.bundled(ENDPOINTS).get("providers", {})
    # `vllm` is a library in this process; its server is `hosted_vllm`.
    return frozenset(sellers).union(
        name
        for name, row in endpoints.items()
        if row.get("endpoints", {}).get("chat_completions") and "/" not in name and name != "vllm"
    )
