"""What can be named after --provider."""

import pytest

from providers.catalog import names as catalog
from providers.catalog import prices as price_map
from providers.catalog.names import (
    HOSTED,
    HostedProvider,
    UnknownProviderError,
    endpoint,
    known_names,
    lookup,
)


def test_the_names_are_sorted_and_known_to_litellm() -> None:
    names = [entry.name for entry in HOSTED]
    assert names == sorted(names)
    assert set(names) <= catalog._litellm_names()


@pytest.mark.parametrize(
    "entry", [entry for entry in HOSTED if entry.default_model], ids=lambda entry: entry.name
)
def test_default_models_see_and_have_a_price(entry: HostedProvider) -> None:
    assert entry.default_model is not None
    row = price_map.find(entry.name, entry.default_model)
    assert row is not None
    assert row["input_cost_per_token"]
    assert row["output_cost_per_token"]
    assert row["mode"] == "chat"
    assert row["supports_vision"] is True
    assert "deprecation_date" not in row


def test_the_big_four_have_a_default() -> None:
    for name in ("openai", "anthropic", "gemini", "openrouter"):
        assert lookup(name).default_model


def test_any_other_litellm_provider() -> None:
    assert lookup("deepinfra") == HostedProvider("deepinfra", ("DEEPINFRA_API_KEY",))
    assert lookup("scx-ai").key_variables == ("SCX_AI_API_KEY",)
    assert lookup("hosted_vllm").key_variables == ()
    assert {"openrouter", "cerebras", "ollama"} <= known_names()
    assert not any("vertex_ai-" in name or "/" in name for name in known_names())


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("opnai", "openai"),
        ("anthropik", "anthropic"),
        ("google", "gemini"),
        ("Claude", "anthropic"),
        ("??", "try "),
    ],
)
def test_unknown_names_say_what_is_near(name: str, near: str) -> None:
    with pytest.raises(UnknownProviderError) as caught:
        lookup(name)
    assert isinstance(caught.value, LookupError)
    assert repr(name) in str(caught.value)
    assert near in str(caught.value)


def test_any_of_the_variables_holds_the_key() -> None:
    gemini = lookup("gemini")
    assert gemini.key({}) is None
    assert gemini.key({"GEMINI_API_KEY": "", "GOOGLE_API_KEY": "g"}) == "g"
    assert gemini.key({"GEMINI_API_KEY": "m", "GOOGLE_API_KEY": "g"}) == "m"


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("http://localhost:8000/v1", "http://localhost:8000/v1"),
        ("http://localhost:8000/v1/", "http://localhost:8000/v1"),
        ("HTTPS://API.Example.com:443/v1", "https://api.example.com/v1"),
        ("https://user:secret@example.com/v1?key=secret#x", "https://example.com/v1"),
        ("http://[::1]:80/v1/chat/completions/", "http://[::1]/v1"),
        (" http://h ", "http://h"),
    ],
)
def test_one_server_has_one_spelling(url: str, same: str) -> None:
    assert endpoint("openai", url, {}) == same
    assert endpoint("openai", same, {}) == same


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/v1/messages", "/v1/chat/completions"])
def test_anthropics_server_is_named_by_its_root(path: str) -> None:
    # Both wires write `/v1/messages` below it.
    assert endpoint("anthropic", f"http://h{path}", {}) == "http://h"
    assert endpoint("anthropic", f"http://h/proxy{path}", {}) == "http://h/proxy"


def test_a_server_in_the_environment_is_seen() -> None:
    environ = {"OPENAI_BASE_URL": "http://proxy/v1/", "OPENAI_API_BASE": "http://other"}
    assert endpoint("openai", None, environ) == "http://proxy/v1"
    assert endpoint("openai", "http://mine", environ) == "http://mine"
    assert endpoint("anthropic", None, environ) is None


@pytest.mark.parametrize("url", ["localhost:8000/v1", "ftp://h/v1", "http://", "v1", "http://h/v1\0"])
def test_no_url(url: str) -> None:
    with pytest.raises(ValueError, match="http://host:port"):
        endpoint("openai", url, {})


@pytest.mark.parametrize(
    "place",
    [
        "xn--e.invalid",
        "a..b",
        "a" * 64,
        "256.1.1.1",
        "127.1",
        "h:99999",
        "h:x",
        "[::1",
        "user:secret@h:x",
        "h:secret",
    ],
)
def test_no_host(place: str) -> None:
    with pytest.raises(ValueError, match="this one has an impossible host or port") as caught:
        endpoint("openai", f"http://{place}/v1", {})
    assert type(caught.value) is ValueError
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "host", ["x_y", "é.invalid", "xn--9ca.invalid", "h.", "127.0.0.1", "[fe80::1%25lo]", "a.1b"]
)
def test_hosts(host: str) -> None:
    assert endpoint("openai", f"http://{host}/v1", {}) == f"http://{host}/v1"
