"""What a configuration comes to: every default resolved, every input checked, nothing asked.

Whatever the user has to mend is found here, before a run folder is made or a byte is sent.
"""

from __future__ import annotations

import os
import platform
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pbclient.books import Books
from pbclient.conditions import Examples, Rules, refuse_combinations
from pbclient.config import LITELLM, MCQA, OEG, RunConfig
from pbclient.dataset import DataFolder, Sample, open_data
from pbclient.episode import Episode
from pbclient.errors import InputError
from pbclient.judge import Judge
from pbclient.kept import Filter, read_filter
from pbclient.model import Choice, Model, Say, judge_named, resolve
from pbclient.money import allowed, shown
from pbclient.open_ended import subset
from pbclient.open_episode import OpenEpisode
from pbclient.order import Order, seeded
from pbclient.pictures import Pictures
from pbclient.players import (
    Conversation,
    ModelPlayer,
    Player,
    View,
    baselines,
    choice_question,
    open_question,
)
from pbclient.prices import Price, describe
from pbclient.random_options import ForeignOptions
from providers import Provider
from providers.direct import speaks
from runs import RunFolder

BASELINE = "baseline"
DATA_VARIABLE = "PBCLIENT_DATA"
MOST_EPISODES = 5_000_000  # the order of a run is kept in memory

# A later life of the run asks the model again: something outside the question went wrong.
OWED = frozenset({"failed", "budget"})
# Its answer is there, and no verdict on it: the run's judge is asked again, or `pbclient judge` is.
UNJUDGED = "judge_failed"

# What earlier versions played with, whose run.json does not know these options.
DEFAULTS = {"mode": MCQA, "history": False, "resize": False, "shots": 0, "cot": False, "options": "valid"}

type Policy = Callable[[View], str]


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
        return None if self.config.max_cost is None else allowed(self.config.max_cost)

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
        """Whether both the model and its judge want this machine's memory."""
        return all(each is not None and each.local is not None for each in (self.model, self.judge))

    def row(self, sample: Sample) -> dict[str, Any]:
        """What the environment is made of. Raises `DataError`."""
        row = self.data.row(sample)
        return row if self.foreign is None else self.foreign.put_into(sample.dataset, row)

    def episode(
        self, sample: Sample, repeat: int, player: Player, books: Books, judge: Judge | None = None
    ) -> Episode | OpenEpisode:
        """An episode of this run, ready to be played."""
        if self.config.mode == OEG:
            return OpenEpisode(sample, repeat, self.rules, player, books, judge)
        examples = Examples(self.rules, self.data) if self.rules.shots else None
        return Episode(sample, repeat, self.rules, player, books, examples)

    def conversation(self, model: Model, pictures: Pictures) -> Conversation:
        """How this run puts its questions to `model`."""
        question = open_question if self.config.mode == OEG else choice_question(self.rules)
        return Conversation(pictures, question, model.image_limits)

    def player(self, model: Model, provider: Provider, pictures: Pictures) -> ModelPlayer:
        """Who answers for `model`, which stands behind `provider`."""
        return ModelPlayer(provider, model.params, self.conversation(model, pictures))

    def cache_dir(self, run_folder: Path) -> Path:
        """Where answers are kept; `--no-cache` shares none but still loses none of this run's."""
        if self.config.no_cache:
            return run_folder / "answers"
        return self.config.cache_dir or default_cache_dir()


def answers_folder(folder: RunFolder, cache_dir: Path | None) -> Path:
    """Where the answers of a recorded run are kept, unless `cache_dir` says otherwise."""
    if cache_dir is None and folder.manifest["settings"].get("no_cache"):
        return folder.path / "answers"
    return cache_dir or default_cache_dir()


def default_cache_dir() -> Path:
    """The user's cache folder for answers."""
    from platformdirs import user_cache_path

    return user_cache_path("pbclient") / "answers"


@contextmanager
def prepare(config: RunConfig, say: Say, *, asks: bool = True) -> Iterator[Plan]:
    """Resolve and check `config`; `say` hears of every choice that the user did not make.

    Who only looks and never asks (`asks=False`) needs no key.
    """
    policy, model = _who_answers(config, say, asks)
    chosen = _judge_choice(config)
    judge = None if chosen is None else resolve(chosen, say, asks=asks)
    rules, folder = _rules(config), _data_folder(config, say)
    keep = read_filter(config.filter)
    with open_data(folder, config.datasets or None, keep) as data:
        refuse_combinations(rules, config.mode, data.samples)
        _refuse_too_many(config, data)
        foreign = ForeignOptions.of(data, config.seed) if rules.random_options else None
        order = _order(config, data)
        out = config.out or _new_folder(config.provider, _name(config, model))
        manifest = _manifest(config, model, judge, data, keep, foreign)
        manifest["planned"] = _counts(data, order)
        if any(each is not None and not each.price.is_free for each in (model, judge)):
            say(_limit_line(config))
        yield Plan(config, policy, model, judge, data, order, rules, foreign, out, manifest)


def _name(config: RunConfig, model: Model | None) -> str:
    return model.name if model else config.model or "random"


def _who_answers(config: RunConfig, say: Say, asks: bool) -> tuple[Policy | None, Model | None]:
    """The baseline's policy, or the model that is asked."""
    if config.provider != BASELINE:
        return None, resolve(_model_choice(config), say, asks=asks)
    policies = baselines(config.seed)
    name = config.model or "random"
    if name not in policies:
        raise InputError(f"There is no baseline {name!r}: --model takes {', '.join(policies)}.")
    if config.mode == OEG:
        raise InputError("The baselines choose among options: --mode oeg needs a model.")
    return policies[name], None


def _model_choice(config: RunConfig) -> Choice:
    return Choice(
        provider=config.provider,
        model=config.model,
        base_url=config.base_url,
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        params=config.params,
        price=config.price,
        image_tokens=config.image_tokens,
        timeout=config.timeout,
        wire=config.wire,
        engine=config.engine,
        offline=config.offline,
    )


def _judge_choice(config: RunConfig) -> Choice | None:
    """The judge that the options name."""
    if config.judge_provider is None:
        return None
    return judge_named(
        config.judge_provider,
        model=config.judge_model,
        base_url=config.judge_base_url,
        max_tokens=config.judge_max_tokens,
        price=config.judge_price,
        timeout=config.timeout,
        wire=judge_wire(config.wire, config.judge_provider),
        # Eyes are the model's: a judge reads text.
        engine=replace(config.engine, mmproj=None),
        grammar=config.judge_grammar,
        offline=config.offline,
    )


def judge_wire(wire: str, provider: str) -> str:
    """The run's wire where it reaches the judge: only the model under test has to be reached by it."""
    return wire if speaks(provider) else LITELLM


def _rules(config: RunConfig) -> Rules:
    return Rules(
        hint=config.hint,
        reference=config.reference,
        history=config.history,
        resize=config.resize,
        shots=config.shots,
        cot=config.cot,
        random_options=config.options == "random",
        seed=config.seed,
    )


def _order(config: RunConfig, data: DataFolder) -> Order[Sample]:
    if config.mode == MCQA:
        return seeded(data.samples, seed=config.seed, limit=config.limit, repeat=config.repeat)
    chosen = {name: subset(samples, config.limit) for name, samples in data.samples.items()}
    return seeded(chosen, seed=config.seed, limit=None, repeat=config.repeat)


def _data_folder(config: RunConfig, say: Say) -> Path:
    if config.data is not None:
        return config.data
    named = os.environ.get(DATA_VARIABLE)
    if named:
        say(f"Data: {named} (from {DATA_VARIABLE}).")
        return Path(named)
    from pbclient.data_home import downloaded_folder
    from pbclient.samples import builtin_folder

    downloaded = downloaded_folder()
    if downloaded is not None:
        say(f"Data: {downloaded} (from `pbclient data download`).")
        return downloaded
    say("Data: the built-in samples, drawn for trying things out (`pbclient data download` gets the real).")
    return builtin_folder()


def _refuse_too_many(config: RunConfig, data: DataFolder) -> None:
    samples = sum(len(found[: config.limit]) for found in data.samples.values())
    if samples * config.repeat > MOST_EPISODES:
        raise InputError(
            f"--repeat {config.repeat} makes {samples * config.repeat:,} episodes; "
            f"a run takes up to {MOST_EPISODES:,}."
        )


def _limit_line(config: RunConfig) -> str:
    if config.max_cost is None:
        return "Limit: none (--max-cost none): the run may cost whatever it costs."
    return f"Limit: {shown(allowed(config.max_cost))} for the whole run (--max-cost changes it)."


def _counts(data: DataFolder, order: Order[Sample]) -> dict[str, int]:
    counts = dict.fromkeys(data.samples, 0)
    for sample in order.samples:
        counts[sample.dataset] += order.repeat
    return counts


def _new_folder(provider: str, model: str) -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{stamp}-{provider}-{model}")[:80]
    return Path("results") / f"{name}-{secrets.token_hex(2)}"


def _manifest(
    config: RunConfig,
    model: Model | None,
    judge: Model | None,
    data: DataFolder,
    keep: Filter,
    foreign: ForeignOptions | None,
) -> dict[str, Any]:
    """run.json: `config` is what defines the run, `settings` what may change when it is continued."""
    return {
        "schema": 1,
        "id": secrets.token_hex(8),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": {
            "benchmark": f"proactivebench {version('proactivebench')}",
            **_asked(config, model),
            "mode": config.mode,
            "judge": judge.described if judge else None,
            "datasets": list(data.samples),
            "filter": keep.recorded,
            "hint": config.hint,
            "reference": config.reference,
            "history": config.history,
            "resize": config.resize,
            "shots": config.shots,
            "cot": config.cot,
            "options": config.options,
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
            "wire": config.wire,
            "concurrency": config.concurrency,
            "rpm": config.rpm,
            "tpm": config.tpm,
            "timeout": config.timeout,
            "offline": config.offline,
            "no_cache": config.no_cache,
        },
        "prices": describe(model.price if model else Price.free()),
        # What `pbclient judge` has said of a judge of its own stays when the run goes on.
        **({"judge_prices": describe(judge.price)} if judge else {}),
        "dropped": {},
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("pbclient", "proactivebench", "litellm", "pillow")},
        },
    }


def _asked(config: RunConfig, model: Model | None) -> dict[str, Any]:
    if model is not None:
        return model.described
    return {"provider": BASELINE, "model": _name(config, None), "endpoint": None, "params": {}}
