"""Charts are SVG whose bars have the size of their values and whose texts are escaped."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from bulksend.operations.report.charts import NUMBERS, Bar, Part, Series, bars, columns, scale_end, shortened
from bulksend.operations.report.html import percent, table

SPACE = "{http://www.w3.org/2000/svg}"


def widths(svg: str, colour: str) -> list[float]:
    return [
        float(found) for found in re.findall(rf'class="{colour}" x="[^"]*" y="[^"]*" width="([^"]*)"', svg)
    ]


def test_bars_are_as_long_as_their_values() -> None:
    drawn = bars(
        [
            Bar("all", [Part("rows", 1000, "all")], "1,000"),
            Bar("half", [Part("read", 300, "read"), Part("failed", 200, "failed")], "500"),
        ],
        "How far",
    )
    (whole,), (read,), (failed,) = widths(drawn, "rows"), widths(drawn, "read"), widths(drawn, "failed")
    assert (round(read / whole, 2), round(failed / whole, 2)) == (0.3, 0.2)


def test_a_value_that_is_there_is_seen_however_small() -> None:
    drawn = bars([Bar("all", [Part("rows", 10**7, ""), Part("failed", 1, "")], "")], "How far")
    assert widths(drawn, "failed") == [1.0]
    assert widths(bars([Bar("none", [Part("failed", 0, "")], "")], "How far"), "failed") == []


def test_the_longest_number_of_a_bar_is_within_the_picture() -> None:
    """It begins 10 behind the bar; a letter of 13 px is 8 wide at most, in the sans-serif of any system."""
    assert 10 + 8 * len("10,000,000 · > 99.9 %") <= NUMBERS


def test_a_label_of_a_person_is_text_and_never_markup() -> None:
    drawn = bars([Bar("<script>&", [Part("rows", 1, '"><b>')], "<i>")], '"><script>')
    texts = [each.text for each in ElementTree.fromstring(drawn).iter()]  # noqa: S314 - our own text
    assert {"<script>&", '"><b>', "<i>"} <= set(texts)


def test_columns_stand_on_an_axis_with_a_scale_of_their_own() -> None:
    drawn = columns(
        [Series("accepted", "Accepted", [0, 90, 45]), Series("read", "Read", [1, 0, 2])],
        ["9:00", "10:00", "11:00"],
        [(0, "9:00")],
        "When",
    )
    heights = [float(found) for found in re.findall(r'class="accepted"[^>]* height="([^"]*)"', drawn)]
    assert heights[0] == 2 * heights[1]
    assert "<title>10:00: Accepted 90</title>" in drawn
    assert [n for n in ("100", ">2<") if n in drawn] == ["100", ">2<"]


@pytest.mark.parametrize(
    ("most", "end"),
    [(0, 1), (1, 1), (2, 2), (3, 3), (7, 8), (21, 25), (99, 100), (101, 150), (2_400_000, 2_500_000)],
)
def test_a_scale_ends_at_a_round_number(most: int, end: int) -> None:
    assert scale_end(most) == end


def test_a_share_that_is_not_all_is_not_written_as_all() -> None:
    shares = [percent(part, 1_000_000) for part in (0, 1, 500_000, 999_999, 1_000_000)]
    assert shares == ["0.0 %", "< 0.1 %", "50.0 %", "> 99.9 %", "100.0 %"]
    assert percent(0, 0) == "–"


def test_a_table_writes_numbers_in_thousands_to_the_right() -> None:
    made = table(["country", "n"], [("A & B", 1234567), ("C", 1)])
    assert '<td class="number">1,234,567</td>' in made
    assert "<td>A &amp; B</td>" in made


def test_a_long_label_is_shortened() -> None:
    assert shortened("Saint Vincent and the Grenadines", 12) == "Saint Vince…"
    assert shortened("Spain", 12) == "Spain"
