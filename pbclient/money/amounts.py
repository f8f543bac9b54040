"""Money as whole picodollars, so that sums are exact and a limit is a limit.

A price of $0.01875 per million tokens is 18,750 picodollars a token: every published price
is a whole number of them. What is owed is rounded up, what may be spent is rounded down.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

PICODOLLARS = 10**12


def picodollars_up(dollars: float | Decimal) -> int:
    """Dollars as picodollars, rounded up: for prices, holds and bills."""
    return int((_exact(dollars) * PICODOLLARS).to_integral_value(ROUND_CEILING))


def picodollars_down(dollars: float | Decimal) -> int:
    """Dollars as picodollars, rounded down: for limits."""
    return int((_exact(dollars) * PICODOLLARS).to_integral_value(ROUND_FLOOR))


def dollars(picodollars: int) -> float:
    """Picodollars as dollars, for files and people."""
    return picodollars / PICODOLLARS


def _exact(value: float | Decimal) -> Decimal:
    # str() gives the shortest decimal that is this float: 0.1 means a tenth, not 0.1000000000000000055.
    return value if isinstance(value, Decimal) else Decimal(str(value))


def format_dollars(picodollars: int) -> str:
    """Picodollars as people read them, with the same digits wherever the amount is shown.

    Cents from a dollar on; below it four decimals, or two figures of a smaller amount, and no more
    zeros at the end than cents need: a positive amount is never rounded to $0.00.
    """
    return format_amount(Decimal(picodollars) / PICODOLLARS)


def format_amount(value: float | Decimal) -> str:
    """Dollars with the digits of `format_dollars`."""
    exact = _exact(value)
    if exact == 0 or exact >= 1:
        return f"${exact:,.2f}"
    decimals = max(4, 1 - exact.adjusted())
    whole, _, digits = f"{exact:.{decimals}f}".rstrip("0").partition(".")
    return f"${whole}.{digits:0<2}"
