"""What messages cost: prices by country and category, and the least and the most that a campaign may cost.

The vendor bills delivered messages. An amount is that of all messages, as if each of them were delivered.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from bulksend.errors import InvalidValue
from bulksend.messaging.states import Kind, MessageType

COLUMNS = ("country", "category", "price", "currency")
#: The row for every country that has none of its own.
ANY_COUNTRY = "*"
MARKETING, UTILITY, AUTHENTICATION, SERVICE = "marketing", "utility", "authentication", "service"
CATEGORIES = (MARKETING, UTILITY, AUTHENTICATION, SERVICE)
#: More for one message must be a mistake.
_HIGHEST = Decimal(1000)
_FIELD = "prices"
#: The categories that a template of unknown category may have, by the kind of its campaign.
_MAY_HAVE = {
    Kind.OTP: (AUTHENTICATION,),
    Kind.UTILITY: (UTILITY, MARKETING),
    Kind.MARKETING: (MARKETING, UTILITY),
}


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices of one message by country and category. Several prices of the same are steps of volume."""

    currency: str
    prices: Mapping[tuple[str, str], tuple[Decimal, ...]]

    def of(self, country: str, categories: Sequence[str]) -> tuple[Decimal, ...]:
        """The prices that a message to the country may have; none where the table does not know.

        An empty country is one that the number does not show: it may be any of the table.
        """
        found: list[Decimal] = []
        for category in categories:
            if not country:
                found += [
                    price for (_, c), prices in self.prices.items() if c == category for price in prices
                ]
            else:
                found += self.prices.get((country, category)) or self.prices.get((ANY_COUNTRY, category), ())
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Cost:
    """The least and the most that messages cost. ``unpriced`` ones have no price in the table and are in neither."""

    low: Decimal
    high: Decimal
    currency: str
    unpriced: int

    def as_json(self) -> dict[str, object]:
        """Amounts are text: a JSON number is binary, and a price is not."""
        return {
            "min": _text(self.low),
            "max": _text(self.high),
            "currency": self.currency,
            "unpriced": self.unpriced,
        }


def read_prices(text: str) -> PriceTable:
    """The table of a CSV with the columns COLUMNS, in any order. Raises InvalidValue, which names the line."""
    lines = csv.reader(text.removeprefix("\ufeff").splitlines())
    header = [name.strip().lower() for name in next(lines, [])]
    if sorted(header) != sorted(COLUMNS):
        raise InvalidValue(_FIELD, "", f"must have the columns {', '.join(COLUMNS)} in its first line")
    currency = ""
    prices: dict[tuple[str, str], tuple[Decimal, ...]] = {}
    for cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        line = f"line {lines.line_num}"
        if len(cells) != len(header):
            raise InvalidValue(_FIELD, "", f"has {len(cells)} cells in {line}; give {len(header)}")
        row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        place = _country(row["country"], line), _category(row["category"], line)
        own = _currency(row["currency"], line)
        if currency and own != currency:
            raise InvalidValue(
                _FIELD, own, f"has another currency in {line} than before; one table has one currency"
            )
        currency = own
        prices[place] = (*prices.get(place, ()), _price(row["price"], line))
    if not prices:
        raise InvalidValue(_FIELD, "", "has no prices; add a line for each country and category")
    return PriceTable(currency, prices)


def categories_of(kind: Kind, type: str, category: str | None) -> tuple[str, ...]:
    """The categories that a message may be billed by. ``category`` is that of its template, None: not known."""
    if type != MessageType.TEMPLATE:
        return (SERVICE,)
    known = (category or "").lower()
    return (known,) if known in CATEGORIES else _MAY_HAVE[kind]


def cost_of(table: PriceTable, countries: Mapping[str, int], categories: Sequence[str]) -> Cost:
    """What messages to these countries cost; ``countries`` counts them by ISO 3166 code, empty: not shown."""
    low = high = Decimal(0)
    unpriced = 0
    for country, count in countries.items():
        prices = table.of(country, categories)
        if not prices:
            unpriced += count
            continue
        low += min(prices) * count
        high += max(prices) * count
    return Cost(low, high, table.currency, unpriced)


def _country(text: str, line: str) -> str:
    code = text.upper()
    if code != ANY_COUNTRY and not (len(code) == 2 and code.isascii() and code.isalpha()):
        raise InvalidValue(
            _FIELD,
            text[:40],
            f"is no country in {line}; write two letters, like GB, or {ANY_COUNTRY} for the rest",
        )
    return code


def _category(text: str, line: str) -> str:
    if text.lower() not in CATEGORIES:
        raise InvalidValue(_FIELD, text[:40], f"is no category in {line}; use one of {', '.join(CATEGORIES)}")
    return text.lower()


def _currency(text: str, line: str) -> str:
    code = text.upper()
    if not (len(code) == 3 and code.isascii() and code.isalpha()):
        raise InvalidValue(_FIELD, text[:40], f"is no currency in {line}; write three letters, like USD")
    return code


def _price(text: str, line: str) -> Decimal:
    try:
        price = Decimal(text)
        sound = price.is_finite() and 0 <= price <= _HIGHEST
    except InvalidOperation:
        sound = False
    if not sound:
        raise InvalidValue(
            _FIELD, text[:40], f"is no price in {line}; write what one message costs, like 0.0628"
        )
    return price


def _text(amount: Decimal) -> str:
    """With two decimals at least."""
    exact = amount.normalize()
    decimals = exact.as_tuple().exponent
    return f"{exact if isinstance(decimals, int) and decimals < -2 else exact.quantize(Decimal('0.01')):f}"
