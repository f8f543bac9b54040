"""A price is known for sure or refused, and no bill within the bounds is above its hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbclient.errors import InputError
from pbclient.money.amounts import PICODOLLARS
from pbclient.money.prices import Price, Rates, cost, describe, hold, price_of
from providers.catalog import prices as price_map
from providers.usage import Usage

MILLION = 10**6
picodollars = st.integers(0, 10**9)
counts = st.integers(0, 3 * 10**6)


@st.composite
def prices(draw: st.DrawFn) -> Price:
    starts = sorted({0, *draw(st.lists(counts, max_size=3))})
    tiers = tuple(Rates(above, *(draw(picodollars) for _ in range(5))) for above in starts)
    return Price(tiers, image=draw(picodollars), request=draw(picodollars), source=draw(st.text()))


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    out = draw(counts)
    return Usage(draw(counts), out, draw(st.integers(0, out)), draw(counts), draw(counts))


@given(prices(), usages(), st.integers(0, 5), counts, counts)
def test_no_bill_within_the_bounds_is_above_the_hold(
    price: Price, usage: Usage, images: int, spare_in: int, spare_out: int
) -> None:
    held = hold(price, usage.input_tokens + spare_in, images, usage.output_tokens + spare_out)
    assert 0 <= cost(price, usage) <= cost(price, usage, images) <= held


@given(prices())
def test_what_run_json_says_is_the_price_exactly(price: Price) -> None:
    described = json.loads(json.dumps(describe(price)))
    tiers = tuple(
        Rates(tier.pop("above_input_tokens"), **{name: round(rate * MILLION) for name, rate in tier.items()})
        for tier in described["tiers"]
    )
    image, request = (round(described[name] * PICODOLLARS) for name in ("per_image", "per_request"))
    assert Price(tiers, image, request, described["source"]) == price


def test_every_row_of_the_map_is_priced_or_refused_and_its_holds_are_above_its_bills() -> None:
    priced = refused = 0
    for key, row in price_map.rows().items():
        try:
            price = price_of(_seller(row), key)
        except InputError:
            refused += 1
            continue
        priced += bool(row.get("supports_vision"))
        assert [rates.above for rates in price.tiers] == sorted({rates.above for rates in price.tiers})
        for usage in _usages(price):
            most = hold(price, usage.input_tokens, 2, usage.output_tokens)
            assert price.is_free or 0 < cost(price, usage, 2) <= most, key
            assert most <= hold(price, usage.input_tokens + 1, 2, usage.output_tokens + 1), key
    assert priced > 1000
    assert refused > 100


def _seller(row: price_map.Row) -> str:
    family = str(row["litellm_provider"])
    return next((name for name in price_map.FAMILIES if family.startswith(name)), family)


def _usages(price: Price) -> list[Usage]:
    edges = {1, *(rates.above + step for rates in price.tiers for step in (0, 1))} - {0}
    return [
        Usage(tokens, 500, thought, cached * tokens // 2, written * tokens // 3)
        for tokens in edges
        for thought in (0, 400)
        for cached in (0, 1)
        for written in (0, 1)
    ]


@pytest.mark.parametrize(
    ("text", "into", "out"),
    [("2.50,10", 2.5, 10), (" 0.01875 , 0.075", 0.01875, 0.075), ("0,0", 0, 0), (".5,1.", 0.5, 1)],
)
def test_a_stated_price_wins(text: str, into: float, out: float) -> None:
    for provider, model in [("openai", "gpt-4o"), ("openai", "who-knows"), ("baseline", "random")]:
        (rates,) = price_of(provider, model, stated=text).tiers
        assert (rates.input, rates.output) == (round(into * MILLION), round(out * MILLION))
        assert rates.input == rates.cached_input == rates.cache_write
        assert rates.output == rates.reasoning


def test_a_stated_price_is_rounded_up_to_a_picodollar() -> None:
    assert price_of("openai", "x", stated="0.0000001,0").tiers[0].input == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2",
        "1,2,3",
        "1;2",
        "-1,2",
        "1,-2",
        "nan,1",
        "inf,1",
        "1e3,1",
        "+1,1",
        "$1,1",
        "a,b",
        "1,",
        "٣,1",
        ".",
    ],
)
def test_a_price_that_is_no_two_amounts_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--price takes IN,OUT"):
        price_of("openai", "gpt-4o", stated=text)


@pytest.mark.parametrize(
    ("provider", "model"),
    [("baseline", "random"), ("llamacpp", "model.gguf"), ("transformers", "x/y"), ("ollama", "llava"),
     ("openrouter", "qwen/qwen-vl:free")],
)  # fmt: skip
def test_what_runs_on_ones_own_machine_is_free(provider: str, model: str) -> None:
    price = price_of(provider, model)
    assert price == Price.free()
    assert price.is_free
    assert hold(price, 10**6, 3, 10**6) == cost(price, Usage(10**6, 10**6, 5, 5, 5)) == 0


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "a-model-nobody-knows"),
        ("openrouter", "qwen/qwen3-vl"),
        ("hosted_vllm", "llava"),
        ("gigachat", "GigaChat-2-Max"),  # the map says 0, and it is not free
        ("github_copilot", "gpt-4o"),  # a row without a price
        ("azure", "model-router"),  # free answers, says the map
        ("openai", "o3-deep-research"),
        ("openai", "gpt-image-1"),
        ("fal_ai", "fal_ai/flux"),
    ],
)
def test_a_model_without_a_sure_price_is_refused(provider: str, model: str) -> None:
    with pytest.raises(InputError) as refusal:
        price_of(provider, model)
    assert model in str(refusal.value)
    assert "--price IN,OUT" in str(refusal.value)


def test_behind_a_server_of_ones_own_a_public_model_has_the_public_price() -> None:
    url = "http://127.0.0.1:8000/v1"
    assert price_of("openai", "gpt-4o", base_url=url) == price_of("openai", "gpt-4o")
    assert price_of("openai", "anthropic/claude-haiku-4.5", base_url=url) == price_of(
        "anthropic", "claude-haiku-4-5"
    )
    with pytest.raises(InputError, match=r"No price is known for openai model my-vlm: .*--price IN,OUT"):
        price_of("openai", "my-vlm", base_url=url)


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-haiku-4-5"])
def test_what_a_cache_keeps_for_an_hour_costs_twice_the_input_and_is_held_so(model: str) -> None:
    price = price_of("anthropic", model)
    rates = price.tiers[0]
    assert (rates.cache_write, rates.hour_write) == (rates.input * 5 // 4, rates.input * 2)
    kept = Usage(1000, 10, cache_write_tokens=1000, hour_write_tokens=600)
    assert cost(price, kept) == 400 * rates.cache_write + 600 * rates.hour_write + 10 * rates.output
    most = Usage(1000, 10, cache_write_tokens=1000, hour_write_tokens=1000)
    assert hold(price, 1000, 0, 10) < cost(price, most) <= hold(price, 1000, 0, 10, caches=True)


def test_a_slip_in_a_models_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(
        InputError, match=r"No price is known for openai model gpt-4o-mni: .*Did you mean gpt-4o-mini"
    ):
        price_of("openai", "gpt-4o-mni")


def test_the_price_of_a_known_model() -> None:
    price = price_of("openai", "gpt-4o")
    assert price.tiers == (Rates(0, 2_500_000, 10_000_000, 1_250_000, 2_500_000, 10_000_000),)
    assert not price.is_free
    assert cost(price, Usage(1000, 100)) == 1000 * 2_500_000 + 100 * 10_000_000
    assert cost(price, Usage(1000, 100, cached_input_tokens=400)) == 3_500_000_000 - 400 * 1_250_000
    assert hold(price, 1000, 1, 100) == 3_500_000_000


def test_a_cache_that_may_be_written_is_held_and_settled_at_its_price() -> None:
    price = price_of("anthropic", "claude-haiku-4-5")
    assert price.tiers[0].cache_write == 1_250_000
    assert hold(price, 1000, 0, 0) == 1000 * 1_250_000
    assert cost(price, Usage(1000, 0)) == 1000 * 1_000_000
    assert cost(price, Usage(1000, 0, cache_write_tokens=1000)) == 1000 * 1_250_000


def _priced(monkeypatch: pytest.MonkeyPatch, **row: Any) -> Price:
    known = {"maker/model": {"litellm_provider": "maker", **row}}
    monkeypatch.setattr(price_map, "rows", lambda: known)
    return price_of("maker", "model")


PLAIN = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}


def test_a_tier_begins_beyond_its_threshold_and_holds_for_every_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tier = {"input_cost_per_token_above_200k_tokens": 3e-6, "output_cost_per_token_above_200k_tokens": 5e-6}
    price = _priced(monkeypatch, **PLAIN, **tier, input_cost_per_token_above_200k_tokens_priority=9e-6)
    assert [rates.above for rates in price.tiers] == [0, 200_000]
    assert cost(price, Usage(200_000, 1)) == 200_000 * 1_000_000 + 2_000_000
    assert cost(price, Usage(200_001, 1)) == 200_001 * 3_000_000 + 5_000_000
    assert hold(price, 200_000, 0, 1) == cost(price, Usage(200_000, 1))
    assert hold(price, 200_001, 0, 1) == cost(price, Usage(200_001, 1))


def test_xai_bills_the_tier_from_its_threshold_on() -> None:
    tiers = price_of("xai", "grok-4.20").tiers
    assert [rates.above for rates in tiers] == [0, 199_999]


def test_several_thresholds_rise_and_keep_what_they_do_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    price = _priced(
        monkeypatch,
        **PLAIN,
        input_cost_per_token_above_128000_tokens=2e-6,
        output_cost_per_token_above_512k_tokens=4e-6,
    )
    seen = [(rates.above, rates.input, rates.output) for rates in price.tiers]
    assert seen == [
        (0, 1_000_000, 2_000_000),
        (128_000, 2_000_000, 2_000_000),
        (512_000, 2_000_000, 4_000_000),
    ]


def test_ranges_are_tiers_whose_last_has_no_end() -> None:
    price = price_of("dashscope", "qwen3-vl-plus")
    assert [rates.above for rates in price.tiers] == [0, 32_000, 128_000]
    assert cost(price, Usage(900_000, 0)) == 900_000 * 600_000


def test_thinking_with_its_own_price_is_the_price_of_the_whole_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    price = _priced(monkeypatch, **PLAIN, output_cost_per_reasoning_token=8e-6)
    assert cost(price, Usage(0, 100)) == 100 * 2_000_000
    assert cost(price, Usage(0, 100, reasoning_tokens=1)) == 100 * 8_000_000 == hold(price, 0, 0, 100)


def test_an_image_and_a_request_may_have_a_price(monkeypatch: pytest.MonkeyPatch) -> None:
    price = _priced(monkeypatch, **PLAIN, input_cost_per_image=0.001, input_cost_per_request=0.005)
    assert cost(price, Usage(0, 0), images=2) == 7 * 10**9 == hold(price, 0, 2, 0)


def test_a_model_that_always_searches_costs_a_search_a_request() -> None:
    assert price_of("openai", "gpt-4o-search-preview").request == 25 * 10**9
    assert price_of("openai", "gpt-4o").request == 0


def test_the_dearer_region_is_charged_where_the_region_is_not_known() -> None:
    row = price_map.find("vertex_ai", "gemini-3.8-flash")
    assert row is not None
    assert price_of("vertex_ai", "gemini-3.8-flash").tiers[0].input == round(
        row["input_cost_per_token"] * 1.1e12
    )
    plain, regional = (
        price_of("openai", "gpt-5.6", base_url=url).tiers[0] for url in (None, "https://eu/v1")
    )
    assert regional.input == plain.input * 11 // 10


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"input_cost_per_token": 1e-6},
        {"input_cost_per_token": 1e-6, "output_cost_per_token": 0},
        {"input_cost_per_token": "1e-6", "output_cost_per_token": 1e-6},
        {"input_cost_per_token": -1e-6, "output_cost_per_token": 1e-6},
        {"input_cost_per_token": float("inf"), "output_cost_per_token": 1e-6},
        {"input_cost_per_token": True, "output_cost_per_token": 1e-6},
        {"tiered_pricing": []},
        {"tiered_pricing": [PLAIN]},
        {"tiered_pricing": [{"range": [0, 10], "input_cost_per_token": 1e-6}]},
        {**PLAIN, "mode": "image_generation"},
    ],
)
def test_a_row_that_does_not_price_every_token_is_refused(
    monkeypatch: pytest.MonkeyPatch, row: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match="No price is known"):
        _priced(monkeypatch, **row)


def test_a_discount_that_is_not_published_is_not_assumed(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in ({}, {"cache_read_input_token_cost": 0, "cache_creation_input_token_cost": 0}):
        (rates,) = _priced(monkeypatch, **PLAIN, **row).tiers
        assert rates.cached_input == rates.cache_write == rates.input


@pytest.mark.slow
def test_no_bill_is_below_what_litellm_computes() -> None:
    """LiteLLM itself, in a process of its own: importing it costs seconds and patches things."""
    asked = [
        (provider, model, tokens, thought, cached)
        for provider, model in [
            ("openai", "gpt-4o"), ("openai", "gpt-5.6"), ("anthropic", "claude-haiku-4-5"),
            ("gemini", "gemini-2.5-pro"), ("xai", "grok-4.20"), ("dashscope", "qwen3-vl-plus"),
            ("mistral", "pixtral-large-latest"), ("vertex_ai", "gemini-3.8-flash"),
        ]
        for tokens in (1000, 200_000, 200_001, 300_000)
        for thought in (0, 50)
        for cached in (0, 400)
    ]  # fmt: skip
    env = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    done = subprocess.run(
        [sys.executable, "-c", THEIRS],
        input=json.dumps(asked),
        env=env,
        capture_output=True,
        check=True,
        text=True,
    )
    theirs = json.loads(done.stdout.splitlines()[-1])
    for (provider, model, tokens, thought, cached), dollars in zip(asked, theirs, strict=True):
        ours = cost(price_of(provider, model), Usage(tokens, 100, thought, cached))
        assert dollars * (1 - 1e-9) <= ours / 10**12 <= dollars * (1.1 + 1e-9), (
            model,
            tokens,
            thought,
            cached,
        )


THEIRS = """
import json, sys
from litellm import cost_per_token
from litellm.types.utils import CompletionTokensDetailsWrapper, PromptTokensDetailsWrapper, Usage
bills = []
for provider, model, tokens, thought, cached in json.load(sys.stdin):
    read = PromptTokensDetailsWrapper(cached_tokens=cached) if cached else None
    thoughts = CompletionTokensDetailsWrapper(reasoning_tokens=thought) if thought else None
    usage = Usage(
        prompt_tokens=tokens, completion_tokens=100, total_tokens=tokens + 100,
        prompt_tokens_details=read, completion_tokens_details=thoughts,
    )
    bills.append(sum(cost_per_token(model=model, custom_llm_provider=provider, usage_object=usage)))
print(json.dumps(bills))
"""
