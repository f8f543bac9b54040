"""What a model costs: where its price comes from, what a call may cost at most, what it did cost.

Prices are whole picodollars a token, so that a sum is exact and the hold is never below the
bill. Wherever the price map leaves a choice, the dearer reading is taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from decimal import Decimal
from typing import Any

from pbclient.errors import InputError
from pbclient.money.amounts import PICODOLLARS, picodollars_up
from providers.catalog import prices as price_map
from providers.types import Json
from providers.usage import Usage

MILLION = 10**6

# Answered on the user's own machine, or not by a model at all.
OWN_MACHINE = ("baseline", "llamacpp", "transformers", "ollama", "ollama_chat", "lemonade", "lm_studio")

# They search, or ask other models, on their own account: no bound on our tokens bounds their bill.
UNBOUNDED = re.compile(r"deep-research|multi-agent|model[-_]router|perplexity/preset")
# They search once in every call, at the row's price for a search.
SEARCHES = re.compile(r"(?:^|/)gpt-\S*-search|(?:^|/)sonar|gemini-\S*-search")
# Multipliers that depend on the region: Vertex AI's location, and an endpoint other than OpenAI's main one.
REGIONAL = ("regional_endpoint_uplift_multiplier",)
REGIONAL_ENDPOINTS = ("regional_processing_uplift_multiplier_eu", "regional_processing_uplift_multiplier_us")

# Rows for what answers in text; the others bill by the image, the second or the page.
CHAT = ("chat", "responses", "completion")

AMOUNT = re.compile(r"[0-9]{1,9}(?:\.[0-9]{0,12})?|\.[0-9]{1,12}")
THRESHOLD = re.compile(r"(?:input|output)_cost_per_token_above_([0-9]+)(k?)_tokens")


@dataclass(frozen=True, slots=True)
class Rates:
    """Picodollars a token, in requests of more than `above` input tokens.

    `hour_write` is what a token costs that the provider's cache keeps for an hour, `cache_write` for minutes.
    """

    above: int
    input: int
    output: int
    cached_input: int
    cache_write: int
    reasoning: int
    hour_write: int = 0


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs. `tiers` begin at 0 and rise; `image` and `request` are picodollars each.

    `source` says where the numbers are from, for people.
    """

    tiers: tuple[Rates, ...]
    image: int = 0
    request: int = 0
    source: str = ""

    @classmethod
    def free(cls) -> Price:
        """The price of a baseline and of a model on one's own machine."""
        return cls.flat(0, 0, source="free")

    @classmethod
    def flat(cls, input_rate: int, output_rate: int, *, source: str) -> Price:
        """One price for input and one for output, without tiers and discounts."""
        return cls((Rates(0, input_rate, output_rate, input_rate, input_rate, output_rate),), source=source)

    @property
    def sells_prefixes(self) -> bool:
        """Whether a prompt that begins as an earlier one is cheaper, so far as it does."""
        return any(rates.cached_input < rates.input for rates in self.tiers)

    @property
    def is_free(self) -> bool:
        """Whether no call can cost anything."""
        return not (self.image or self.request or any(any(astuple(rates)[1:]) for rates in self.tiers))


def price_of(
    provider: str,
    model: str,
    *,
    base_url: str | None = None,
    stated: str | None = None,
) -> Price:
    """The price of a model, or `InputError` when it is not known for sure.

    `stated` is `--price`, which wins. Behind a `base_url` a public model has the public price.
    """
    if stated is not None:
        return _stated(stated)
    if provider in OWN_MACHINE or (provider == "openrouter" and model.endswith(":free")):
        return Price.free()
    row = price_map.find(provider, model)
    if row is None and base_url is not None:
        row = price_map.find_public(model)
    price = _parse(row, model, regional=base_url is not None) if row is not None else None
    if price is None or UNBOUNDED.search(f"{provider}/{model}".lower()):
        asks = price_map.near(provider, model)
        sentence = f"No price is known for {provider} model {model}: {_STATE_IT}. {asks}"
        raise InputError(sentence.rstrip())
    return price


def bills_beside_tokens(provider: str, model: str) -> bool:
    """Whether a model searches, or asks others, on its own account: a price of tokens leaves that out."""
    named = f"{provider}/{model}".lower()
    return bool(UNBOUNDED.search(named) or SEARCHES.search(model.lower()) or named.endswith(":online"))


_STATE_IT = "state it with --price IN,OUT in dollars per million input and output tokens (0,0 if it is free)"


def dearest(price: Price, input_bound: int, *, caches: bool = False) -> tuple[int, int]:
    """Picodollars a token of input and of output: the dearest rates of every tier that a call could reach.

    `caches` is whether the call asks for the provider's cache, which may then keep its input for an hour.
    """
    most, into, out = max(input_bound, 1), 0, 0
    for rates in price.tiers:
        if rates.above < most:
            written = max(rates.cache_write, rates.hour_write if caches else 0)
            into = max(into, rates.input, rates.cached_input, written)
            out = max(out, rates.output, rates.reasoning)
    return into, out


def hold(price: Price, input_bound: int, images: int, max_tokens: int, *, caches: bool = False) -> int:
    """The most that a call can cost."""
    into, out = dearest(price, input_bound, caches=caches)
    return price.request + price.image * images + into * input_bound + out * max_tokens


def cost(price: Price, usage: Usage, images: int = 0) -> int:
    """What a call with this usage cost; never more than its hold, if the usage kept within the bounds."""
    rates = [rates for rates in price.tiers if rates.above < max(usage.input_tokens, 1)][-1]
    written = min(usage.cache_write_tokens, usage.input_tokens)
    cached = min(usage.cached_input_tokens, usage.input_tokens - written)
    fresh = usage.input_tokens - written - cached
    # Where thinking has its own price, it is the price of the whole answer of a model that thought.
    out = max(rates.output, rates.reasoning) if usage.reasoning_tokens else rates.output
    long = min(usage.hour_write_tokens, written)
    kept = (written - long) * rates.cache_write + long * max(rates.cache_write, rates.hour_write)
    tokens_in = fresh * rates.input + cached * rates.cached_input + kept
    return price.request + price.image * images + tokens_in + out * usage.output_tokens


def saved_by_prefix(price: Price, usage: Usage) -> int:
    """By how much a repeated prefix made a call cheaper; below zero where it was only written."""
    fresh = usage._replace(cached_input_tokens=0, cache_write_tokens=0)
    return cost(price, fresh) - cost(price, usage)


def describe(price: Price) -> dict[str, Json]:
    """The price for `run.json`: dollars per million tokens, and dollars an image and a request."""
    return {
        "source": price.source,
        "unit": "dollars per million tokens",
        "tiers": [
            {"above_input_tokens": rates.above}
            | {name: rate / MILLION for name, rate in asdict(rates).items() if name != "above"}
            for rates in price.tiers
        ],
        "per_image": price.image / PICODOLLARS,
        "per_request": price.request / PICODOLLARS,
    }


def stated_in(described: Mapping[str, Any] | None) -> str | None:
    """What the user stated, where that is what `describe` wrote down."""
    flag, _, text = str((described or {}).get("source")).partition(" ")
    return text if flag == "--price" else None


def _stated(text: str) -> Price:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2 or not all(AMOUNT.fullmatch(part) for part in parts):
        raise InputError(
            f"--price takes IN,OUT, two amounts in dollars per million tokens such as 2.50,10, not {text!r}."
        )
    into, out = (picodollars_up(Decimal(part) / MILLION) for part in parts)
    return Price.flat(into, out, source=f"--price {text}")


def _parse(row: price_map.Row, model: str, *, regional: bool) -> Price | None:
    """A row of the price map, or None where it does not say what every token costs."""
    if row.get("mode", "chat") not in CHAT:
        return None
    keys = REGIONAL + (REGIONAL_ENDPOINTS if regional else ())
    scale = max(Decimal(1), *(Decimal(str(row.get(key, 1))) for key in keys))
    tiers = _ranges(row, scale) if "tiered_pricing" in row else _thresholds(row, scale)
    # The map also writes 0 where no price is known: nobody is promised a free call on its word.
    if not tiers or not all(rates.input and rates.output for rates in tiers):
        return None
    request = _rate(row, "input_cost_per_request", scale) or 0
    searches = row.get("search_context_cost_per_query")
    if isinstance(searches, Mapping) and SEARCHES.search(model.lower()):
        request += max((picodollars_up(price) for price in searches.values()), default=0)
    image = _rate(row, "input_cost_per_image", scale) or 0
    return Price(tiers, image, request, source="LiteLLM's price map")


def _thresholds(row: price_map.Row, scale: Decimal) -> tuple[Rates, ...]:
    """Rates that change for the whole request above so many input tokens (`..._above_200k_tokens`)."""
    thresholds = {match.groups() for key in row if (match := THRESHOLD.fullmatch(key))}
    # xAI bills the dearer tier from the threshold on, the others beyond it.
    reached = 1 if row["litellm_provider"] == "xai" else 0
    suffixes = {0: ""}
    for number, kilo in thresholds:
        suffixes[int(number) * (1000 if kilo else 1) - reached] = f"_above_{number}{kilo}_tokens"
    tiers: list[Rates] = []
    for above, suffix in sorted(suffixes.items()):
        rates = _rates(row, above, scale, suffix, below=tiers[-1] if tiers else None)
        if rates is None:
            return ()
        tiers.append(rates)
    return tuple(tiers)


def _ranges(row: price_map.Row, scale: Decimal) -> tuple[Rates, ...]:
    """Rates by the range in which the request's input tokens fall (Alibaba's `tiered_pricing`)."""
    ranges = row["tiered_pricing"]
    if not all("range" in tier for tier in ranges):
        return ()
    ranges = sorted(ranges, key=lambda tier: tier["range"][0])
    starts = [0, *(int(tier["range"][0]) for tier in ranges[1:])]
    tiers = [_rates(tier, start, scale) for start, tier in zip(starts, ranges, strict=False)]
    return tuple(rates for rates in tiers if rates is not None) if all(tiers) else ()


def _rates(
    row: Mapping[str, Any], above: int, scale: Decimal, suffix: str = "", below: Rates | None = None
) -> Rates | None:
    """The rates of one tier; what a tier does not say is as in the tier `below` it."""

    def rate(key: str, otherwise: int | None) -> int | None:
        named = _rate(row, key + suffix, scale)
        return otherwise if named is None else named

    into = rate("input_cost_per_token", below.input if below else None)
    out = rate("output_cost_per_token", below.output if below else None)
    if into is None or out is None:
        return None
    image = rate("input_cost_per_image_token", None)
    into = max(into, image or 0)
    # A zero stands for an unknown discount, and without a published one there is none.
    cached = _rate(row, f"cache_read_input_token_cost{suffix}", scale) or into
    minutes = rate("cache_creation_input_token_cost", below.cache_write if below else None)
    written = max(into, minutes or 0)
    # Twice the input, as Anthropic publishes it, where a cache is priced but not its hour.
    hour = rate("cache_creation_input_token_cost_above_1hr", 2 * into if minutes else None) or 0
    thought = rate("output_cost_per_reasoning_token", below.reasoning if below else None) or out
    return Rates(above, into, out, cached, written, max(out, thought), hour)


def _rate(row: Mapping[str, Any], key: str, scale: Decimal) -> int | None:
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        return None
    return picodollars_up(Decimal(str(value)) * scale)
