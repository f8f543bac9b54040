"""The figures of a run, made from its recorded episodes alone: `summary.json`.

One pass in any order, memory that does not grow with the number of episodes unless other judges are
compared. Shares are in percent, money is in dollars; a figure that nothing resolved stands behind
is null. What the figures mean is said in `mcqa` and `oeg`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from pbclient.benchmark.package import MCQA, OEG
from pbclient.errors import InputError
from pbclient.money.amounts import dollars, picodollars_up
from pbclient.record import calls
from pbclient.scores import mcqa, oeg
from pbclient.scores.checks import DATASETS, OUTCOMES, check, name
from pbclient.scores.judges import JudgePairs
from runs import Balance, Episode

SCHEMA = 1
MOST_SAVED = 1e9  # dollars, by one call: more than any answer is worth

type Summary = dict[str, Any]


def summarize(
    manifest: Mapping[str, Any],
    episodes: Iterable[Episode],
    ledger: Balance,
    judged: Mapping[str, Iterable[Episode]] | None = None,
    limit: float | None = None,
) -> Summary:
    """The object of `summary.json`, from all that a `Tally` takes. Raises `InputError` as it does."""
    tally = Tally(manifest)
    tally.compare(judged or {})
    for episode in episodes:
        tally.add(episode)
    return tally.summary(ledger, limit)


def dump(summary: Summary) -> bytes:
    """The bytes of `summary.json`: equal figures give equal bytes."""
    return (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode("ascii")


def mode_of(manifest: Mapping[str, Any]) -> str:
    """The mode of the run with this run.json."""
    return str((manifest.get("config") or {}).get("mode", MCQA))


class Tally:
    """The figures of a run while its episodes come in: first what other judges said, then each once.

    `manifest["config"]` says which figures they are. `manifest["planned"]` may say how many episodes
    of each data set the run is to have: those that are not recorded yet then count as unresolved
    instead of silently shrinking `n`.
    """

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        config = manifest.get("config") or {}
        self._mode = oeg if mode_of(manifest) == OEG else mcqa
        self._planned: Mapping[str, int] = manifest.get("planned") or {}
        self._tallies: dict[str, oeg.Tally | mcqa.Tally] = {
            name: oeg.Tally() if self._mode is oeg else mcqa.Tally(name, config.get("options") == "random")
            for name in DATASETS
        }
        self._outcomes: dict[str, Counter[str]] = {dataset: Counter() for dataset in DATASETS}
        self._pairs = JudgePairs()
        self._verdicts: dict[str, dict[str, oeg.Tally]] = {}
        self._hits = self._saved = self._by_prefix = 0
        self._unpriced = list((manifest.get("settings") or {}).get("unpriced_params") or [])

    def compare(self, judged: Mapping[str, Iterable[Episode]]) -> None:
        """Take the lines of judges other than the run's own, by their names; before any episode.

        Raises `InputError` naming a line that is not one.
        """
        for judge, lines in judged.items():
            verdicts = self._verdicts.setdefault(judge, {})
            for line in lines:
                self._pairs.read(judge, line)
                verdicts.setdefault(line["dataset"], oeg.Tally()).add(line)
                self._count_hits(line)

    def add(self, episode: Episode) -> None:
        """Count an episode. Raises `InputError` naming one that is not one."""
        check(episode, self._mode.CHECKS)
        self._outcomes[episode["dataset"]][episode["outcome"]] += 1
        self._tallies[episode["dataset"]].add(episode)
        self._pairs.compare(episode)
        self._count_hits(episode)

    def _count_hits(self, line: Episode) -> None:
        """Add up what was saved: answers out of the cache, and their cost; what repeated prefixes saved."""
        for call in calls(line):
            if call.get("cached") is not True:
                self._by_prefix += _saved(line, call, "saved_by_prefix", -MOST_SAVED)
                continue
            self._hits += 1
            self._saved += _saved(line, call, "saved", 0)

    def summary(self, ledger: Balance, limit: float | None = None) -> Summary:
        """The object of `summary.json`, as far as the run has come; `limit` is in dollars."""
        sizes = {
            dataset: n
            for dataset, outcomes in self._outcomes.items()
            if (n := max(self._planned.get(dataset, 0), outcomes.total()))
        }
        figures = {dataset: self._tallies[dataset].figures(n) for dataset, n in sizes.items()}
        judges = {}
        for judge, agreements in self._pairs.entry().items():
            verdicts = self._verdicts[judge]
            given = {dataset: verdicts.get(dataset, oeg.Tally()).figures(n) for dataset, n in sizes.items()}
            by_name = {dataset: of.entry() for dataset, of in given.items()}
            judges[judge] = {**agreements, "datasets": by_name, "average": oeg.averaged(given)}
        return {
            "schema": SCHEMA,
            "datasets": {
                dataset: {
                    "n": n,
                    "resolved": self._outcomes[dataset]["resolved"],
                    **figures[dataset].entry(),
                    "outcomes": {
                        o: self._outcomes[dataset][o] for o in OUTCOMES if self._outcomes[dataset][o]
                    },
                }
                for dataset, n in sizes.items()
            },
            "average": self._mode.averaged(figures),
            **({"judges": judges} if judges else {}),
            "cost": {
                "settled": round(dollars(ledger.settled), 12),
                "held": round(dollars(ledger.kept + ledger.held), 12),
                "limit": None if limit is None else round(float(limit), 12),
                "saved_by_cache": round(dollars(self._saved), 12),
                **({"saved_by_prefix": round(dollars(self._by_prefix), 12)} if self._by_prefix else {}),
                **({"limit_may_not_hold": self._unpriced} if self._unpriced else {}),
            },
            "calls": {"wire": ledger.calls, "hits": self._hits, "retries": ledger.retries},
        }


def _saved(line: Episode, call: Mapping[str, Any], field: str, least: float) -> int:
    """Picodollars of a field in dollars: sums of floats would depend on the order of the lines."""
    saved = call.get(field)
    if saved is None:
        return 0
    if type(saved) not in (int, float) or not least <= saved <= MOST_SAVED:
        raise InputError(f"{name(line)} has a turn that saved {saved!r:.40}, which is no amount of dollars.")
    return _picodollars(saved)


# Questions of one kind are worth the same few amounts again and again.
_picodollars = lru_cache(maxsize=1024)(picodollars_up)
