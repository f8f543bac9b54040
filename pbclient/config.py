"""What a user asks for: frozen values that the command line, a notebook and a test fill alike.

Only what can be checked without files, network or keys is checked here; what the options come to (a default
model, a price, a data folder) is resolved in `scheduler/plan.py`. The command line is made from these
fields: importing them has to stay cheap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pbclient.benchmark.open_ended import MANY, ONE
from pbclient.benchmark.package import MCQA, OEG
from pbclient.benchmark.protocol import PAPER, STRICT
from pbclient.episodes.rules import Rules
from pbclient.errors import InputError
from pbclient.models.choice import BY_PROTOCOL, DIRECT, LITELLM, Choice, judge_named, refuse_own_options
from pbclient.models.engines import EngineOptions
from pbclient.option import REQUIRED, Rule, check, flag, like, number, one_of, option, options, whole

if TYPE_CHECKING:
    from providers.types import Json

DEFAULT_MAX_COST = Decimal(5)
AS_THE_RUN = "as the run"

_DOLLARS = number("a number of dollars up to a billion, or none", least=0)


@dataclass(frozen=True, kw_only=True)
class CallLimits:
    """How many calls at once and a minute, and how long one may take."""

    concurrency: int = option(
        1024, "Most calls at once; how many there are follows from the rate.", group="speed", rule=whole()
    )
    rpm: int | None = option(None, "Most requests a minute.", group="speed", rule=whole())
    tpm: int | None = option(None, "Most tokens a minute.", group="speed", rule=whole())
    timeout: float = option(
        300.0, "Seconds for one attempt.", group="speed", rule=number("a positive number of seconds", above=0)
    )


@dataclass(frozen=True, kw_only=True)
class JudgeOptions:
    """Who judges open-ended answers."""

    judge_provider: str | None = option(
        None, "Who judges; `pbclient judge` asks the run's own judge by default.", group="who"
    )
    judge_model: str | None = option(None, "The judge's name at its provider.", group="who")
    judge_base_url: str | None = option(None, "Any server that speaks the judge's protocol.", group="who")
    judge_max_tokens: int | None = option(
        None, "Output limit of the judge; by default what suits it.", group="who", rule=whole()
    )
    judge_grammar: bool = option(
        False, "Let a judge on this machine write nothing but a verdict: it always parses.", group="who"
    )
    judge_price: str | None = option(None, "IN,OUT as with --price, for the judge.", group="money")

    @property
    def judge_fields(self) -> dict[str, Any]:
        """What is named of a judge, by the fields of `Choice`."""
        names = ("provider", "model", "base_url", "max_tokens", "grammar", "price")
        return {name: getattr(self, f"judge_{name}") for name in names}


@dataclass(frozen=True, kw_only=True)
class RunConfig(EngineOptions, CallLimits, JudgeOptions):
    """The options of `pbclient run`, named as its flags are. Raises `InputError` on values that cannot be.

    `limit` is in samples per data set, `max_cost` in dollars for the whole run (None lifts it),
    `price` is "IN,OUT" in dollars per million tokens, `timeout` in seconds per attempt.
    `max_tokens` None means a default that suits the model, or what the `protocol` ("strict" or "paper")
    says. `turns` is "one" or "many" in open-ended mode. `filter` is "official", "none" or a file
    that `pbclient filter` wrote, `wire` "litellm" or "direct", `mode` is "mcqa" or "oeg", `options`
    "valid" or "random"; `judge="none"` records open-ended answers without a verdict.
    """

    provider: str = option(REQUIRED, "Who answers; `pbclient providers` lists them.", group="who")
    model: str | None = option(
        None, "Its name at the provider; a current vision model by default.", group="who"
    )
    base_url: str | None = option(None, "Any server that speaks the provider's protocol.", group="who")
    wire: str = option(
        LITELLM,
        "Direct: without LiteLLM, at a small part of its processor time.",
        group="who",
        rule=one_of(LITELLM, DIRECT),
    )
    max_tokens: int | None = option(
        None,
        "Output limit of a call; by default what suits the model, or what the paper's protocol says.",
        group="who",
        rule=whole(),
    )
    temperature: float | str | None = option(
        BY_PROTOCOL,
        "0 in strict, the model's own settings in paper; dropped where the model rejects it.",
        group="who",
        rule=number("zero or more", least=0),
    )
    params: Mapping[str, Json] = option(
        dict, "NAME=JSON, sent as it is; repeatable.", group="who", flag="--param"
    )
    allow_params: tuple[str, ...] = option(
        (),
        "Take a --param of unknown price: the limit may not hold; repeatable.",
        group="money",
        flag="--allow-param",
    )
    data: Path | None = option(
        None,
        "The test/ folder; by default $PBCLIENT_DATA, what was downloaded, or built-in samples.",
        group="what",
    )
    datasets: tuple[str, ...] = option(
        (), "ROD, VSOD, MVP-N, IN-C, QD, CIT or COCO; repeatable.", group="what", flag="--dataset"
    )
    filter: str = option(
        "official",
        "Which samples: official, none (all), or a FILE that `pbclient filter` wrote.",
        group="what",
    )
    limit: int | None = option(
        None, "Samples per data set; all by default, in oeg the benchmark's 100.", group="what", rule=whole()
    )
    seed: int = option(0, "Seed of the order of episodes.", group="what", rule=whole(None))
    repeat: int = option(1, "How often each episode is played.", group="what", rule=whole())
    hint: bool = option(False, "Add the benchmark's hint to each question.", group="what")
    reference: bool = option(False, "Show the unoccluded reference image only.", group="what")
    history: bool = option(False, "Keep the conversation so far, images included.", group="what")
    resize: bool = option(False, "Scale frames as the package does: short edge 224, not COCO.", group="what")
    shots: int = option(0, "Examples before the question (ROD, MVP-N).", group="what", rule=whole(0))
    cot: bool = option(False, "Examples that reason aloud; goes with --shots.", group="what")
    options: str = option(
        "valid",
        "Random: suggestions that belong to other data sets.",
        group="what",
        rule=one_of("valid", "random"),
    )
    mode: str = option(
        MCQA, "Multiple choice, or open-ended answers with a judge.", group="what", rule=one_of(MCQA, OEG)
    )
    turns: str = option(
        ONE,
        "Of an open-ended episode; many: a suggestion brings the next frame.",
        group="what",
        rule=one_of(ONE, MANY),
    )
    judge: str | None = option(
        None,
        "None: record answers, and judge them later.",
        group="what",
        rule=Rule("none (a judge is named with --judge-provider)", "none".__eq__, ("none",)),
    )
    protocol: str = option(
        STRICT,
        "Paper: as the published example, where every answer is scored however it ended.",
        group="what",
        rule=one_of(STRICT, PAPER),
    )
    max_cost: Decimal | None = option(
        DEFAULT_MAX_COST, "Dollars that the whole run may cost, or none.", group="money", rule=_DOLLARS
    )
    price: str | None = option(
        None, "IN,OUT in dollars per million tokens, for a model of unknown price.", group="money"
    )
    image_tokens: int | None = option(
        None,
        "Most tokens that one image is billed for; by default the provider's published rule.",
        group="money",
        rule=whole(),
    )
    release_holds: bool = option(False, "Free the holds of calls whose end is unknown.", group="money")
    out: Path | None = option(
        None, "The run folder, new or to be continued; else under ./results/.", group="where"
    )
    cache_dir: Path | None = option(
        None, "Where answers are kept; by default the user's cache folder.", group="where"
    )
    no_cache: bool = option(False, "Share no answers with other runs.", group="where")
    offline: bool = option(False, "Ask nobody: a miss is an error that names what differs.", group="where")

    def __post_init__(self) -> None:
        check(self)
        self.refuse_others({self.provider, self.judge_provider or ""})
        self._check_judge()
        if self.no_cache and self.offline:
            raise InputError("--offline answers from the cache: it cannot go with --no-cache.")
        refuse_own_options(self.params)
        for name in self.allow_params:
            if name not in self.params:
                raise InputError(f"--allow-param {name}: there is no --param {name} to allow.")

    @property
    def rules(self) -> Rules:
        """The conditions under which episodes are played."""
        return like(Rules, self, random_options=self.options == "random")

    @property
    def model_choice(self) -> Choice:
        """The model that the options name."""
        return like(Choice, self)

    @property
    def judge_choice(self) -> Choice | None:
        """The judge that the options name."""
        if self.judge_provider is None:
            return None
        # Eyes are the model's: a judge reads text.
        engine = replace(self.engine, mmproj=None)
        calls = {name: getattr(self, name) for name in ("timeout", "wire", "offline", "protocol")}
        return judge_named(**self.judge_fields, engine=engine, **calls)

    def _check_judge(self) -> None:
        """A judge where one is needed, and none where it would have nothing to do."""
        given = [
            flag(each)
            for each in options(self)
            if each.name.startswith("judge_") and getattr(self, each.name) not in (None, False)
        ]
        if self.mode == MCQA and (given or self.judge):
            first = given[0] if given else "--judge"
            raise InputError(f"{first} belongs to --mode oeg: multiple choice needs no judge.")
        if self.turns == MANY and self.mode != OEG:
            raise InputError("--turns belongs to --mode oeg: multiple choice always has many.")
        if self.turns == MANY and self.judge == "none":
            raise InputError(
                "--turns many needs a judge, whose verdict on each answer decides what comes next: name one "
                "with --judge-provider."
            )
        if self.judge == "none" and given:
            raise InputError(f"--judge none asks no judge: leave it or {given[0]} out.")
        if self.mode == OEG and self.judge is None and self.judge_provider is None:
            raise InputError(
                "--mode oeg needs a judge: name one with --judge-provider, or only record with --judge none."
            )


@dataclass(frozen=True, kw_only=True)
class JudgeConfig(EngineOptions, CallLimits, JudgeOptions):
    """The options of `pbclient judge`. Without a `judge_provider` the run's own judge is asked again.

    `max_cost` is in dollars for the whole run, judging included; it may stay as the run has it.
    Raises `InputError` on values that cannot be.
    """

    only_failed: bool = option(
        False, "Only answers that this judge of the run left without a verdict.", group="what"
    )
    max_cost: Decimal | str | None = option(
        AS_THE_RUN,
        "Dollars that the whole run may cost, judging included, or none.",
        group="money",
        rule=_DOLLARS,
    )
    cache_dir: Path | None = option(
        None, "Where answers are kept; by default as the run keeps them.", group="where"
    )
    offline: bool = option(False, "Ask nobody: only verdicts that the cache holds.", group="where")

    def __post_init__(self) -> None:
        check(self)
        if self.judge_provider is None and (self.judge_model or self.judge_base_url):
            raise InputError("--judge-model and --judge-base-url go with --judge-provider: name it too.")
        self.refuse_others({self.judge_provider or ""})
