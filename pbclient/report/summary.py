"""A summary as people read it: a table for a terminal, the same as plain text for a pipe.

Only the look: every figure comes from the summary as it is. Scripts read the JSON instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import click

from pbclient.report.terminal import has_room, terminal

if TYPE_CHECKING:
    from rich.table import Table


def print_summary(summary: dict[str, Any], as_json: bool) -> None:
    """A table, or the bytes of summary.json."""
    from pbclient.scores.summary import dump

    pass

    if as_json:
        click.echo(dump(summary).decode(), nl=False)
    elif (console := terminal()) and has_room(console, drawn := table(summary)):
        console.print(drawn)
    else:
        click.echo(plain(summary))


type Summary = dict[str, Any]
type _Shown = Callable[[float], str]
type _Columns = dict[str, Callable[[Summary], str]]

_NAME = "data set"
_BOUNDS = "bounds"
_OPEN = ("acc", "ps", "agg")
_UNRESOLVED = {
    "refused": "refused",
    "truncated": "truncated",
    "failed": "failed",
    "judge_failed": "without a verdict",
    "budget": "stopped by the budget",
    "owed": "not run",
}


def table(summary: Summary) -> Table:
    """The closing table, which fits 80 columns."""
    # Rich costs a tenth of a second that scripts need not pay.
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    columns = _columns(summary)
    if not _unresolved(summary):
        columns.pop(_BOUNDS, None)
    result = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), caption_style="")
    result.caption, result.caption_justify = Text("\n".join(["", *notes(summary)])), "left"
    for heading in columns:
        justify: Literal["left", "right"] = "left" if heading == _NAME else "right"
        result.add_column(Text(heading), justify=justify, overflow="fold")
    *datasets, average = [map(Text, row) for row in _rows(summary, columns)]
    for row in datasets:
        result.add_row(*row)
    result.add_section()
    result.add_row(*average, style="bold")
    return result


def plain(summary: Summary) -> str:
    """The same as ASCII lines: always the same columns, never wrapped or cut, no colours."""
    columns = _columns(summary)
    rows = [tuple(columns), *_rows(summary, columns)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(columns))]
    lines = [_line(row, widths) for row in rows]
    return "\n".join([*lines, "", *(note.replace(" ·", ";") for note in notes(summary))])


def notes(summary: Summary) -> list[str]:
    """What stands under the table: further figures, money and calls, what is unresolved or left out."""
    cost, calls = summary["cost"], summary["calls"]
    limit = "(no limit)" if cost["limit"] is None else f"of {_money(cost['limit'])}"
    lines = [
        *(_open_figures(summary) if _is_open(summary) else _choice_figures(summary["average"])),
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
        lacking = "judged" if _is_open(summary) else "resolved"
        lines.append(f"Average over {', '.join(over) or 'nothing'}: none {lacking} in {', '.join(left_out)}")
    return lines


def _choice_figures(average: Summary) -> list[str]:
    """What was done in the turns of multiple choice, averaged over data sets."""
    actions = average["actions"]
    if actions["proactive"] is None:
        return []
    kinds = {"proactive": "proactive", "abstain": "abstain", "category": "category", "none": "mismatch"}
    turns = ", ".join(f"{said} {actions[kind]:.1f}" for said, kind in kinds.items())
    first, limit = average["first_turn_acc"], average["step_limit"]
    return [
        f"Turns %: {turns}",
        f"Episodes %: right at the first turn {first:.1f}, at the step limit {limit:.1f}",
    ]


def _open_figures(summary: Summary) -> list[str]:
    """What the package would print, how far unjudged answers could move the figures, and other judges."""
    average, judged = summary["average"], _total(summary, "judged")
    lines = []
    if judged < _total(summary, "n"):
        bounds = [f"{each} {_interval(_share, average[f'{each}_bounds'])}" for each in _OPEN]
        lines.append(f"Bounds over all episodes: {', '.join(bounds)}")
    official = [f"{each} {average['official'][each]:.1f}" for each in _OPEN if summary["datasets"]]
    lines.append(f"Official (without a verdict counts 0): {', '.join(official) or '-'}")
    if unjudged := _total(summary, "resolved") - judged:
        lines.append(f"{_some(unjudged, 'answer', 'answers')} not judged: `pbclient judge` does it")
    return [*lines, *(_agreement(*each) for each in summary.get("judges", {}).items())]


def _agreement(judge: str, found: Summary) -> str:
    if not found["n"]:
        return f"{judge} judged none of the same answers"
    kappa = _with_interval("{:.2f}".format, found["kappa"], found["kappa_ci"])
    own = ", ".join(f"{each} {found['average'][each]:.1f}" for each in _OPEN)
    return f"{judge}: {own}; the same verdict on {found['raw']:.1f} % of {found['n']} (kappa {kappa})"


def _is_open(summary: Summary) -> bool:
    return "agg" in summary["average"]


def _columns(summary: Summary) -> _Columns:
    if _is_open(summary):
        shares = {f"{each} % [95 % CI]": _figure(_share, each) for each in _OPEN}
        return {_NAME: _name, "judged": lambda entry: f"{entry['judged']}/{entry['n']}", **shares}
    return {
        _NAME: _name,
        "n": lambda entry: str(entry["n"]),
        "resolved": lambda entry: str(entry["resolved"]),
        "acc % [95 % CI]": _figure(_share, "acc"),
        _BOUNDS: _bounds,
        "ps [95 % CI]": _figure(_suggestions, "ps"),
    }


def _rows(summary: Summary, columns: _Columns) -> list[tuple[str, ...]]:
    totals = {key: _total(summary, key) for key in ("n", "resolved", "judged")}
    entries = {**summary["datasets"], "average": {**summary["average"], **totals}}
    return [
        tuple(cell({**entry, "name": name}) for cell in columns.values()) for name, entry in entries.items()
    ]


def _name(entry: Summary) -> str:
    return str(entry["name"])


def _bounds(entry: Summary) -> str:
    return "-" if entry["n"] == entry["resolved"] else _interval(_share, entry["acc_bounds"])


def _figure(shown: _Shown, name: str) -> Callable[[Summary], str]:
    return lambda entry: _with_interval(shown, entry[name], entry[f"{name}_ci"])


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
    return sum(entry.get(key, 0) for entry in summary["datasets"].values())


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
