from __future__ import annotations

from decimal import Decimal

import pytest

from pbclient import InputError, RunConfig
from pbclient.models.choice import Choice
from pbclient.models.model import resolve

REFUSED = [
    {"max_tokens": 5},
    {"maxOutputTokens": 9999},
    {"max_output_tokens": 9999},
    {"generationConfig": {"maxOutputTokens": 9999}},
    {"generation_config": {"candidate-count": 8}},
    {"n": 2},
    {"best_of": 2},
    {"max_tokens_to_sample": 1},
    {"models": ["a/dearer-one"]},
    {"system": "be long"},
    {"cachedContent": "x"},
    {"extra_body": {"n": 3}},
    {"top_p": float("nan")},
    {"top_p": {1, 2}},
    {"stream": True},
]
TAKEN = [
    {"top_p": 0.5, "seed": 3},
    {"reasoning_effort": "high"},
    {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    {"response_format": {"type": "json_schema", "json_schema": {"schema": {"properties": {"n": {}}}}}},
    {"own_option": {"deep": [1, {"more": None}]}},
    {"search_parameters": {}},
]


@pytest.mark.parametrize("params", REFUSED)
def test_options_that_would_break_the_bound_are_refused_by_name(params):
    with pytest.raises(InputError, match="--param"):
        RunConfig(provider="openai", params=params)


@pytest.mark.parametrize("params", TAKEN)
def test_options_that_shape_the_answer_are_taken(params):
    assert RunConfig(provider="openai", params=params).params == params


UNPRICED = [
    ("openai", {"tools": [{"type": "web_search"}]}),
    ("openai", {"web_search_options": {}}),
    ("openai", {"service_tier": "priority"}),
    ("openai", {"prediction": {"type": "content", "content": "A"}}),
    ("openai", {"modalities": ["text", "audio"], "audio": {"voice": "alloy"}}),
    ("openai", {"background": True}),
    ("openai", {"reasoning_effort": {"search": True}}),
    ("anthropic", {"speed": "fast"}),
    ("anthropic", {"inference_geo": "us"}),
    ("anthropic", {"serviceTier": "auto"}),
    ("anthropic", {"thinking": {"type": "enabled", "search": True}}),
    ("anthropic", {"cache_control": {"type": "ephemeral", "ttl": "1h"}}),  # a stated price has none for it
    ("gemini", {"generationConfig": {"topK": 3, "googleSearch": {}}}),
    ("openrouter", {"plugins": [{"id": "web"}]}),
    ("openrouter", {"preset": "x"}),
    ("xai", {"search_parameters": {"mode": "auto"}}),
    ("dashscope", {"enable_search": True}),
    ("openai", {"never_heard_of": 1}),
]
PRICED = [
    ("openai", {"top_p": 0.5, "seed": 3, "service_tier": "default", "reasoning_effort": "low"}),
    ("openai", {"own_option": None}),
    ("anthropic", {"thinking": {"type": "enabled", "budget_tokens": 1024}, "service_tier": "standard_only"}),
    ("gemini", {"generationConfig": {"topK": 3, "thinkingConfig": {"thinkingBudget": 0}}}),
    ("openrouter", {"reasoning": {"effort": "high", "exclude": True}}),
    ("openai", {"response_format": {"type": "json_schema", "json_schema": {"tools": {"speed": 1}}}}),
]


def named(monkeypatch, provider: str, params: dict, **options) -> Choice:
    for key in ("OPENAI", "ANTHROPIC", "GEMINI", "OPENROUTER", "XAI", "DASHSCOPE"):
        monkeypatch.setenv(f"{key}_API_KEY", "k-123456")
    fixed = {"provider": provider, "price": "1,2", "max_cost": Decimal(5)}
    return RunConfig(**{**fixed, "params": params, **options}).model_choice


@pytest.mark.parametrize(("provider", "params"), UNPRICED)
def test_under_a_limit_an_option_of_unknown_price_is_refused_with_two_ways_out(monkeypatch, provider, params):
    name = next(iter(params))
    sentence = f"--param {name}: .*--max-cost none.*--allow-param {name}[.]"
    with pytest.raises(InputError, match=sentence):
        resolve(named(monkeypatch, provider, params), print)
    free = resolve(named(monkeypatch, provider, params, max_cost=None), print)
    allowed = resolve(named(monkeypatch, provider, params, allow_params=tuple(params)), print)
    assert free.unpriced == allowed.unpriced == tuple(params)


@pytest.mark.parametrize(("provider", "params"), PRICED)
def test_options_of_known_price_need_no_word(monkeypatch, provider, params):
    assert resolve(named(monkeypatch, provider, params), print).unpriced == ()


@pytest.mark.parametrize("model", ["openai/gpt-4.1:online", "perplexity/sonar-pro", "gpt-4o-search-preview"])
def test_a_stated_price_bounds_no_model_that_searches_by_itself(monkeypatch, model):
    with pytest.raises(InputError, match=r"searches on its own account.*--max-cost none"):
        resolve(named(monkeypatch, "openrouter", {}, model=model), print)
    assert resolve(named(monkeypatch, "openrouter", {}, model=model, max_cost=None), print).unpriced == (
        "model",
    )


def test_what_is_known_goes_by_who_is_asked(monkeypatch):
    url = "http://127.0.0.1:9/v1"
    server = {"mirostat": 2, "chat_template_kwargs": {"enable_thinking": False}}
    assert resolve(named(monkeypatch, "openai", server, base_url=url), print).unpriced == ()
    with pytest.raises(InputError, match="--param mirostat"):
        resolve(named(monkeypatch, "openai", server), print)
    # What costs nothing needs no word; at OpenRouter a free model still searches for money.
    odd = {"never_heard_of": 1}
    assert resolve(named(monkeypatch, "openai", odd, base_url=url, price="0,0"), print).unpriced == ()
    with pytest.raises(InputError, match="--param plugins"):
        resolve(named(monkeypatch, "openrouter", {"plugins": []}, model="a/b:free", price=None), print)
    # The price list knows what a cache's writes cost.
    cached = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    assert resolve(named(monkeypatch, "anthropic", cached, price=None), print).unpriced == ()


def test_only_what_is_given_can_be_allowed():
    with pytest.raises(InputError, match="--allow-param speed: there is no --param speed"):
        RunConfig(provider="openai", params={"sped": 1}, allow_params=("speed",))


def test_notebooks_may_write_plain_values():
    config = RunConfig(provider="openai", max_cost=5, data="folder", datasets="ROD")
    assert (str(config.max_cost), str(config.data), config.datasets) == ("5", "folder", ("ROD",))


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_cost": float("nan")},
        {"max_cost": -1},
        {"max_cost": "five"},
        {"temperature": "x"},
        {"temperature": -0.1},
        {"timeout": 0},
        {"timeout": float("inf")},
        {"limit": 0},
        {"limit": 1.5},
        {"repeat": True},
        {"concurrency": -1},
        {"seed": "x"},
    ],
)
def test_values_that_cannot_be_are_named(wrong):
    [name] = wrong
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')}"):
        RunConfig(provider="openai", **wrong)
