"""A recorded run as a report reads it: its episodes held against their own turns, figures, and facts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pbclient.benchmark.package import MCQA, OEG
from pbclient.compare.recorded import read_runs
from pbclient.episodes.rules import Rules
from pbclient.money.amounts import format_amount
from pbclient.report.html.text import host, sentence
from pbclient.scores.rescore import judge_lines, rescore
from pbclient.scores.summary import mode_of, summarize
from runs import Balance, Episode, Episodes, RunFolder

_LONGEST_LABEL = 16  # two of them and a minus stand beside a chart

type Summary = Mapping[str, Any]


@dataclass(frozen=True)
class Reported:
    """One run. `label` is its name among the others, `torn` how many lines no episode could be read from.

    `judges` are the lines of judges beside the run's own.
    """

    label: str
    folder: RunFolder
    episodes: Sequence[Episode]
    summary: Summary
    judges: Mapping[str, Sequence[Episode]]
    torn: int

    @property
    def config(self) -> Mapping[str, Any]:
        config: Mapping[str, Any] = self.folder.manifest["config"]
        return config

    @property
    def mode(self) -> str:
        return mode_of(self.folder.manifest)

    @property
    def rules(self) -> Rules:
        """How its environments were run."""
        return Rules.of(self.config)

    @property
    def model(self) -> str:
        return sentence(f"{self.config.get('provider', '')} {self.config.get('model', '')}".strip())


def read_reported(paths: Sequence[Path]) -> list[Reported]:
    """The runs in these folders, named by them or by letters. Raises `InputError` or `runs.RunError`."""
    recorded = read_runs(paths)
    names = [path.resolve().name for path in paths]
    named = len(set(names)) == len(names) and max(map(len, names)) <= _LONGEST_LABEL
    labels = names if named or len(names) == 1 else [run.label for run in recorded]
    return [_reported(label, run.path) for label, run in zip(labels, recorded, strict=True)]


def _reported(label: str, path: Path) -> Reported:
    folder = RunFolder.read(path)
    lines = Episodes(folder.episodes)
    mode = mode_of(folder.manifest)
    episodes = [rescore(episode, mode) for episode in lines.read()]
    judges = {judge: list(verdicts) for judge, verdicts in judge_lines(folder.path).items()}
    limit = folder.manifest["settings"].get("max_cost")
    summary = summarize(folder.manifest, episodes, Balance.read(folder.ledger), judges, limit)
    return Reported(label, folder, episodes, summary, judges, lines.skipped)


def facts(run: Reported) -> Iterator[tuple[str, str]]:
    """What was asked, when, with what, at what price: for the head of a page."""
    manifest, config = run.folder.manifest, run.config
    yield "Model", run.model
    if endpoint := config.get("endpoint"):
        yield "Server", sentence(host(str(endpoint)))
    if run.mode == OEG:
        judge = config.get("judge") or manifest.get("judge")
        named = f"{judge.get('provider')} {judge.get('model')}" if isinstance(judge, Mapping) else "none"
        yield "Judge", sentence(named)
    yield "Condition", _condition(run)
    yield "Samples", _samples(run)
    yield "Options", ", ".join(f"{name} {_value(value)}" for name, value in _params(config)) or "default"
    yield "Started", sentence(manifest.get("created", "unknown")).replace("T", " ").replace("+00:00", " UTC")
    versions = manifest.get("versions")
    if isinstance(versions, Mapping):
        yield "Versions", sentence(", ".join(f"{name} {version}" for name, version in versions.items()))
    yield "Price", _price(manifest.get("prices"))
    cost, calls = run.summary["cost"], run.summary["calls"]
    limit = "no limit" if cost["limit"] is None else f"limit {format_amount(cost['limit'])}"
    held = f", {format_amount(cost['held'])} held" if cost["held"] else ""
    saved = f", {format_amount(cost['saved_by_cache'])} saved by the cache" if cost["saved_by_cache"] else ""
    yield "Cost", f"{format_amount(cost['settled'])} settled{held} ({limit}){saved}"
    yield "Calls", f"{calls['wire']:,} calls, {calls['hits']:,} hits, {calls['retries']:,} retries"
    outcomes = Counter[str]()
    for entry in run.summary["datasets"].values():
        outcomes.update(entry["outcomes"])
        outcomes["not run"] += entry["n"] - sum(entry["outcomes"].values())
    found = [f"{count:,} {outcome.replace('_', ' ')}" for outcome, count in outcomes.items() if count]
    torn = [f"{run.torn:,} torn lines passed over"] if run.torn else []
    yield "Episodes", ", ".join(found + torn) or "none"


def _condition(run: Reported) -> str:
    kind = "multiple choice" if run.mode == MCQA else "open-ended"
    return ", ".join([kind, *(run.rules.words or ("as published",))])


def _samples(run: Reported) -> str:
    config = run.config
    filter_ = config.get("filter") or "official"
    kept = f"filter {filter_}" if isinstance(filter_, str) else "own filter"
    limit = f", {config['limit']} a data set" if config.get("limit") else ""
    repeat = f", each {config['repeat']} times" if (config.get("repeat") or 1) != 1 else ""
    return sentence(f"{', '.join(run.summary['datasets']) or 'none'}; {kept}{limit}{repeat}")


def _params(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    params = config.get("params")
    yield from params.items() if isinstance(params, Mapping) else ()
    yield "seed", config.get("seed", 0)


def _value(value: Any) -> str:
    text = sentence(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _price(prices: Any) -> str:
    tiers = prices.get("tiers") if isinstance(prices, Mapping) else None
    if not isinstance(tiers, list) or not tiers or not isinstance(tiers[0], Mapping):
        return "unknown"
    rates = [tiers[0].get(name) for name in ("input", "output")]
    if not all(isinstance(rate, int | float) for rate in rates):
        return "unknown"
    if not any(rates):
        return "free"
    return f"${rates[0]:g} in, ${rates[1]:g} out per million tokens ({sentence(prices.get('source'))})"
