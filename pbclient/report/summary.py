"""A summary as people read it: a table, and the figures that stand under it.

Every figure comes from the summary as it is. Scripts read the JSON instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pbclient.money.amounts import format_amount
from pbclient.report.terminal import Grid, Part, show

type Summary = dict[str, Any]
type Shown = Callable[[float], str]

_SHARES = ("acc", "ps", "agg")
_UNRESOLVED = {
    "refused": "refused",
    "truncated": "truncated",
    "failed": "failed",
    "judge_failed": "without a verdict",
    "budget": "stopped by the budget",
    "owed": "not run",
}


def print_summary(summary: Summary, as_json: bool) -> None:
    """A table and its notes, or the bytes of summary.json."""
    from pbclient.scores.summary import dump

    show(*[dump(summary).decode().rstrip("\n")] if as_json else parts(summary))


def parts(summary: Summary) -> list[Part]:
    """The table, which fits 80 columns, and what stands under it; no table where nothing was resolved."""
    if summary["datasets"] and not _total(summary, "resolved"):
        return ["No episode was resolved, so there are no figures.", "\n".join(notes(summary))]
    return [table(summary), "\n".join(notes(summary))]


def as_judged_by(summary: Summary, judge: str) -> Summary:
    """The summary with the figures of another of its judges in the place of the run's own."""
    figures = summary.get("judges", {}).get(judge)
    if figures is None:
        return summary
    datasets = {name: {**entry, **figures["datasets"][name]} for name, entry in summary["datasets"].items()}
    return {**summary, "datasets": datasets, "average": {**summary["average"], **figures["average"]}}


def table(summary: Summary) -> Grid:
    """A row a data set, and their average."""
    totals = {key: _total(summary, key) for key in ("n", "resolved", "judged")}
    entries = {**summary["datasets"], "average": {**summary["average"], **totals}}
    rows: list[list[str]] = []
    if _is_open(summary):
        headings = ["data set", "judged", *(f"{name} % [95 % CI]" for name in _SHARES)]
        for name, entry in entries.items():
            shares = [figure(entry[share], entry[f"{share}_ci"], _percent) for share in _SHARES]
            rows.append([name, f"{entry['judged']}/{entry['n']}", *shares])
    else:
        headings = ["data set", "n", "resolved", "acc % [95 % CI]", "bounds", "ps [95 % CI]"]
        for name, entry in entries.items():
            counts = [str(entry["n"]), str(entry["resolved"])]
            acc = figure(entry["acc"], entry["acc_ci"], _percent)
            whole = entry["n"] == entry["resolved"]
            bounds = "-" if whole else _interval(entry["acc_bounds"], _percent)
            ps = figure(entry["ps"], entry["ps_ci"], _suggestions)
            rows.append([name, *counts, acc, bounds, ps])
    return Grid(headings, rows, total=True)


def notes(summary: Summary) -> list[str]:
    """What stands under the table: further figures, money and calls, what is unresolved or left out."""
    lines = list(_open_figures(summary) if _is_open(summary) else _choice_figures(summary))
    cost, calls = summary["cost"], summary["calls"]
    limit = "(no limit)" if cost["limit"] is None else f"of {format_amount(cost['limit'])}"
    prefix = cost.get("saved_by_prefix")
    by_prefix = f", by repeated prefixes {format_amount(prefix)}" if prefix else ""
    lines += [
        f"{format_amount(cost['settled'])} settled, {format_amount(cost['held'])} held {limit}; "
        f"saved {format_amount(cost['saved_by_cache'])}{by_prefix}",
        f"{_count(calls['wire'], 'call', 'calls')}, {_count(calls['hits'], 'hit', 'hits')}, "
        f"{_count(calls['retries'], 'retry', 'retries')}",
    ]
    if risky := cost.get("limit_may_not_hold"):
        lines.append(f"The limit may not hold: what {', '.join(risky)} costs is not known (--allow-param).")
    unresolved: Counter[str] = Counter()
    for entry in summary["datasets"].values():
        outcomes: dict[str, int] = entry["outcomes"]
        unresolved.update({kind: count for kind, count in outcomes.items() if kind != "resolved"})
        unresolved["owed"] += entry["n"] - sum(outcomes.values())
    if unresolved.total():
        kinds = [f"{unresolved[kind]} {words}" for kind, words in _UNRESOLVED.items() if unresolved[kind]]
        episodes = _total(summary, "n")
        lines.append(f"{unresolved.total()} of {episodes} episodes unresolved: {', '.join(kinds)}")
    over = summary["average"]["over"]
    if not _total(summary, "resolved"):
        return lines
    if left_out := [name for name in summary["datasets"] if name not in over]:
        lacking = "judged" if _is_open(summary) else "resolved"
        lines.append(f"Average over {', '.join(over) or 'nothing'}: none {lacking} in {', '.join(left_out)}")
    return lines


def _choice_figures(summary: Summary) -> Iterator[str]:
    """What was done in the turns of multiple choice, averaged over data sets."""
    average = summary["average"]
    actions = average["actions"]
    if actions["proactive"] is None:
        return
    words = {"proactive": "proactive", "abstain": "abstain", "category": "category", "mismatch": "none"}
    yield "Turns %: " + ", ".join(f"{word} {actions[action]:.1f}" for action, word in words.items())
    first, limit = average["first_turn_acc"], average["step_limit"]
    yield f"Episodes %: right at the first turn {first:.1f}, at the step limit {limit:.1f}"


def _open_figures(summary: Summary) -> Iterator[str]:
    """What the package would print, how far unjudged answers could move the figures, and other judges."""
    average, judged = summary["average"], _total(summary, "judged")
    if judged < _total(summary, "n"):
        bounds = [f"{share} {_interval(average[f'{share}_bounds'], _percent)}" for share in _SHARES]
        yield f"Bounds over all episodes: {', '.join(bounds)}"
    official = [f"{share} {average['official'][share]:.1f}" for share in _SHARES if summary["datasets"]]
    yield f"Official (without a verdict counts 0): {', '.join(official) or '-'}"
    if average.get("psr") is not None:
        psr = figure(average["psr"], average["psr_ci"], _suggestions)
        yield f"Suggestions carried out, an episode: {psr}"
    if unjudged := _total(summary, "resolved") - judged:
        yield f"{_count(unjudged, 'answer', 'answers')} not judged: `pbclient judge` does it"
    for judge, agreement in summary.get("judges", {}).items():
        if not agreement["n"]:
            yield f"{judge} judged none of the same answers"
            continue
        shares = ", ".join(f"{share} {agreement['average'][share]:.1f}" for share in _SHARES)
        kappa = figure(agreement["kappa"], agreement["kappa_ci"], "{:.2f}".format)
        same = f"the same verdict on {agreement['raw']:.1f} % of {agreement['n']}"
        yield f"{judge}: {shares}; {same} (kappa {kappa})"


def _is_open(summary: Summary) -> bool:
    return "agg" in summary["average"]


def _total(summary: Summary, key: str) -> int:
    return sum(entry.get(key, 0) for entry in summary["datasets"].values())


def figure(value: float | None, interval: Sequence[float] | None, shown: Shown) -> str:
    """A figure and its interval, both as `shown`."""
    return "-" if value is None or interval is None else f"{shown(value)} {_interval(interval, shown)}"


def _interval(interval: Sequence[float] | None, shown: Shown) -> str:
    if interval is None:
        return "-"
    # One column narrower at the left: a lower limit of 100.0 is the rare one.
    return f"[{shown(interval[0]).removeprefix(' ')}, {shown(interval[1])}]"


def _percent(value: float) -> str:
    return f"{value:5.1f}"


def _suggestions(value: float) -> str:
    # Three digits, always as wide: ten suggestions and more are known to a tenth.
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}"


def _count(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
