"""What messages cost, by a table of prices."""

from __future__ import annotations

from decimal import Decimal

import pytest

from bulksend.errors import InvalidValue
from bulksend.messaging.price_table import PriceTable, categories_of, cost_of, read_prices
from bulksend.messaging.states import Kind

HEADER = "country,category,price,currency\n"
TABLE = read_prices(HEADER + "GB,marketing,0.0529,USD\ngb,Utility,0.022,usd\n*,marketing,0.06,USD\n")


def test_a_price_is_that_of_its_country_else_that_of_the_rest() -> None:
    assert TABLE.of("GB", ["marketing"]) == (Decimal("0.0529"),)
    assert TABLE.of("DE", ["marketing"]) == (Decimal("0.06"),)
    assert TABLE.of("DE", ["utility"]) == ()


def test_a_cost_is_exact_and_says_what_has_no_price() -> None:
    cost = cost_of(TABLE, {"GB": 1_000_000, "DE": 3}, ["utility"])
    assert cost.as_json() == {"min": "22000.00", "max": "22000.00", "currency": "USD", "unpriced": 3}


def test_least_and_most_differ_where_the_category_or_the_country_is_not_known() -> None:
    assert cost_of(TABLE, {"GB": 10}, ["marketing", "utility"]).as_json()["min"] == "0.22"
    assert cost_of(TABLE, {"GB": 10}, ["marketing", "utility"]).as_json()["max"] == "0.529"
    hidden = cost_of(TABLE, {"": 10}, ["marketing"])
    assert (hidden.low, hidden.high) == (Decimal("0.529"), Decimal("0.60"))


def test_two_prices_of_the_same_are_steps_of_volume() -> None:
    steps = read_prices(HEADER + "IN,marketing,0.01,USD\nIN,marketing,0.008,USD\n")
    assert (
        cost_of(steps, {"IN": 100}, ["marketing"]).low,
        cost_of(steps, {"IN": 100}, ["marketing"]).high,
    ) == (
        Decimal("0.8"),
        Decimal("1"),
    )


@pytest.mark.parametrize(
    ("kind", "type", "category", "expected"),
    [
        (Kind.MARKETING, "template", "UTILITY", ("utility",)),
        (Kind.MARKETING, "template", None, ("marketing", "utility")),
        (Kind.UTILITY, "template", "", ("utility", "marketing")),
        (Kind.OTP, "template", None, ("authentication",)),
        (Kind.UTILITY, "template", "A_NEW_ONE", ("utility", "marketing")),
        (Kind.MARKETING, "text", None, ("service",)),
    ],
)
def test_the_category_is_that_of_the_template_where_it_is_known(
    kind: Kind, type: str, category: str | None, expected: tuple[str, ...]
) -> None:
    assert categories_of(kind, type, category) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "must have the columns country, category, price, currency"),
        ("country,price\n", "must have the columns"),
        (HEADER, "has no prices"),
        (HEADER + "GB,marketing,0.1\n", "has 3 cells in line 2; give 4"),
        (HEADER + "GBR,marketing,0.1,USD\n", "is no country in line 2"),
        (HEADER + "GB,spam,0.1,USD\n", "is no category in line 2"),
        (HEADER + "GB,marketing,0.1,$\n", "is no currency in line 2"),
        (HEADER + "GB,marketing,-1,USD\n", "is no price in line 2"),
        (HEADER + "GB,marketing,NaN,USD\n", "is no price in line 2"),
        (HEADER + "GB,marketing,1e9,USD\n", "is no price in line 2"),
        (HEADER + "GB,marketing,0.1,USD\n\nIE,marketing,0.1,EUR\n", "has another currency in line 4"),
    ],
)
def test_a_wrong_table_is_refused_by_its_line(text: str, why: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        read_prices(text)
    assert refused.value.field == "prices"
    assert why in refused.value.why


def test_columns_may_be_in_any_order_and_a_byte_order_mark_is_no_name() -> None:
    table = read_prices("\ufeffcurrency, price,category,country\r\nEUR,0.1,service,*\r\n")
    assert table == PriceTable("EUR", {("*", "service"): (Decimal("0.1"),)})
