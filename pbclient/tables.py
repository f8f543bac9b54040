"""A summary as people read it: a table for a terminal, the same as plain text for a pipe.

Only the look: every figure comes from the summary as it is. Scripts read the JSON instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

type Summary = dict[str, Any]
type _Shown = Callable[[float], str]

_HEADINGS = ("data set", "n", "resolved", "acc % [95 % CI]", "bounds", "ps [95 % CI]")
_BOUNDS = _HEADINGS.index("bounds")
_UNRESOLVED = {
    "refused": "refused",
    "truncated": "truncated",
    "failed": "failed",
    "judge_failed": "without a verdict",
    "budget": "stopped by the budget",
    "owed": "not run",
}


def table(summary: Summary) -> Table:
    """The closing table: fits 80 columns, wraps in narrower ones, never cuts a figure."""
    # Rich costs a tenth of a second that scripts need not pay.
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    shown = [place for place in range(len(_HEADINGS)) if place != _BOUNDS or _unresolved(summary)]
    result = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), caption_style="")
    result.caption, result.caption_justify = Text("\n".join(["", *notes(summary)])), "left"
    for place in shown:
        result.add_column(Text(_HEADINGS[place]), justify="right" if place else "left", overflow="fold")
    *datasets, average = [[Text(row[place]) for place in shown] for row in _rows(summary)]
    for row in datasets:
        result.add_row(*row)
    result.add_section()
    result.add_row(*average, style="bold")
    return result


def plain(summary: Summary) -> str:
    """The same as ASCII lines: always the same columns, never wrapped or cut, no colours."""
    rows = [_HEADINGS, *_rows(summary)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEADINGS))]
    lines = [_line(row, widths) for row in rows]
    return "\n".join([*lines, "", *(note.replace(" ·", ";") for note in notes(summary))])


def notes(summary: Summary) -> list[str]:
    """What stands under the table: money and calls, what is unresolved, what the average leaves out."""
    cost, calls = summary["cost"], summary["calls"]
    limit = "(no limit)" if cost["limit"] is None else f"of {_money(cost['limit'])}"
    lines = [
        f"{_money(cost['settled'])} settled, {_money(cost['held'])} held {limit}"
        f" · saved {_money(cost['saved_by_cache'])}",
        f"{_some(calls['wire'], 'call', 'calls')}, {_some(calls['hits'], 'hit', 'hits')}, "
        f"{_some(calls['retries'], 'retry', 'retries')}",
    ]
    if missing := _unresolved(summary):
        kinds = ", ".join(f"{missing[kind]} {kind}" for kind in _UNRESOLVED.values() if missing[kind])
        lines.append(f"{missing.total()} of {_total(summary, 'n')} episodes unresolved: {kinds}")
    over = summary["average"]["over"]
    if left_out := [name for name in summary["datasets"] if name not in over]:
        lines.append(f"Average over {', '.join(over) or 'nothing'}: none resolved in {', '.join(left_out)}")
    return lines


def _rows(summary: Summary) -> list[tuple[str, ...]]:
    entries = summary["datasets"]
    everything = {**summary["average"], "n": _total(summary, "n"), "resolved": _total(summary, "resolved")}
    return [_row(name, entry) for name, entry in [*entries.items(), ("average", everything)]]


def _row(name: str, entry: Summary) -> tuple[str, ...]:
    resolved_all = entry["n"] == entry["resolved"]
    return (
        name,
        str(entry["n"]),
        str(entry["resolved"]),
        _with_interval(_share, entry["acc"], entry["acc_ci"]),
        "-" if resolved_all else _interval(_share, entry["acc_bounds"]),
        _with_interval(_suggestions, entry["ps"], entry["ps_ci"]),
    )


def _with_interval(shown: _Shown, value: float | None, interval: Sequence[float] | None) -> str:
    if value is None or interval is None:
        return "-"
    return f"{shown(value)} {_interval(shown, interval)}"


def _interval(shown: _Shown, interval: Sequence[float] | None) -> str:
    if interval is None:
        return "-"
    # One column narrower at the left: a lower limit of 100.0 is the rare one.
    return f"[{shown(interval[0]).removeprefix(' ')}, {shown(interval[1])}]"


def _share(value: float) -> str:
    return f"{value:5.1f}"


def _suggestions(value: float) -> str:
    # Three digits, always as wide: ten suggestions and more are known to a tenth.
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}"


def _money(value: float) -> str:
    if value == 0 or value >= 0.01:
        return f"${value:.2f}"
    return f"${value:.4f}" if value >= 0.0001 else "<$0.0001"


def _some(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _total(summary: Summary, key: str) -> int:
    return sum(entry[key] for entry in summary["datasets"].values())


def _unresolved(summary: Summary) -> Counter[str]:
    kinds: Counter[str] = Counter()
    for entry in summary["datasets"].values():
        recorded: dict[str, int] = entry["outcomes"]
        kinds.update({_UNRESOLVED[kind]: count for kind, count in recorded.items() if kind != "resolved"})
        kinds.update({_UNRESOLVED["owed"]: entry["n"] - sum(recorded.values())})
    return +kinds  # without the kinds that never occurred


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = zip(cells, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)])
