"""Plan a run and describe it in run.json: every default resolved, every input checked, nothing asked.

Whatever the user has to mend is found before a run folder is made or a byte is sent.
"""

from __future__ import annotations

import platform
import random
import re
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pbclient
from pbclient.benchmark.open_ended import MANY, ONE, subset
from pbclient.benchmark.package import MCQA, OEG
from pbclient.calls.cached import default_cache_dir
from pbclient.config import RunConfig
from pbclient.data.filters import Filter, read_filter
from pbclient.data.folder import DataFolder, Sample, open_data
from pbclient.data.home import data_folder
from pbclient.episodes.episode import Episode, OpenEpisode
from pbclient.episodes.judge import Judge
from pbclient.episodes.players import Conversation, ModelPlayer, Player, Policy, baselines, question_of
from pbclient.episodes.random_options import ForeignOptions
from pbclient.episodes.rules import Examples, Rules, refuse_combinations
from pbclient.episodes.turns import TurnsEpisode
from pbclient.errors import InputError
from pbclient.images.pictures import Pictures
from pbclient.models.engines import several_images
from pbclient.models.model import Model, resolve
from pbclient.money.amounts import format_dollars, picodollars_down
from pbclient.money.books import Books
from pbclient.money.prices import Price, describe
from pbclient.progress import Say
from providers import Provider
from runs import RunError, RunFolder

BASELINE = "baseline"
# What earlier versions played with, whose run.json does not know these options.
DEFAULTS = {"mode": MCQA, "turns": ONE, **Rules().recorded}
MOST_EPISODES = 5_000_000  # the order of a run is kept in memory
_SETTINGS = ("wire", "concurrency", "rpm", "tpm", "timeout", "offline", "no_cache")

# A later life of the run asks the model again: something outside the question went wrong.
OWED = frozenset({"failed", "budget"})
# Its answer is there, and no verdict on it: the run's judge is asked again, or `pbclient judge` is.
UNJUDGED = "judge_failed"


@dataclass(frozen=True, slots=True)
class Order[T]:
    """(sample, repeat number) pairs; all first repeats come before any second one.

    A million of them take no more memory than the samples.
    """

    samples: tuple[T, ...]
    repeat: int

    def __len__(self) -> int:
        return len(self.samples) * self.repeat

    def __iter__(self) -> Iterator[tuple[T, int]]:
        return ((sample, number) for number in range(self.repeat) for sample in self.samples)


def seeded[T](samples: Mapping[str, Sequence[T]], *, seed: int, limit: int | None, repeat: int) -> Order[T]:
    """A seeded permutation in which every prefix is a fair sample.

    Each data set is shuffled on its own and its samples are spread evenly over the whole run, so a run
    that money or a hand stops early has seen every data set in proportion to its size.
    `limit` keeps the first so many of each data set's own shuffled order: a larger limit
    keeps them all and adds to them.
    """
    placed: list[tuple[float, str, T]] = []
    for dataset, all_samples in samples.items():
        # A string seed is hashed by random itself with sha512: stable across processes and machines.
        rng = random.Random(f"{seed}/{dataset}")
        shuffled = list(all_samples)
        rng.shuffle(shuffled)
        chosen = shuffled[:limit]
        for number, sample in enumerate(chosen):
            placed.append(((number + rng.random()) / len(chosen), dataset, sample))
    placed.sort(key=lambda item: item[:2])
    return Order(tuple([sample for _, _, sample in placed]), repeat)


def _order(config: RunConfig, data: DataFolder) -> Order[Sample]:
    """The order of a run. Raises `InputError` for more episodes than are kept in memory."""
    samples = sum(len(own[: config.limit]) for own in data.samples.values())
    if samples * config.repeat > MOST_EPISODES:
        raise InputError(
            f"--repeat {config.repeat} makes {samples * config.repeat:,} episodes; "
            f"a run takes up to {MOST_EPISODES:,}."
        )
    if config.mode == MCQA:
        return seeded(data.samples, seed=config.seed, limit=config.limit, repeat=config.repeat)
    chosen = {name: subset(samples, config.limit) for name, samples in data.samples.items()}
    return seeded(chosen, seed=config.seed, limit=None, repeat=config.repeat)


@dataclass(frozen=True)
class Plan:
    """A run, resolved: either a baseline's `policy` or the `model` that is asked.

    `foreign` are the suggestions that `--options random` puts into the rows.
    """

    config: RunConfig
    policy: Policy | None
    model: Model | None
    judge: Model | None
    data: DataFolder
    order: Order[Sample]
    rules: Rules
    foreign: ForeignOptions | None
    out: Path
    manifest: dict[str, Any]

    @property
    def limit(self) -> int | None:
        """`--max-cost` in picodollars."""
        return None if self.config.max_cost is None else picodollars_down(self.config.max_cost)

    @property
    def counts(self) -> dict[str, int]:
        """How many episodes each data set will have."""
        return dict(self.manifest["planned"])

    @property
    def owed(self) -> frozenset[str]:
        """The outcomes that this life of the run plays again."""
        return OWED | {UNJUDGED} if self.judge else OWED

    @property
    def in_phases(self) -> bool:
        """Whether model and judge take turns in this machine's memory; over several turns both stay in it."""
        return self.rules.turns == ONE and all(
            model is not None and model.local is not None for model in (self.model, self.judge)
        )

    def row(self, sample: Sample) -> dict[str, Any]:
        """What the environment is made of. Raises `DataError`."""
        row = self.data.row(sample)
        return row if self.foreign is None else self.foreign.put_into(sample.dataset, row)

    def episode(
        self, sample: Sample, repeat: int, player: Player, books: Books, judge: Judge | None = None
    ) -> Episode:
        """An episode of this run, ready to be played."""
        if self.rules.turns == MANY:
            return TurnsEpisode(sample, repeat, self.rules, player, books, judge=judge)
        if self.config.mode == OEG:
            return OpenEpisode(sample, repeat, self.rules, player, books, judge=judge)
        examples = Examples(self.rules, self.data) if self.rules.shots else None
        return Episode(sample, repeat, self.rules, player, books, examples)

    def conversation(self, model: Model, pictures: Pictures) -> Conversation:
        """How this run puts its questions to `model`."""
        question = question_of(self.rules, self.config.mode)
        return Conversation(pictures, question, model.image_limits, model.price.sells_prefixes)

    def player(self, model: Model, provider: Provider, pictures: Pictures) -> ModelPlayer:
        """Who answers for `model`, which stands behind `provider`."""
        return ModelPlayer(provider, model.params, self.conversation(model, pictures))

    def cache_dir(self, run_folder: Path) -> Path:
        """Where answers are kept; `--no-cache` shares none but still loses none of this run's."""
        if self.config.no_cache:
            return run_folder / "answers"
        return self.config.cache_dir or default_cache_dir()


@contextmanager
def prepare(config: RunConfig, say: Say, *, asks: bool = True) -> Iterator[Plan]:
    """Resolve and check `config`; `say` hears of every choice that the user did not make.

    Who only looks and never asks (`asks=False`) needs no key.
    """
    config = _with_recorded_limits(config)
    policy, model = _who_answers(config, say, asks)
    judge = resolve(config.judge_choice, say, asks=asks) if config.judge_choice else None
    rules, folder = config.rules, data_folder(config.data, say)
    keep = read_filter(config.filter)
    with open_data(folder, config.datasets or None, keep) as data:
        refuse_combinations(rules, config.mode, data.samples)
        if model is not None and (rules.history or rules.shots) and not several_images(model.local):
            given = "history" if rules.history else "shots"
            raise InputError(f"{model.name} takes one image at a time: leave --{given} out, or name another.")
        order = _order(config, data)
        foreign = ForeignOptions.of(data, config.seed) if rules.random_options else None
        out = config.out or _new_folder(config, model)
        manifest = _manifest(config, model, judge, data, keep, foreign)
        samples = Counter(sample.dataset for sample in order.samples)
        manifest["planned"] = {name: samples[name] * order.repeat for name in data.samples}
        if any(asked is not None and not asked.price.is_free for asked in (model, judge)):
            if config.max_cost is None:
                say("Limit: none (--max-cost none): the run may cost whatever it costs.")
            else:
                limit = format_dollars(picodollars_down(config.max_cost))
                say(f"Limit: {limit} for the whole run (--max-cost changes it).")
            if model is not None and model.unpriced:
                named = ", ".join(model.unpriced)
                say(f"WARNING: what {named} costs is not known: the limit may not hold, nor what is settled.")
        yield Plan(config, policy, model, judge, data, order, rules, foreign, out, manifest)


def _manifest(
    config: RunConfig,
    model: Model | None,
    judge: Model | None,
    data: DataFolder,
    keep: Filter,
    foreign: ForeignOptions | None,
) -> dict[str, Any]:
    """What run.json holds: `config` defines the run, `settings` may change when it is continued."""
    baseline = {"provider": BASELINE, "model": config.model or "random", "endpoint": None}
    return {
        "schema": 1,
        "id": secrets.token_hex(8),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": {
            "benchmark": f"proactivebench {version('proactivebench')}",
            **(model.described if model else {**baseline, "params": {}}),
            "mode": config.mode,
            **({"turns": config.turns} if config.mode == OEG else {}),
            "judge": judge.described if judge else None,
            "datasets": list(data.samples),
            "filter": keep.recorded,
            **config.rules.recorded,
            "foreign_options": foreign.digest if foreign else None,
            "limit": config.limit,
            "seed": config.seed,
            "repeat": config.repeat,
        },
        "data": data.described,
        "settings": {
            "max_cost": None if config.max_cost is None else float(config.max_cost),
            "model": model.name if model else None,
            "judge": judge.name if judge else None,
            "unpriced_params": list(model.unpriced) if model else [],
            **{name: getattr(config, name) for name in _SETTINGS},
        },
        "prices": describe(model.price if model else Price.free()),
        # What `pbclient judge` has said of a judge of its own stays when the run goes on.
        **({"judge_prices": describe(judge.price)} if judge else {}),
        "dropped": {},
        "versions": {
            "python": platform.python_version(),
            "pbclient": pbclient.__version__,
            **{name: version(name) for name in ("proactivebench", "litellm", "pillow")},
        },
    }


def _with_recorded_limits(config: RunConfig) -> RunConfig:
    """Where it names no output limits, with those of the run in `out`: the defaults may be others by now."""
    if config.out is None:
        return config
    try:
        recorded = RunFolder.read(config.out).manifest["config"]
    except RunError:
        return config  # there is no run yet, or whoever opens it will say what is wrong
    judge = recorded.get("judge") if config.judge_provider else None
    return replace(
        config,
        max_tokens=config.max_tokens or _recorded_limit(recorded),
        judge_max_tokens=config.judge_max_tokens or _recorded_limit(judge),
    )


def _recorded_limit(described: Any) -> int | None:
    """The output limit in what `Model.described` wrote down; None where nothing of the kind stands."""
    params = described.get("params") if isinstance(described, Mapping) else None
    most = params.get("max_tokens") if isinstance(params, Mapping) else None
    return most if isinstance(most, int) and most > 0 else None


def _who_answers(config: RunConfig, say: Say, asks: bool) -> tuple[Policy | None, Model | None]:
    """The baseline's policy, or the model that is asked."""
    if config.provider != BASELINE:
        return None, resolve(config.model_choice, say, asks=asks)
    policies = baselines(config.seed)
    name = config.model or "random"
    if name not in policies:
        raise InputError(f"There is no baseline {name!r}: --model takes {', '.join(policies)}.")
    if config.mode == OEG:
        raise InputError("The baselines choose among options: --mode oeg needs a model.")
    return policies[name], None


def _new_folder(config: RunConfig, model: Model | None) -> Path:
    """A folder below ./results whose name says when it was made, who answers and under which conditions."""
    name = model.name if model else config.model or "random"
    parts = [datetime.now().strftime("%Y%m%d-%H%M%S"), config.provider, name]
    conditions = [*([OEG] if config.mode == OEG else []), *config.rules.words]
    named, under = (re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(words)) for words in (parts, conditions))
    # A long name of a model hides no condition.
    return Path("results") / "-".join(part for part in (named[:80], under, secrets.token_hex(2)) if part)
