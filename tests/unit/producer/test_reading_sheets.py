"""Spreadsheets: one sheet of an .xlsx."""

from __future__ import annotations

import datetime
import zipfile
from pathlib import Path

import openpyxl
import pytest
from openpyxl.worksheet.worksheet import Worksheet

from bulksend.errors import InvalidInput
from bulksend.messaging.plan import RefusedRow
from producer.reading import RawRow, open_rows
from producer.reading.workbook import Workbook


def write(folder: Path, rows: list[list[object]], name: str = "list.xlsx") -> Path:
    book = openpyxl.Workbook()
    fill(book.worksheets[0], rows)
    path = folder / name
    book.save(path)
    return path


def fill(sheet: Worksheet, rows: list[list[object]]) -> None:
    for row in rows:
        sheet.append(row)


def read(path: Path, sheet: str | None = None) -> list[RawRow | RefusedRow]:
    with open_rows(path, sheet=sheet) as rows:
        return list(rows)


def refusal(path: Path, sheet: str | None = None, encoding: str | None = None) -> str:
    with pytest.raises(InvalidInput) as caught:
        open_rows(path, sheet=sheet, encoding=encoding)
    return str(caught.value)


def test_rows_carry_the_number_that_the_sheet_shows(tmp_path: Path) -> None:
    path = write(tmp_path, [["to", "name"], ["447700900001", "Ann"], [], ["447700900002", "李雷"]])
    assert read(path) == [
        RawRow(2, {"to": "447700900001", "name": "Ann"}),
        RawRow(4, {"to": "447700900002", "name": "李雷"}),
    ]


def test_a_table_may_stand_away_from_the_corner(tmp_path: Path) -> None:
    path = write(tmp_path, [[], [None, None, "to", "name"], [None, None, "1", "a"]])
    assert read(path) == [RawRow(3, {"to": "1", "name": "a"})]


def test_numbers_and_booleans_stay_what_they_are_and_a_note_warns_of_lost_zeros(tmp_path: Path) -> None:
    with open_rows(
        write(tmp_path, [["to", "vip", "price"], [447700900001, True, 1.5], [447700900002, False, 2]])
    ) as rows:
        assert [row.values for row in rows if isinstance(row, RawRow)] == [
            {"to": 447700900001.0, "vip": True, "price": 1.5},
            {"to": 447700900002.0, "vip": False, "price": 2.0},
        ]
        assert [
            name for name, notes in rows.column_notes.items() if "no leading zeros" in "".join(notes)
        ] == [
            "to",
            "price",
        ]


def test_dates_times_and_lengths_become_iso_8601(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        [
            ["to", "send_at", "day", "at", "ttl"],
            [
                "1",
                datetime.datetime(2030, 3, 1, 9, 30),  # noqa: DTZ001 - a cell has no zone
                datetime.date(2030, 3, 1),
                datetime.time(9, 30),
                datetime.timedelta(minutes=10),
            ],
        ],
    )
    assert read(path) == [
        RawRow(
            2,
            {
                "to": "1",
                "send_at": "2030-03-01T09:30:00",
                "day": "2030-03-01",
                "at": "09:30:00",
                "ttl": "00:10:00",
            },
        )
    ]


def test_a_formulas_error_refuses_its_row_and_names_the_cell(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    fill(sheet, [["to", "name"], ["1", "a"], ["2", "b"], ["3", "#N/A in a text"]])
    sheet["B3"].value = "#N/A"
    sheet["B3"].data_type = "e"
    book.save(tmp_path / "list.xlsx")
    rows = read(tmp_path / "list.xlsx")
    bad = rows[1]
    assert isinstance(bad, RefusedRow)
    assert (bad.row, bad.field) == (3, "name")
    assert "cell B3 holds a formula error" in bad.why
    assert rows[2] == RawRow(4, {"to": "3", "name": "#N/A in a text"})


def test_a_row_of_nothing_but_an_error_is_refused_not_left_out(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    fill(sheet, [["to"], ["1"], ["#REF!"]])
    sheet["A3"].data_type = "e"
    book.save(tmp_path / "list.xlsx")
    assert [type(row) for row in read(tmp_path / "list.xlsx")] == [RawRow, RefusedRow]


def test_a_cell_outside_the_named_columns_refuses_its_row(tmp_path: Path) -> None:
    rows = read(write(tmp_path, [["to", "name"], ["1", "a"], ["2", "b", "note to self"]]))
    bad = rows[1]
    assert isinstance(bad, RefusedRow)
    assert "cell C3 is in a column without a name" in bad.why


def test_the_first_visible_sheet_is_read_and_a_note_says_so(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.worksheets[0].sheet_state = "hidden"
    for name in ("March", "April"):
        fill(book.create_sheet(name), [["to"], [name]])
    book.save(tmp_path / "list.xlsx")
    with open_rows(tmp_path / "list.xlsx") as rows:
        assert rows.notes == [
            "read the sheet 'March', the first of 2, 1 more is hidden (sheet takes another)"
        ]
        assert [row.values for row in rows if isinstance(row, RawRow)] == [{"to": "March"}]
    assert read(tmp_path / "list.xlsx", "April") == [RawRow(2, {"to": "April"})]
    assert "has no sheet 'May'; it has Sheet, March, April" in refusal(tmp_path / "list.xlsx", "May")


def test_errors_are_looked_for_in_the_sheet_that_is_read(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    fill(book.worksheets[0], [["to"], ["1"]])
    other = book.create_sheet("Other & more", 0)
    fill(other, [["to"], ["#N/A"], ["2"]])
    other["A2"].data_type = "e"
    book.save(tmp_path / "list.xlsx")
    assert [type(row) for row in read(tmp_path / "list.xlsx")] == [RefusedRow, RawRow]
    assert [type(row) for row in read(tmp_path / "list.xlsx", "Sheet")] == [RawRow]


def test_a_merged_title_above_the_table_is_refused(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    fill(book.worksheets[0], [["Spring campaign"], ["to", "name"], ["1", "a"]])
    book.worksheets[0].merge_cells("A1:B1")
    book.save(tmp_path / "list.xlsx")
    assert "cells A to B in the first row of list.xlsx are merged" in refusal(tmp_path / "list.xlsx")


def test_cells_of_several_rows_that_are_merged_are_refused_in_a_column_in_use(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    fill(book.worksheets[0], [["to", "name", "city"], ["1", "a", "x"], ["2", "", "y"], ["3", "c", "z"]])
    book.worksheets[0].merge_cells("B2:B3")
    book.worksheets[0].merge_cells("C4:D4")
    book.save(tmp_path / "list.xlsx")
    with open_rows(tmp_path / "list.xlsx") as rows:
        assert rows.notes_for(["to", "city"]) == []
        with pytest.raises(
            InvalidInput, match=r"cells B2:B3 of list\.xlsx, in the column 'name', are merged"
        ):
            rows.notes_for(["to", "name"])


def test_a_sheet_without_a_header_is_refused_without_showing_the_number(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, [[447700900123, "Ann"], [447700900124, "Bo"]]))
    assert "holds a phone number" in message
    assert "900123" not in message


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "is empty"),
        ([["to", "name"]], "has a header and no rows"),
        ([["to", None, "name"], ["1", "2", "3"]], "column 2 (B) of list.xlsx has no name"),
        ([["to", "To"], ["1", "2"]], "both called"),
    ],
)
def test_a_header_that_cannot_be_used_is_refused(tmp_path: Path, rows: list[list[object]], said: str) -> None:
    assert said in refusal(write(tmp_path, rows))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"to,name\n1,a\n", "is not a spreadsheet"),
        (b"PK\x03\x04 and then nothing of use", "is damaged"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "an old .xls"),
    ],
)
def test_a_file_that_is_no_spreadsheet_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "list.xlsx"
    path.write_bytes(content)
    assert said in refusal(path)


def test_a_spreadsheet_damaged_anywhere_is_refused_or_read_but_never_crashes(tmp_path: Path) -> None:
    whole = write(tmp_path, [["to", "name"], ["1", "a"]]).read_bytes()
    path = tmp_path / "cut.xlsx"
    outcomes = set()
    for at in range(0, len(whole), 97):
        for damaged in (whole[:at], whole[:at] + b"\xff\x00\xff" + whole[at + 3 :]):
            path.write_bytes(damaged)
            outcomes.add(refused_or_read(path))
    assert outcomes == {"refused", "read"}


def refused_or_read(path: Path) -> str:
    try:
        read(path)
    except InvalidInput:
        return "refused"
    return "read"


def test_a_stray_cell_in_the_farthest_corner_costs_its_own_row_only(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    fill(sheet, [["to"], ["1"]])
    sheet["XFD1048576"] = "x"
    book.save(tmp_path / "list.xlsx")
    good, stray = read(tmp_path / "list.xlsx")
    assert good == RawRow(2, {"to": "1"})
    assert isinstance(stray, RefusedRow)
    assert "cell XFD1048576 is in a column without a name" in stray.why


def test_cells_that_are_only_formatted_do_not_count_as_far(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    fill(sheet, [["to"], ["1"]])
    sheet["XFD1048576"].font = openpyxl.styles.Font(bold=True)
    book.save(tmp_path / "list.xlsx")
    assert read(tmp_path / "list.xlsx") == [RawRow(2, {"to": "1"})]


def test_a_workbook_that_unpacks_to_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    path = write(tmp_path, [["to"], ["1"]])
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as book, book.open("xl/media/bomb", "w") as part:
        for _ in range(300):
            part.write(bytes(1 << 20))
    Workbook(path).close()
    with pytest.raises(InvalidInput, match="unpacks to more than 256 MB"):
        Workbook(path, unpacked_max=256 << 20)


def test_an_encoding_for_a_spreadsheet_is_refused(tmp_path: Path) -> None:
    assert "encoding: " in refusal(write(tmp_path, [["to"], ["1"]]), encoding="cp1252")


def test_skipping_leaves_out_rows_good_or_bad(tmp_path: Path) -> None:
    path = write(tmp_path, [["to"], ["1"], [], ["2", "x"], ["3"], ["4"]])
    every = read(path)
    for n in range(6):
        with open_rows(path) as rows:
            rows.skip(n)
            assert list(rows) == every[n:]


def test_closing_twice_is_no_fault(tmp_path: Path) -> None:
    rows = open_rows(write(tmp_path, [["to"], ["1"]]))
    rows.close()
    rows.close()
