"""An estimate as people read it: two plain tables within 80 columns, and the assumptions.

Only the look: every figure comes from the estimate as it is. Scripts read the JSON instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pbclient.forecast.estimate import Estimate, Figures, Reach
from pbclient.money.amounts import PICODOLLARS

_COST = ("", "episodes", "calls least", "expected", "most", "$ least", "expected", "most")
_REACH = ("", "episodes", "+- acc", "difference", "at worst", "+- acc", "difference")


def lines(estimate: Estimate) -> Iterator[str]:
    """What it costs, what the limit buys, and what both rest on."""
    rows = [*estimate.datasets.items(), ("total", estimate.total)]
    yield from _table([_COST, *(_cost(name, figures) for name, figures in rows)])
    yield ""
    if estimate.limit is None:
        yield "What a run without a limit tells:"
    else:
        yield f"What ${estimate.limit:,.2f} buys in the seeded order, as expected and at worst:"
    reached = [*estimate.datasets.items(), ("average", estimate.total)]
    yield from _table([_REACH, *(_reached(name, figures) for name, figures in reached)])
    yield ""
    yield from estimate.assumptions


def _cost(name: str, figures: Figures) -> tuple[str, ...]:
    calls, cost = figures.forecast.calls, figures.forecast.cost
    return (
        name,
        f"{figures.episodes:,}",
        *(f"{value:,.0f}" for value in (calls.least, calls.expected, calls.most)),
        *map(_dollars, (cost.least, cost.expected, cost.most)),
    )


def _reached(name: str, figures: Figures) -> tuple[str, ...]:
    return (name, *_reach(figures.buys), *_reach(figures.buys_at_worst))


def _reach(reach: Reach) -> tuple[str, str, str]:
    return f"{reach.episodes:,}", _points(reach.half_width), _points(reach.difference)


def _points(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _dollars(picodollars: float) -> str:
    value = picodollars / PICODOLLARS
    if value == 0 or value >= 0.01:
        return f"{value:,.2f}"
    return f"{value:.4f}" if value >= 0.0001 else "<0.0001"


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        shown = [
            name.ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)),
        ]
        yield "  ".join(shown)
