"""One format of dollars, whatever the amount comes as."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbclient.money.amounts import PICODOLLARS, dollars, format_amount, format_dollars, picodollars_up


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "$0.00"),
        ("1", "$1.00"),
        ("1.234", "$1.23"),
        ("1234.5", "$1,234.50"),
        ("0.0349", "$0.0349"),
        ("0.35", "$0.35"),
        ("0.5", "$0.50"),
        ("0.123", "$0.123"),
        ("0.12345", "$0.1234"),
        ("0.99996", "$1.00"),
        ("0.0001", "$0.0001"),
        ("0.0000123", "$0.000012"),
        ("0.00009999", "$0.0001"),
        ("0.000000000001", "$0.000000000001"),
    ],
)
def test_digits(amount: str, text: str) -> None:
    exact = Decimal(amount)
    assert format_amount(exact) == text
    assert format_amount(float(amount)) == text
    assert format_dollars(picodollars_up(exact)) == text


@given(st.integers(0, 1000 * PICODOLLARS))
def test_a_file_and_the_books_show_the_same_digits(picodollars: int) -> None:
    text = format_dollars(picodollars)
    assert text == format_amount(dollars(picodollars))
    assert (float(text[1:].replace(",", "")) == 0) == (picodollars == 0)
