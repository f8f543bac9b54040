"""Resolve and check one model: who is asked, where, with which options and at what price.

The model under test and the judge are resolved alike. Nothing is asked and nothing heavy is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pbclient.benchmark.package import OEG
from pbclient.benchmark.protocol import NEW_TOKENS, PAPER
from pbclient.errors import InputError
from pbclient.models.choice import BY_PROTOCOL, DIRECT, LITELLM, Choice, unpriced
from pbclient.models.engines import LLAMACPP, LOCAL, TRANSFORMERS, Local, engine
from pbclient.money.bounds import Bounds, output_limit
from pbclient.money.prices import Price, bills_beside_tokens, price_of
from pbclient.progress import Say
from providers import Json, Request
from providers.catalog import names as catalog
from providers.catalog import prices as price_map
from providers.catalog.image_limits import ImageLimits, limits_of
from providers.catalog.target import Target, sendable
from providers.direct.anthropic import NO_EFFORT
from providers.direct.wire import Direct, speaks

if TYPE_CHECKING:
    from providers.hosted.wire import Hosted

ANTHROPIC, VLLM = "anthropic", "hosted_vllm"

# Output tokens: a hold covers all of them, whatever the answer takes.
ANSWER, THOUGHT = 1024, 8192


@dataclass(frozen=True)
class Model:
    """A model that can be asked: in an engine on this machine (`local`), else at its `target`.

    `params` are the options as sent, `identity` is its part of a key.
    """

    choice: Choice
    name: str
    identity: Mapping[str, Json]
    params: Mapping[str, Json]
    price: Price
    target: Target | None = None
    local: Local | None = None
    # The options of which nobody knows what they add to a bill.
    unpriced: tuple[str, ...] = ()

    @property
    def provider(self) -> str:
        return self.choice.provider

    @property
    def title(self) -> str:
        """As people and files name it."""
        return f"{self.provider}/{self.name}"

    @property
    def described(self) -> dict[str, Json]:
        """As a run folder names it: everything that is part of its keys, and its options."""
        grammar: dict[str, Json] = {"grammar": True} if self.choice.grammar else {}
        return {**self.identity, "params": dict(self.params), **grammar}

    @property
    def bounds(self) -> Bounds:
        """The most that its calls can cost."""
        choice = self.choice
        flag = choice.flag("max-tokens")
        return Bounds(self.provider, self.name, self.price, choice.image_tokens, self.image_limits, flag)

    @property
    def output_limit(self) -> int:
        """The most output tokens of a call."""
        return output_limit(Request((), self.params))

    @property
    def context(self) -> int | None:
        """The most input tokens that it reads, where its own provider is asked and the price list says so."""
        row = None if self._endpoint else price_map.find(self.provider, self.name)
        most = row.get("max_input_tokens") if row else None
        return most if isinstance(most, int) else None

    @property
    def image_limits(self) -> ImageLimits:
        """What its provider takes in a request."""
        return limits_of(self.provider, self.name, self._endpoint)

    @property
    def by_litellm(self) -> bool:
        """Whether its calls go through LiteLLM."""
        return self.local is None and self.choice.wire == LITELLM

    @property
    def can_be_direct(self) -> bool:
        """Whether it is asked through LiteLLM and could do without."""
        return self.by_litellm and speaks(self.provider) and not _needs_litellm(self.choice)

    @property
    def _endpoint(self) -> str | None:
        return self.target.endpoint if self.target else None

    def connect(self) -> Hosted | Direct | Local:
        """The provider itself; its library is imported, or its engine started, by the first call."""
        if self.target is None:
            assert self.local is not None
            return self.local
        if self.choice.wire == DIRECT:
            return Direct(self.target, self.choice.timeout)
        from providers.hosted.wire import Hosted

        return Hosted(self.target, self.choice.timeout)


def resolve(choice: Choice, say: Say, *, asks: bool = True) -> Model:
    """The model that `choice` names. Raises `InputError`; `say` hears what the user did not choose.

    Who only looks and never asks (`asks=False`) needs no key.
    """
    if choice.grammar and choice.provider not in LOCAL and choice.base_url is None:
        raise InputError(
            f"{choice.provider} takes no grammar: leave --judge-grammar out, or name a judge on this machine."
        )
    if choice.provider in LOCAL:
        return _local(choice, say)
    if choice.prefix and not speaks(choice.provider):
        choice = replace(choice, wire=LITELLM)  # only the model under test has to be reached by `--wire`
    try:
        entry = catalog.lookup(choice.provider)
    except LookupError as error:
        raise InputError(str(error)) from None
    name = choice.model or entry.default_model
    try:
        target = Target.of(choice.provider, name or "", choice.base_url)
    except ValueError as error:
        raise InputError(f"{choice.flag('base-url')}: {error}") from None
    _refuse_wire(choice, target)
    if asks and not choice.offline:
        _refuse_key(target)
    if name is None:
        raise InputError(f"{choice.provider} has no default model: name one with {choice.flag('model')}.")
    if choice.model is None:
        role = "Judge" if choice.prefix else "Model"
        say(f"{role}: {name} (the default for {choice.provider}; {choice.flag('model')} names another).")
    if choice.sees:
        _refuse_blind(choice, name, say)
    params = _params(choice, name)
    price = _price(choice, name, target)
    return Model(
        choice,
        name,
        dict(target.identity),
        params,
        price,
        target,
        unpriced=_unpriced(choice, name, target, price),
    )


def _local(choice: Choice, say: Say) -> Model:
    """A model on this machine, which costs nothing."""
    if choice.model is None:
        what = "a .gguf file" if choice.provider == LLAMACPP else "a folder, or a name on the hub"
        raise InputError(f"{choice.provider} has no default model: name {what} with {choice.flag('model')}.")
    if choice.base_url is not None:
        raise InputError(
            f"{choice.provider} starts its own engine: leave {choice.flag('base-url')} out, or ask a server "
            f"that runs already with {choice.flag('provider')} openai."
        )
    local = engine(
        choice.provider, choice.model, choice.engine, choice.timeout, say, fetch=not choice.offline
    )
    params = _params(choice, local.name)
    return Model(choice, local.name, local.identity, params, Price.free(), local=local)


def default_max_tokens(provider: str, model: str, answer: int = ANSWER) -> int:
    """Room for an `answer`, or for a reasoning model to think, within what the model can give.

    2,048 where the price list does not know the model: it may think, and small servers refuse a limit
    above their context.
    """
    row = price_map.find(provider, model)
    if row is None:
        return 2048
    return within_output(provider, model, THOUGHT if row.get("supports_reasoning") else answer)


def within_output(provider: str, model: str, wanted: int) -> int:
    """So many output tokens, or as many as the model can give where the price list says that it is less."""
    row = price_map.find(provider, model) or {}
    most = row.get("max_output_tokens") or row.get("max_tokens")
    return min(wanted, int(most)) if most else wanted


def _refuse_wire(choice: Choice, target: Target) -> None:
    """Raise for what could only fail once it is asked."""
    if choice.provider == VLLM and not target.endpoint:
        raise InputError(f"{VLLM} is a server of your own: name it with {choice.flag('base-url')}.")
    if choice.wire != DIRECT:
        return
    if not speaks(choice.provider):
        raise InputError(f"{choice.provider} is not reached by --wire direct: use --wire litellm.")
    if _needs_litellm(choice):
        raise InputError(NO_EFFORT)


def _refuse_key(target: Target) -> None:
    """Raise for a key that is missing, or that cannot stand in a request."""
    if target.key is None and target.entry.key_variables:
        names = " or ".join(target.entry.key_variables)
        raise InputError(f"{target.provider} needs a key: set the environment variable {names}.")
    if target.key is not None and not sendable(target.key):
        raise InputError(
            f"The key in {target.key_holder()} holds a character that no key has, such as a line break at "
            "its end or a typographer's quote: set it again."
        )


def _needs_litellm(choice: Choice) -> bool:
    return choice.provider == ANTHROPIC and choice.params.get("reasoning_effort") is not None


def _refuse_blind(choice: Choice, name: str, say: Say) -> None:
    sees = price_map.supports_vision(choice.provider, name)
    if sees is False:
        raise InputError(f"{name} does not take images: name a vision model with {choice.flag('model')}.")
    if sees is None and price_map.find(choice.provider, name):
        say(f"The price list does not say that {name} takes images; the first call will tell.")


def _params(choice: Choice, name: str) -> dict[str, Json]:
    """The sampling options as they are sent; the paper's protocol leaves them to the model's own settings."""
    paper = choice.protocol == PAPER
    most = choice.max_tokens
    if most is None and paper:
        most = within_output(choice.provider, name, NEW_TOKENS[choice.mode])
    params: dict[str, Json] = {"max_tokens": most or default_max_tokens(choice.provider, name)}
    temperature = choice.temperature
    if temperature == BY_PROTOCOL:
        temperature = None if paper else 0.0
    if temperature is not None:
        params["temperature"] = temperature
    elif paper and choice.mode == OEG and choice.provider == TRANSFORMERS:
        params["do_sample"] = True
    return {**params, **choice.params}


def _unpriced(choice: Choice, model: str, target: Target, price: Price) -> tuple[str, ...]:
    """The options of unknown price. Raises `InputError` for one that a limit of dollars does not allow."""
    if price.is_free and choice.provider != "openrouter":  # where a free model still searches for money
        return ()
    stated = choice.price is not None
    names = [*unpriced(choice.provider, choice.params, server=target.endpoint is not None, stated=stated)]
    if stated and bills_beside_tokens(choice.provider, model):
        names.append("model")
        if choice.max_cost is not None:
            raise InputError(
                f"{model} searches on its own account, which {choice.flag('price')} leaves out, so "
                "--max-cost might not hold: ask another model, or lift the limit with --max-cost none."
            )
    for name in names:
        if choice.max_cost is not None and name not in choice.allow_params:
            raise InputError(
                f"--param {name}: what it adds to a bill by {choice.provider} is not known, so --max-cost "
                f"might not hold. Leave it out, lift the limit with --max-cost none, or take it on your own "
                f"word with --allow-param {name}."
            )
    return tuple(names)


def _price(choice: Choice, name: str, target: Target) -> Price:
    try:
        return price_of(choice.provider, name, base_url=target.endpoint, stated=choice.price)
    except InputError as error:
        # Offline nothing can be spent, and what the cache saved may stay unknown.
        if choice.offline and choice.price is None:
            return Price.free()
        raise InputError(str(error).replace("--price", choice.flag("price"))) from None
