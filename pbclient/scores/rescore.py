"""`pbclient score`: the summary again from what a run folder holds. No call, no cache, no images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pbclient.errors import InputError
from pbclient.money.amounts import dollars
from pbclient.scores.checks import is_count
from pbclient.scores.summary import LedgerTotals, dump, mode_of, rescore, summarize
from pbclient.scores.verdicts import check_judged, rescore_verdict
from runs import Balance, Episodes, RunFolder, replace_file


def rescore_run(path: Path) -> dict[str, Any]:
    """Score the run at `path` from its recorded evaluations and write its summary.json again.

    Raises `runs.RunError` when there is no run, `PbclientError` when an episode contradicts
    its own turns.
    """
    folder = read_run(path)
    ledger = totals(folder.manifest, Balance.read(folder.ledger))
    summary = summarize(folder.manifest, checked_episodes(folder), ledger, judge_lines(folder.path))
    replace_file(folder.summary, [dump(summary)])
    return summary


def read_run(path: Path) -> RunFolder:
    """The run folder at `path`, whose run.json can be scored by."""
    folder = RunFolder.read(path)
    settings, planned = folder.manifest.get("settings"), folder.manifest.get("planned") or {}
    if not isinstance(settings, dict):
        raise _damaged(path, "it has no settings")
    if not isinstance(settings.get("max_cost", 0), int | float | None):
        raise _damaged(path, "its max_cost is no amount of dollars")
    if not isinstance(planned, dict) or not all(map(is_count, planned.values())):
        raise _damaged(path, "its planned episodes are no counts")
    return folder


def _damaged(path: Path, why: str) -> InputError:
    return InputError(f"{path / 'run.json'} is damaged ({why}): put it back from a copy.")


def checked_episodes(folder: RunFolder) -> Iterator[Mapping[str, Any]]:
    """The episodes of a run, each held against its own turns."""
    mode = mode_of(folder.manifest)
    for episode in Episodes(folder.episodes).read():
        yield rescore(episode, mode)


def judge_lines(path: Path) -> dict[str, Iterator[Mapping[str, Any]]]:
    """The lines of the run's other judges by the names of their files, each held against its own turns."""
    return {file.stem: checked_verdicts(file) for file in sorted((path / "judges").glob("*.jsonl"))}


def totals(manifest: Mapping[str, Any], balance: Balance) -> LedgerTotals:
    """A run's money and calls over all its lives, in dollars."""
    return LedgerTotals(
        settled=dollars(balance.settled),
        held=dollars(balance.kept + balance.held),
        limit=manifest["settings"].get("max_cost"),
        calls=balance.calls,
        retries=balance.retries,
    )


def checked_verdicts(file: Path) -> Iterator[Mapping[str, Any]]:
    """The lines of one judge beside the run's own, each held against its own turns."""
    for line in Episodes(file).read():
        check_judged(line)
        rescore_verdict(line)
        yield line
