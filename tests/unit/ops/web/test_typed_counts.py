"""A count that is typed to confirm: one rule for every form, whatever the locale of its notation."""

from __future__ import annotations

import pytest

from bulksend.errors import InvalidValue
from ops.web.forms import check_count, typed_count


@pytest.mark.parametrize(
    "text",
    [
        *("1234567", " 1234567 ", "1,234,567", "1.234.567", "1 234 567", "1'234'567", "1_234_567"),
        *("1\u00a0234\u00a0567", "1\u202f234\u202f567", "1\u2009234\u2009567", "1\u3000234\u3000567"),
        *("1\u2019234\u2019567", "12,34,567", "123,4567", "１２３４５６７", "１，２３４，５６７"),
        *("١٢٣٤٥٦٧", "١٬٢٣٤٬٥٦٧", "१२,३४,५६७", "\u200e1,234,567\u200f", "\ufeff1234567", "1234567\n"),
    ],
)
def test_a_count_is_read_in_any_notation(text: str) -> None:
    assert typed_count(text) == 1_234_567
    check_count(text, 1_234_567)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", ",", "-12", "+12", "1e3", "0x10", "12.5", "1,23", "1,234.567", "1,,234", ",123", "123,"),
        *("12 messages", "十二", "½", "⑫3a", "1234 ,567", "9" * 5_000),
    ],
)
def test_what_is_no_count_confirms_nothing(text: str) -> None:
    assert typed_count(text) is None
    with pytest.raises(InvalidValue, match="type 12"):
        check_count(text, 12)


def test_another_count_confirms_nothing() -> None:
    assert typed_count("0") == 0
    with pytest.raises(InvalidValue, match="type 10"):
        check_count("1,0000", 10)
