"""An estimate as people read it: what it costs, what the limit buys, and what both rest on.

Every figure comes from the estimate as it is. Scripts read the JSON instead.
"""

from __future__ import annotations

from pbclient.forecast.estimate import Estimate
from pbclient.money.amounts import format_amount
from pbclient.report.terminal import Grid, Part

_COST = ("", "episodes", "calls least", "expected", "most", "$ least", "expected", "most")
_REACH = ("", "episodes", "+- acc", "difference", "at worst", "+- acc", "difference")


def parts(estimate: Estimate) -> list[Part]:
    """Two tables that fit 80 columns, and the assumptions."""
    costs: list[list[str]] = []
    for name, figures in [*estimate.datasets.items(), ("total", estimate.total)]:
        calls, cost = figures.calls, figures.cost
        amounts = [format_amount(value) for value in (cost.least, cost.expected, cost.most)]
        costs.append(
            [
                name,
                f"{figures.episodes:,}",
                *(f"{value:,.0f}" for value in (calls.least, calls.expected, calls.most)),
                *(amount.removeprefix("$") for amount in amounts),
            ]
        )
    reached: list[list[str]] = []
    for name, figures in [*estimate.datasets.items(), ("average", estimate.total)]:
        reached.append([name])
        for reach in (figures.buys, figures.buys_at_worst):
            points = [reach.acc_half_width, reach.detectable]
            reached[-1].append(f"{reach.episodes:,}")
            reached[-1] += ["-" if value is None else f"{value:.1f}" for value in points]
    if estimate.limit is None:
        what = "What a run without a limit tells:"
    else:
        limit = format_amount(estimate.limit)
        what = f"What {limit} buys in the seeded order, as expected and at worst:"
    return [
        Grid(_COST, costs, total=True),
        what,
        Grid(_REACH, reached, total=True),
        "\n".join(estimate.assumptions),
    ]
