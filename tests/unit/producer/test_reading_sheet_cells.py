"""What cells hold, in every way that ECMA-376 lets a program write them."""

from __future__ import annotations

import io
import random
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulksend.messaging.plan import RefusedRow, as_text
from producer.reading import RawRow, open_rows
from tests.unit.producer.workbooks import MAIN, parts_of, row, row_of_texts, save, sheet_xml, styles_of, text

HEADER = row_of_texts("to", "name", "price")


def read(
    folder: Path, *rows: str, sheet: str | bytes | None = None, styles: str = "", strings: str = ""
) -> list[RawRow | RefusedRow]:
    xml = sheet_xml(HEADER + "".join(rows)) if sheet is None else sheet
    path = save(folder / "list.xlsx", parts_of(xml, styles=styles, strings=strings))
    with open_rows(path) as source:
        return list(source)


def values(rows: list[RawRow | RefusedRow]) -> list[dict[str, object]]:
    return [row.values for row in rows if isinstance(row, RawRow)]


GOOD = {"to": "447700900130", "name": "Hal", "price": 5.0}


def test_rows_and_cells_that_do_not_say_where_they_stand_follow_each_other(tmp_path: Path) -> None:
    """Case 16: Dynamics, SAP and SSRS write no ``r``, which ECMA-376 calls optional."""
    rows = read(tmp_path, row(text("447700900130"), text("Hal"), "<c><v>5</v></c>"))
    assert rows == [RawRow(2, GOOD)]


def test_places_may_be_given_here_and_left_out_there(tmp_path: Path) -> None:
    """Case 16."""
    rows = read(
        tmp_path,
        row(text("447700900130"), '<c r="C4"><v>5</v></c>', attributes=' r="4"'),
        row('<c r="B5" t="inlineStr"><is><t>Hal</t></is></c>', "<c><v>5</v></c>"),
        row(text("447700900131")),
    )
    assert rows == [
        RawRow(4, {"to": "447700900130", "name": "", "price": 5.0}),
        RawRow(5, {"to": "", "name": "Hal", "price": 5.0}),
        RawRow(6, {"to": "447700900131", "name": "", "price": ""}),
    ]


def test_an_empty_row_without_a_number_still_counts(tmp_path: Path) -> None:
    """Case 16."""
    assert [r.row for r in read(tmp_path, "<row/>", "<row><c/></row>", row_of_texts("1"))] == [4]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("prefix", ["", "x:"])
@pytest.mark.parametrize("quote", ['"', "'"])
def test_quotes_prefixes_and_encodings_do_not_matter(
    tmp_path: Path, encoding: str, prefix: str, quote: str
) -> None:
    """Case 16: XML with single quotes, elements with a prefix, UTF-16."""
    xml = sheet_xml(HEADER + row(text("447700900130"), text("Hal"), '<c s="0"><v>5</v></c>'))
    names = ("worksheet", "sheetData", "row", "c", "is", "t", "v")
    for name in names:
        for mark in ("<", "</"):
            for end in (" ", ">"):
                xml = xml.replace(f"{mark}{name}{end}", f"{mark}{prefix}{name}{end}")
    if prefix:
        xml = xml.replace("xmlns=", "xmlns:x=")
    parts = parts_of(xml)
    made = {
        name: f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")[:6].rstrip("-")}"?>{part}'.replace(
            '"', quote
        )
        for name, part in parts.items()
    }
    mark = {"utf-16-le": "\ufeff", "utf-16-be": "\ufeff"}.get(encoding, "")
    path = save(tmp_path / "list.xlsx", {name: (mark + part).encode(encoding) for name, part in made.items()})
    with open_rows(path) as rows:
        assert list(rows) == [RawRow(2, GOOD)]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        (
            '<c t="inlineStr"><is><r><t>An</t></r><r><rPr><b/></rPr><t xml:space="preserve">n </t></r></is></c>',
            "Ann ",
        ),
        ('<c t="inlineStr"><is><t>安</t><rPh sb="0" eb="1"><t>あん</t></rPh></is></c>', "安"),
        ('<c t="s"><v>0</v></c>', "Ann"),
        ('<c t="s"><v>1</v></c>', "Ann-Bob"),
        ('<c t="s"><v>2</v></c>', "漢字"),
        ('<c t="str"><f>"A"&amp;"nn"</f><v>Ann</v></c>', "Ann"),
        ('<c t="str"><f>""</f><v></v></c>', ""),
        ('<c t="b"><v>1</v></c>', True),
        ('<c t="b"><v>0</v></c>', False),
        ('<c t="n"><v>1.5</v></c>', 1.5),
        ("<c><v>1E3</v></c>", 1000.0),
        ("<c/>", ""),
        ("<c><v/></c>", ""),
        ('<c t="inlineStr"><is><t/></is></c>', ""),
        ('<c t="d"><v>2026-03-01T00:00:00</v></c>', "2026-03-01T00:00:00"),
        ('<c t="inlineStr"><is><t>a&amp;b &lt; &#x674E; <![CDATA[<c>]]></t></is></c>', "a&b < 李 <c>"),
        ('<c t="inlineStr"><is><t>two_x000D_\nlines _x005F_x0041_</t></is></c>', "two\r\nlines _x0041_"),
        ('<c t="inlineStr"><is><t>a_x00</t></is></c>', "a_x00"),
    ],
)
def test_each_kind_of_cell(tmp_path: Path, cell: str, value: object) -> None:
    """Case 16: the siblings of what a cell may be."""
    strings = (
        "<si><t>Ann</t></si><si><r><t>Ann</t></r><r><t>-</t></r><r><t>Bob</t></r></si>"
        "<si><t>漢字</t><rPh><t>かんじ</t></rPh><phoneticPr/></si>"
    )
    rows = read(tmp_path, row(text("1"), cell, "<c><v>5</v></c>"), strings=strings)
    assert values(rows) == [{"to": "1", "name": value, "price": 5.0}]


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ('<c t="e"><v>#N/A</v></c>', "cell B2 holds a formula error"),
        ('<c t="e"><f>1/0</f><v>#DIV/0!</v></c>', "cell B2 holds a formula error"),
        ("<c><f>A1</f></c>", "cell B2 holds a formula that was never computed; open the file in Excel"),
        ('<c t="str"><f>A1</f></c>', "was never computed"),
    ],
)
def test_a_formula_without_a_value_refuses_its_row(tmp_path: Path, cell: str, why: str) -> None:
    (bad,) = read(tmp_path, row(text("1"), cell))
    assert isinstance(bad, RefusedRow)
    assert (bad.row, bad.field) == (2, "name")
    assert why in bad.why


@pytest.mark.parametrize(
    ("held", "sent"),
    [
        ("3.3000000000000003", "3.3"),
        ("0.30000000000000004", "0.3"),
        ("125.29999999999998", "125.3"),
        ("1E-5", "0.00001"),
        ("1.0000000000000001E-7", "0.0000001"),
        ("12345678901234567", "12345678901234600"),
        ("1E21", "1000000000000000000000"),
        ("447700900123", "447700900123"),
        ("-0.1", "-0.1"),
        ("100", "100"),
        ("0.1", "0.1"),
        ("2.5000000000000000000000000", "2.5"),
    ],
)
def test_a_number_has_the_15_digits_that_a_spreadsheet_shows(tmp_path: Path, held: str, sent: str) -> None:
    """Case 06: what is computed is sent as Excel shows it, and never as a power of ten."""
    (made,) = values(read(tmp_path, row(text("1"), text("a"), f"<c><v>{held}</v></c>")))
    assert as_text("price", made["price"]) == sent


@given(st.floats(1e-9, 1e14) | st.floats(-1e14, -1e-9))
def test_any_computed_number_has_at_most_15_digits_and_no_power(number: float) -> None:
    """Case 06, of rows from Python and JSON as well."""
    sent = as_text("price", number)
    assert sent is not None
    assert set(sent) <= set("-.0123456789")
    assert len(sent.lstrip("-").replace(".", "").strip("0")) <= 15
    assert float(sent) == float(f"{number:.15g}")


@pytest.mark.parametrize(
    ("code", "held", "sent"),
    [
        (14, "46082", "2026-03-01"),
        ("dd/mm/yyyy", "46082", "2026-03-01"),
        ('[$-409]d"." mmmm yyyy;@', "46082", "2026-03-01"),
        (22, "46082.5", "2026-03-01T12:00:00"),
        ("h:mm AM/PM", "0.5", "12:00:00"),
        ("[h]:mm", "1.5", "36:00"),
        ("[h]:mm", "0.0833333333", "2:00"),
        ("[h]:mm", "0.0832", "1:59"),
        ("[hh]:mm:ss", "0.25", "06:00:00"),
        ("[mm]:ss", "0.25", "360:00"),
        ("[ss].00", "0.5", "43200.00"),
        ('[h]" h "mm" min"', "1.5", "36 h 00 min"),
        ("[h]:mm", "-1.5", "-36:00"),
        (46, "0.25", "6:00:00"),
        (14, "1", "1900-01-01"),
        (14, "59", "1900-02-28"),
        (14, "61", "1900-03-01"),
        (14, "60.99999999999", "1900-03-01"),
        ("h:mm", "0", "00:00:00"),
        ('0 "days"', "7", "7"),
        ("General", "46082", "46082"),
        ('"date" 0', "46082", "46082"),
        ("[Red]0.00", "1.5", "1.5"),
        ("\\d0", "5", "5"),
    ],
)
def test_a_date_is_told_by_its_format(tmp_path: Path, code: str | int, held: str, sent: str) -> None:
    rows = read(
        tmp_path,
        row(text("1"), text("a"), f'<c s="1"><v>{held}</v></c>'),
        styles=styles_of(0, code),
    )
    assert as_text("price", values(rows)[0]["price"]) == sent


@pytest.mark.parametrize(
    ("code", "held", "why"),
    [
        (14, "-5", "cell C2 holds a number that is no date or time"),
        (14, "99999999", "cell C2 holds a number that is no date or time"),
        (14, "60", "29 February 1900"),
        (22, "60.5", "29 February 1900"),
        ("[h]:mm", "1e300", "cell C2 holds a number that is no date or time"),
        (14, "0", "cell C2 holds 0 as a date, which programs often write for an empty cell"),
        (22, "0.5", "cell C2 holds 0 as a date"),
    ],
)
def test_a_date_that_does_not_exist_refuses_its_row(
    tmp_path: Path, code: str | int, held: str, why: str
) -> None:
    """A sheet shows 29/02/1900, 00/01/1900 or #####: none of them can be sent."""
    (bad,) = read(
        tmp_path, row(text("1"), text("a"), f'<c s="1"><v>{held}</v></c>'), styles=styles_of(0, code)
    )
    assert isinstance(bad, RefusedRow)
    assert (bad.row, bad.field) == (2, "price")
    assert why in bad.why


def test_cells_of_a_row_may_stand_in_any_order(tmp_path: Path) -> None:
    """Each says where it stands; openpyxl and LibreOffice read it."""
    rows = read(
        tmp_path,
        '<row r="2"><c r="C2"><v>5</v></c><c r="A2" t="str"><v>447700900130</v></c>'
        '<c r="B2" t="str"><v>Hal</v></c></row>',
    )
    assert rows == [RawRow(2, GOOD)]


def test_dates_may_count_from_1904(tmp_path: Path) -> None:
    parts = parts_of(
        sheet_xml(HEADER + row(text("1"), text("a"), '<c s="1"><v>44620</v></c>')), styles=styles_of(0, 14)
    )
    parts["xl/workbook.xml"] = str(parts["xl/workbook.xml"]).replace(
        "<sheets>", '<workbookPr date1904="1"/><sheets>'
    )
    with open_rows(save(tmp_path / "list.xlsx", parts)) as rows:
        assert values(list(rows))[0]["price"] == "2026-03-01"


CELLS = (
    st.none()
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12).filter(
        lambda t: bool(t.strip())
    )
    | st.integers(-(10**14), 10**14)
    | st.booleans()
)


@settings(max_examples=60, deadline=None)
@given(
    table=st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=1, max_size=8), seed=st.integers(0, 9)
)
def test_what_openpyxl_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, table: list[list[object]], seed: int
) -> None:
    book = openpyxl.Workbook(write_only=bool(random.Random(seed).getrandbits(1)))
    sheet = book.create_sheet("People", 0)
    sheet.append(["to", "name", "note"])
    for n, cells in enumerate(table):
        sheet.append(
            [f"44770090{n:04}", *(f"'{c}" if isinstance(c, str) and c[0] in "=#" else c for c in cells)]
        )
    path = tmp_path_factory.mktemp("made") / "list.xlsx"
    stream = io.BytesIO()
    book.save(stream)
    path.write_bytes(stream.getvalue())
    with open_rows(path) as rows:
        read_back = [list(row.values.values()) for row in rows if isinstance(row, RawRow)]
    assert read_back == [
        [
            f"44770090{n:04}",
            *(f"'{c}" if isinstance(c, str) and c[0] in "=#" else "" if c is None else c for c in cells),
        ]
        for n, cells in enumerate(table)
    ]


def test_a_sheet_that_declares_the_strict_names_is_read(tmp_path: Path) -> None:
    strict = {
        name: str(part)
        .replace(MAIN, "http://purl.oclc.org/ooxml/spreadsheetml/main")
        .replace(
            "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
            "http://purl.oclc.org/ooxml/officeDocument/relationships",
        )
        for name, part in parts_of(
            sheet_xml(HEADER + row(text("447700900130"), text("Hal"), "<c><v>5</v></c>"))
        ).items()
    }
    with open_rows(save(tmp_path / "list.xlsx", strict)) as rows:
        assert list(rows) == [RawRow(2, GOOD)]
