"""`pbclient score`: the summary again from what a run folder holds. No call, no cache, no images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pbclient.errors import InputError
from pbclient.money import dollars
from pbclient.scores import LedgerTotals, dump, rescore, summarize
from runs import Balance, Episodes, RunFolder, replace_file


def score_again(path: Path) -> dict[str, Any]:
    """Score the run at `path` from its recorded evaluations and write its summary.json again.

    Raises `runs.RunError` when there is no run, `PbclientError` when an episode contradicts
    its own turns.
    """
    folder = RunFolder.read(path)
    if not isinstance(folder.manifest.get("settings"), dict):
        raise InputError(f"{path / 'run.json'} is damaged (it has no settings): put it back from a copy.")
    summary = summarize(
        folder.manifest, _checked(folder), totals(folder.manifest, Balance.read(folder.ledger))
    )
    replace_file(folder.summary, [dump(summary)])
    return summary


def totals(manifest: Mapping[str, Any], balance: Balance) -> LedgerTotals:
    """A run's money and calls over all its lives, in dollars."""
    return LedgerTotals(
        settled=dollars(balance.settled),
        held=dollars(balance.kept + balance.held),
        limit=manifest["settings"].get("max_cost"),
        calls=balance.calls,
        retries=balance.retries,
    )


def _checked(folder: RunFolder) -> Iterator[Mapping[str, Any]]:
    for episode in Episodes(folder.episodes).read():
        yield rescore(episode)
