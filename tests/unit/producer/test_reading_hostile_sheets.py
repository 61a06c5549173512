"""Workbooks made to break their reader: each is refused in a sentence; its size bounds steps and memory."""

from __future__ import annotations

import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulksend.errors import InvalidInput
from producer.reading import open_rows
from producer.reading.bounded_xml import NAMES_MAX, PIECE, TOKEN_MAX, BadXml, XmlFeed
from producer.reading.header_row import letters
from producer.reading.sheet_cells import SheetCells
from producer.reading.workbook import Workbook
from tests.unit.producer.workbooks import MAIN, parts_of, row_of_texts, save, sheet_xml

GOOD = row_of_texts("to", "name") + row_of_texts("447700900123", "Ann")


def refusal(path: Path) -> str:
    with pytest.raises(InvalidInput) as caught:
        open_rows(path)
    return str(caught.value)


def steps(xml: bytes) -> int:
    """Bytes that the parser looks at, an unfinished element again with each piece; counted, not timed."""
    feed = XmlFeed(lambda name, attributes: None, lambda name: None)
    try:
        feed.feed(xml)
        feed.feed(b"")
    except BadXml:
        pass
    return feed.scanned


@pytest.mark.parametrize(
    "pump",
    [
        b'<c r="A1" ',  # what made the pattern of cells quadratic: 48 KB took 15 s
        b"<c " + b"s='1' " * 3,
        b"<c\n\t r=",
        b"<!-- ",
        b"<![CDATA[ ",
        b"<?a ",
        b"<a>",
        b"<x:a y:b='c'/>",
        b"&amp;",
        b"]]",
        b"-",
        b"<",
    ],
)
def test_steps_grow_no_faster_than_the_sheet(pump: bytes) -> None:
    """Case C14: twice the bytes take at most twice the steps, whatever is repeated."""
    begun = f'<worksheet xmlns="{MAIN}"><sheetData>'.encode()
    for size in (1 << 17, 1 << 19):
        xml = begun + pump * (size // len(pump))
        assert steps(xml) <= 2 * len(xml) + TOKEN_MAX


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (f'<row><c t="inlineStr" x="{"y" * (TOKEN_MAX + 70000)}"/></row>', "an element of more than"),
        (f"<!--{'-x' * TOKEN_MAX}-->", "an element of more than"),
        ("".join(f"<a{n}/>" for n in range(NAMES_MAX + 100)), "different names"),
        ("<row>" * 1000, "nested too deeply|row within a row"),
        ("<a>" * 1000, "nested too deeply"),
        ("<row><c><v>" + "<v>" * 1000, "nested too deeply"),
        (f'<row><c t="inlineStr"><is><t>{"x" * 300_000}</t></is></c></row>', "more than 131,072 characters"),
        ('<row r="2"><c><v>1</v></c></row><row r="1"><c><v>1</v></c></row>', "row 1 stands after row 2"),
        ('<row r="1"><c r="A9"><v>1</v></c></row>', "cell 'A9' stands in row 1"),
        (
            '<row r="1"><c r="B1"><v>1</v></c><c r="A1"><v>1</v></c><c><v>1</v></c></row>',
            "cell B1 stands in it twice",
        ),
        ('<row r="1"><c r="A1"><v>1</v></c><c r="A1"><v>1</v></c></row>', "cell A1 stands in it twice"),
        ('<row r="9999999"><c><v>1</v></c></row>', "at most 1,048,576"),
        ('<row r="-1"><c><v>1</v></c></row>', "a row numbered '-1'"),
        ('<row r="1"><c r="XFE1"><v>1</v></c></row>', "more than 16,384 columns"),
        ("<row><c><v>1_0</v></c></row>", "holds no number"),
        ("<row><c><v>nan</v></c></row>", "holds no number"),
        ("<row><c><v>1e999</v></c></row>", "holds no number"),
        ("<row><c><v>none</v></c></row>", "is damaged"),
        ('<row><c t="s"><v>7</v></c></row>', "is damaged"),
        ('<row><c t="z"><v>7</v></c></row>', "cell A1 is of an unknown type"),
        ('<row><c t="n"><v>7</row>', "its XML is broken at line 1"),
    ],
)
def test_a_sheet_that_no_program_writes_is_called_damaged_with_the_reason(
    tmp_path: Path, rows: str, said: str
) -> None:
    message = refusal(save(tmp_path / "list.xlsx", parts_of(sheet_xml(rows))))
    assert any(part in message for part in said.split("|")), message
    assert "save it as .xlsx or CSV again" in message


LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'


@pytest.mark.parametrize(
    "part",
    [
        "_rels/.rels",
        "xl/workbook.xml",
        "xl/_rels/workbook.xml.rels",
        "xl/styles.xml",
        "xl/worksheets/sheet1.xml",
    ],
)
@pytest.mark.parametrize("doctype", [LAUGHS, '<!DOCTYPE x SYSTEM "file:///etc/passwd">'])
def test_a_document_type_is_refused_in_every_part(tmp_path: Path, part: str, doctype: str) -> None:
    parts = parts_of(sheet_xml(GOOD), styles="<styleSheet/>")
    parts[part] = doctype + str(parts[part])
    assert "a document type (DTD)" in refusal(save(tmp_path / "list.xlsx", parts))


def test_a_document_type_is_refused_among_shared_texts(tmp_path: Path) -> None:
    parts = parts_of(sheet_xml('<row><c t="s"><v>0</v></c></row>'), strings="<si><t>to</t></si>")
    parts["xl/sharedStrings.xml"] = LAUGHS + str(parts["xl/sharedStrings.xml"])
    assert "a document type (DTD)" in refusal(save(tmp_path / "list.xlsx", parts))


def test_shared_texts_of_gigabytes_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    """Case C14: 12.5 MB that unpack to 2.1 GB ended the process. The list of parts is asked before any is read."""
    path = save(tmp_path / "list.xlsx", parts_of(sheet_xml(GOOD)))
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as book,
        book.open("xl/sharedStrings.xml", "w") as part,
    ):
        part.write(b"<sst><si><t>" + b" " * (8 << 20))
    stated = _with_stated_size(path, "xl/sharedStrings.xml", 0xFFFFFFFE)
    assert "unpacks to more than 2,048 MB" in refusal(stated)


def test_memory_holds_neither_the_sheet_nor_texts_that_it_does_not_use(tmp_path: Path) -> None:
    """64 MB of blanks and comments in the sheet, and as much in shared texts, are read in a few MB."""
    filler = (b"<!--" + b" " * 1000 + b"-->") * 1000
    path = save(tmp_path / "list.xlsx", parts_of(b""))
    parts = parts_of(b"")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        for name, data in parts.items():
            if not name.startswith("xl/worksheets"):
                book.writestr(name, data)
        with book.open("xl/worksheets/sheet1.xml", "w") as sheet:
            sheet.write(f'<worksheet xmlns="{MAIN}"><sheetData>{GOOD}'.encode())
            for _ in range(64):
                sheet.write(filler)
            sheet.write(b"</sheetData></worksheet>")
        with book.open("xl/sharedStrings.xml", "w") as strings:
            strings.write(b"<sst>")
            for _ in range(64):
                strings.write(b"<si><t>" + b"a" * 1000 + b"</t></si>")
    tracemalloc.start()
    try:
        with open_rows(path) as rows:
            assert len(list(rows)) == 1
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_size_that_lies_is_found_out(tmp_path: Path) -> None:
    path = save(tmp_path / "list.xlsx", parts_of(sheet_xml(GOOD)))
    assert "is damaged" in refusal(_with_stated_size(path, "xl/worksheets/sheet1.xml", 10))


def test_a_list_of_parts_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    path = save(tmp_path / "list.xlsx", parts_of(sheet_xml(GOOD)))
    with zipfile.ZipFile(path, "a") as book:
        for n in range(70_000):
            book.writestr(f"xl/media/{n:030}", b"")
    assert "it has far too many parts" in refusal(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_only_what_spreadsheet_programs_pack_with_is_unpacked(tmp_path: Path, method: int) -> None:
    """Their decompressors know no bound."""
    with zipfile.ZipFile(tmp_path / "list.xlsx", "w", method) as book:
        for name, data in parts_of(sheet_xml(GOOD)).items():
            book.writestr(name, data)
    assert "no spreadsheet program uses" in refusal(tmp_path / "list.xlsx")


def test_parts_with_one_name_are_refused(tmp_path: Path) -> None:
    """Which of them a program shows is its choice."""
    path = save(tmp_path / "list.xlsx", parts_of(sheet_xml(GOOD)))
    with zipfile.ZipFile(path, "a") as book:
        book.writestr("XL/worksheets/sheet1.xml", sheet_xml(GOOD))
    assert "two of its parts have the same name" in refusal(path)


@pytest.mark.parametrize(
    "target", ["../../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "http://127.0.0.1/x"]
)
def test_a_part_is_only_looked_for_inside_the_file(tmp_path: Path, target: str) -> None:
    parts = parts_of(sheet_xml(GOOD))
    parts["xl/_rels/workbook.xml.rels"] = str(parts["xl/_rels/workbook.xml.rels"]).replace(
        "worksheets/sheet1.xml", target
    )
    assert "is damaged" in refusal(save(tmp_path / "list.xlsx", parts))


def test_names_of_parts_that_would_leave_a_folder_harm_nothing(tmp_path: Path) -> None:
    """Nothing is ever unpacked to a disk."""
    path = save(
        tmp_path / "list.xlsx", {**parts_of(sheet_xml(GOOD)), "/etc/x": "", "../../x": "", "C:\\x": ""}
    )
    with open_rows(path) as rows:
        assert len(list(rows)) == 1
    assert [found.name for found in tmp_path.iterdir()] == ["list.xlsx"]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"mimetype": "application/vnd.oasis.opendocument.spreadsheet", "content.xml": ""}, "OpenDocument"),
        ({"Index/Document.iwa": "", "Metadata/Properties.plist": ""}, "Numbers document"),
        ({"_rels/.rels": "", "xl/workbook.bin": ""}, "binary workbook (.xlsb)"),
        ({"_rels/.rels": "", "word/document.xml": ""}, "Word document"),
        ({"_rels/.rels": "", "ppt/presentation.xml": ""}, "presentation"),
        ({"list.csv": "to,name"}, "zip archive without a workbook; unpack it"),
    ],
)
def test_another_format_that_was_renamed_is_called_by_its_name(
    tmp_path: Path, parts: dict[str, str], said: str
) -> None:
    assert said in refusal(save(tmp_path / "list.xlsx", parts))


@pytest.mark.parametrize(
    ("stream", "said"),
    [("EncryptedPackage", "protected by a password"), ("Workbook", "an old .xls"), ("Book", "an old .xls")],
)
def test_a_password_and_an_old_format_are_told_apart(tmp_path: Path, stream: str, said: str) -> None:
    (tmp_path / "list.xlsx").write_bytes(
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(3000) + stream.encode("utf-16-le") + bytes(500)
    )
    assert said in refusal(tmp_path / "list.xlsx")


def test_a_zip_with_a_password_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "list.xlsx", parts_of(sheet_xml(GOOD)))
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    path.write_bytes(data)
    assert "protected by a password" in refusal(path)


def test_macros_are_not_looked_at(tmp_path: Path) -> None:
    path = save(tmp_path / "list.xlsm", {**parts_of(sheet_xml(GOOD)), "xl/vbaProject.bin": b"\0\1\2"})
    with open_rows(path) as rows:
        assert len(list(rows)) == 1
    path.rename(tmp_path / "list.xlsx")
    with open_rows(tmp_path / "list.xlsx") as rows:
        assert len(list(rows)) == 1


def test_a_workbook_that_is_closed_twice_is_no_fault(tmp_path: Path) -> None:
    book = Workbook(save(tmp_path / "list.xlsx", parts_of(sheet_xml(GOOD))))
    book.close()
    book.close()


def _with_stated_size(path: Path, part: str, size: int) -> Path:
    """The file, whose list of parts states another size of one of them."""
    data = bytearray(path.read_bytes())
    at = data.rindex(part.encode()) - 46
    assert data[at : at + 4] == b"PK\x01\x02"
    data[at + 24 : at + 28] = size.to_bytes(4, "little")
    path.write_bytes(data)
    return path


EMPTY_CELLS = [
    '<c r="{a}" s="1"/>',
    '<c r="{a}" s="1" t="n"/>',
    '<c r="{a}" s="1" />',
    '<c r="{a}" s="1"></c>',
]


@pytest.mark.parametrize("cell", EMPTY_CELLS)
@pytest.mark.parametrize("prefix", ["", "x:"])
@pytest.mark.parametrize(
    ("rows", "columns", "value"),
    [(3000, 30, ""), (6, 16_000, ""), (90_000, 0, ""), (1000, 60, '<c r="A{row}"><v>1</v></c>')],
    ids=["formatted to the last row", "formatted to the last column", "only heights", "beside values"],
)
def test_cells_that_are_only_formatted_are_hardly_looked_at(
    tmp_path: Path, cell: str, prefix: str, rows: int, columns: int, value: str
) -> None:
    """A sheet formatted to row 1,048,576: of its empty cells at most a tenth is parsed; bytes counted, not timed."""
    names = [letters(n) for n in range(2, columns + 2)]
    made = [
        f'<row r="{row}" spans="1:9" ht="15">'
        + value.format(row=row)
        + "".join(cell.format(a=f"{name}{row}") for name in names)
        + "</row>"
        for row in range(3, rows + 3)
    ]
    empties = rows * sum(len(cell) + len(name) for name in names) or len("".join(made))
    xml = sheet_xml(GOOD + "".join(made))
    if prefix:
        xml = (
            xml.replace("</", "</\0")
            .replace("<", "<x:")
            .replace("<x:/\0", "</x:")
            .replace("xmlns=", "xmlns:x=")
        )
    with_book = Workbook(save(tmp_path / "list.xlsx", parts_of(xml)))
    cells = SheetCells(with_book, with_book.sheets[0])
    found = [row.number for row in cells]
    with_book.close()
    assert found == [1, 2, *(range(3, rows + 3) if value else ())]
    assert cells.scanned < len(xml) - 0.9 * empties


CELL = st.sampled_from(
    [
        *EMPTY_CELLS,
        *(
            "<c/>",
            "<c></c>",
            '<c s="1"/>',
            '<c r="{a}"><v/></c>',
            '<c r="{a}"><f/></c>',
            '<c s="1" r="{a}"/>',
        ),
        *(
            '<c r="{a}"><v>7</v></c>',
            "<c><v>8</v></c>",
            '<c r="{a}" t="inlineStr"><is><t>&lt;c/></t></is></c>',
        ),
    ]
)
ROW = st.tuples(
    st.sampled_from(["<row>", '<row r="{row}">', '<row r="{row}" s="1" >', '<row ht="9">']),
    st.lists(CELL, max_size=6),
    st.sampled_from(["", " ", "\n  "]),
)


@given(rows=st.lists(ROW, max_size=8), cut=st.integers(0, 300))
def test_leaving_empty_cells_out_moves_no_other(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, list[str], str]], cut: int
) -> None:
    """A sheet with a comment is parsed whole, so both must give the same rows, wherever the pieces are cut."""
    made = "".join(
        start.format(row=n)
        + space
        + space.join(cell.format(a=f"{letters(place)}{n}") for place, cell in enumerate(cells, 1))
        + f"</row>{space}"
        for n, (start, cells, space) in enumerate(rows, 3)
    )
    folder = tmp_path_factory.mktemp("made")
    found = []
    for mark in ("", "<!-- -->"):
        xml = sheet_xml(GOOD + mark + " " * (PIECE - cut) + made)
        book = Workbook(save(folder / "list.xlsx", parts_of(xml)))
        found.append(list(SheetCells(book, book.sheets[0])))
        book.close()
    assert found[0] == found[1]


@pytest.mark.parametrize("idle", ["<c/>", "<c><v/></c>", "<x/>"])
def test_more_elements_without_a_value_than_any_table_has_are_refused(tmp_path: Path, idle: str) -> None:
    xml = sheet_xml(GOOD + f"<row>{idle * 300}</row>" * 10)
    book = Workbook(save(tmp_path / "list.xlsx", parts_of(xml)))
    with pytest.raises(
        InvalidInput, match="has more than 2,000 empty cells that are only formatted; copy the table"
    ):
        list(SheetCells(book, book.sheets[0], idle_max=2000))
    book.close()
