"""CSV files: every row is read whole or refused with its reason, and none is lost."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from bulksend.errors import InvalidInput
from bulksend.messaging.plan import RefusedRow
from producer.reading import RawRow, open_rows


def write(folder: Path, text: str | bytes, name: str = "list.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return path


def read(path: Path, encoding: str | None = None) -> list[RawRow | RefusedRow]:
    with open_rows(path, encoding=encoding) as rows:
        return list(rows)


def one_bad(path: Path) -> RefusedRow:
    bad = [row for row in read(path) if isinstance(row, RefusedRow)]
    assert len(bad) == 1
    return bad[0]


def refusal(path: Path, encoding: str | None = None, sheet: str | None = None) -> str:
    with pytest.raises(InvalidInput) as caught:
        open_rows(path, encoding=encoding, sheet=sheet)
    return str(caught.value)


def test_rows_carry_the_number_that_a_spreadsheet_shows(tmp_path: Path) -> None:
    assert read(write(tmp_path, "to,name\n447700900001,Ann\n447700900002,Bo\n")) == [
        RawRow(2, {"to": "447700900001", "name": "Ann"}),
        RawRow(3, {"to": "447700900002", "name": "Bo"}),
    ]


def test_blank_rows_are_left_out_and_counted_in_the_numbers(tmp_path: Path) -> None:
    assert read(write(tmp_path, "\nto,name\n\n447700900001,Ann\n,\n  ,  \n447700900002,Bo\n\n\n")) == [
        RawRow(4, {"to": "447700900001", "name": "Ann"}),
        RawRow(7, {"to": "447700900002", "name": "Bo"}),
    ]


def test_a_cell_may_hold_delimiters_quotes_and_line_breaks(tmp_path: Path) -> None:
    path = write(
        tmp_path, 'to,name,note\r\n447700900001,"Smith, Ann","she said ""hi""\r\nand left"\r\n1,2,3\r\n'
    )
    assert read(path) == [
        RawRow(2, {"to": "447700900001", "name": "Smith, Ann", "note": 'she said "hi"\r\nand left'}),
        RawRow(3, {"to": "1", "name": "2", "note": "3"}),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_kind_of_line_end_is_read(tmp_path: Path, end: str) -> None:
    assert read(write(tmp_path, end.join(["to,name", "1,a", "2,b"]))) == [
        RawRow(2, {"to": "1", "name": "a"}),
        RawRow(3, {"to": "2", "name": "b"}),
    ]


def test_a_row_with_too_few_cells_is_refused_by_the_column_it_lacks(tmp_path: Path) -> None:
    bad = one_bad(write(tmp_path, "to,name,city\n1,a,x\n2,b\n3,c,z\n"))
    assert (bad.row, bad.field, bad.value) == (3, "city", "2 cells")
    assert "the row has 2 cells and the header 3" in bad.why


def test_a_row_with_too_many_cells_is_refused_with_the_remedy(tmp_path: Path) -> None:
    bad = one_bad(write(tmp_path, "to,name\n1,a\n2,Smith, Ann\n"))
    assert (bad.row, bad.field, bad.value) == (3, "row", "3 cells")
    assert "put quotes around a cell that holds commas" in bad.why


def test_empty_cells_beyond_the_header_are_no_fault(tmp_path: Path) -> None:
    assert read(write(tmp_path, "to,name\n1,a,,\n")) == [RawRow(2, {"to": "1", "name": "a"})]


def test_an_empty_first_cell_is_a_value_like_any_other(tmp_path: Path) -> None:
    assert read(write(tmp_path, "to,name\n,a\n")) == [RawRow(2, {"to": "", "name": "a"})]


def test_a_quote_never_closed_refuses_its_row_and_loses_no_other(tmp_path: Path) -> None:
    rows = read(write(tmp_path, 'to,name\n1,a\n2,"b\n3,c\n4,d\n'))
    assert [row.row for row in rows] == [2, 3, 4, 5]
    bad = rows[1]
    assert isinstance(bad, RefusedRow)
    assert bad.field == "name"
    assert "opens a quote that is not closed" in bad.why
    assert rows[3] == RawRow(5, {"to": "4", "name": "d"})


def test_a_stray_quote_does_not_swallow_the_rows_up_to_the_next_quote(tmp_path: Path) -> None:
    rows = read(write(tmp_path, 'to,name\n1,"a\n2,b\n3,"Smith, Ann"\n4,d\n'))
    assert [type(row) for row in rows] == [RefusedRow, RawRow, RawRow, RawRow]
    assert rows[2] == RawRow(4, {"to": "3", "name": "Smith, Ann"})


def test_a_stray_quote_far_from_the_end_costs_no_more_than_its_row(tmp_path: Path) -> None:
    lines = ["to,name", '1,"a', *(f"{n},somebody" for n in range(2, 100_000))]
    rows = read(write(tmp_path, "\n".join(lines)))
    assert len(rows) == len(lines) - 1
    assert [row.row for row in rows if isinstance(row, RefusedRow)] == [2]


def test_every_row_with_a_stray_quote_is_refused_by_itself(tmp_path: Path) -> None:
    rows = read(write(tmp_path, 'to,name\n1,"a" b\n2,"b" c\n3,c\n'))
    assert [type(row) for row in rows] == [RefusedRow, RefusedRow, RawRow]
    assert isinstance(rows[0], RefusedRow)
    assert rows[0].field == "name"
    assert "text after its closing quote" in rows[0].why


def test_a_row_of_too_many_lines_is_refused_and_its_other_lines_are_read_as_rows(tmp_path: Path) -> None:
    cells = ",".join('"' + "word\n" * 400 + '"' for _ in range(4))
    rows = read(write(tmp_path, f"to,a,b,c,d\n1,{cells}\n2,a,b,c,d\n"))
    assert rows[-1] == RawRow(2 + 4 * 400 + 1, {"to": "2", "a": "a", "b": "b", "c": "c", "d": "d"})
    assert [type(row) for row in rows] == [RefusedRow] * (4 * 400 + 1) + [RawRow]


def test_an_open_quote_in_every_line_costs_at_most_1000_lines_each(tmp_path: Path) -> None:
    lines = ['a","'] * 3000
    rows = read(write(tmp_path, "to,name\n" + "\n".join(lines) + "\n1,a\n"))
    assert sum(isinstance(row, RefusedRow) for row in rows) >= 2
    assert rows[-1] == RawRow(rows[-1].row, {"to": "1", "name": "a"})


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ('"1" x,a,b', "to"),
        ('"1","a" x,b', "name"),
        ('1,"a" x,"b"', "name"),
        ('"1,5","a ""b""","c"x', "city"),
        ('1,a,"b', "city"),
        ('1,"a,b', "name"),
    ],
)
def test_a_row_with_wrong_quotes_is_refused_by_the_column_they_are_in(
    tmp_path: Path, line: str, field: str
) -> None:
    assert one_bad(write(tmp_path, f"to,name,city\n{line}\n2,b,c\n")).field == field


def test_a_quote_inside_an_unquoted_cell_is_text(tmp_path: Path) -> None:
    assert read(write(tmp_path, 'to,name\n1,Ann "Annie" Lee\n')) == [
        RawRow(2, {"to": "1", "name": 'Ann "Annie" Lee'})
    ]


def test_a_nul_refuses_its_row_and_names_the_column(tmp_path: Path) -> None:
    bad = one_bad(write(tmp_path, b"to,name\n1,a\n2,b\0b\n3,c\n"))
    assert (bad.row, bad.field) == (3, "name")
    assert "NUL" in bad.why


def test_a_cell_of_more_than_128_kb_is_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    rows = read(write(tmp_path, f"to,name\n1,{'x' * 140_000}\n2,b\n"))
    assert isinstance(rows[0], RefusedRow)
    assert "is longer than" in rows[0].why
    assert rows[1] == RawRow(3, {"to": "2", "name": "b"})


def test_a_line_of_many_megabytes_is_refused_without_being_kept(tmp_path: Path) -> None:
    path = write(tmp_path, b"to,name\n1,a\n2," + b"x" * 40_000_000 + b"\n3,c\n")
    tracemalloc.start()
    rows = read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [type(row) for row in rows] == [RawRow, RefusedRow, RawRow]
    assert rows[2].row == 4
    assert peak < 20_000_000


def test_a_long_file_is_read_in_flat_memory(tmp_path: Path) -> None:
    path = write(tmp_path, "to,name\n" + "447700900123,David\n" * 100_000)
    tracemalloc.start()
    with open_rows(path) as rows:
        count = sum(1 for _ in rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 100_000
    assert peak < 3_000_000


def test_skipping_leaves_out_as_many_rows_good_or_bad_as_were_taken_before(tmp_path: Path) -> None:
    path = write(tmp_path, 'to,name\n1,a\n\n2\n3,"c\n4,d\n5,e,e\n6,f\n')
    every = read(path)
    for n in range(len(every) + 2):
        with open_rows(path) as rows:
            rows.skip(n)
            assert list(rows) == every[n:]


def test_reading_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with open_rows(write(tmp_path, "to\n1\n2\n3\n4\n")) as rows:
        first = next(iter(rows))
        rows.skip(1)
        assert [first.row, *(row.row for row in rows)] == [2, 4, 5]


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff", " , \n,,\n"])
def test_an_empty_file_is_refused(tmp_path: Path, content: str) -> None:
    assert "is empty" in refusal(write(tmp_path, content))


@pytest.mark.parametrize("content", ["to,name", "to,name\n", "to,name\n\n"])
def test_a_header_without_rows_is_refused(tmp_path: Path, content: str) -> None:
    assert "has a header and no rows" in refusal(write(tmp_path, content))


def test_a_column_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    assert "columns 1 (A) and 3 (C) of list.csv are both called 'TO'" in refusal(
        write(tmp_path, "to,name, TO \n1,a,2\n")
    )


def test_a_column_without_a_name_is_refused(tmp_path: Path) -> None:
    assert "column 2 (B) of list.csv has no name" in refusal(write(tmp_path, "to,,name\n1,2,3\n"))


def test_columns_without_a_name_at_the_end_must_be_empty(tmp_path: Path) -> None:
    path = write(tmp_path, "to,name,,\n1,a,,\n2,b,x,\n")
    with open_rows(path) as rows:
        assert rows.header == ("to", "name")
        assert rows.notes == ["2 columns at the end have no name; they must be empty"]
        good, bad = list(rows)
    assert good == RawRow(2, {"to": "1", "name": "a"})
    assert isinstance(bad, RefusedRow)


@pytest.mark.parametrize(
    "first", ["447700900123,Ann", "+44 7700 900123", "Ann;(020) 7946-0123", "447700900123.0,x"]
)
def test_a_file_without_a_header_is_refused_without_showing_the_number(tmp_path: Path, first: str) -> None:
    message = refusal(write(tmp_path, f"{first}\n447700900124,Bo\n"))
    assert "holds a phone number" in message
    assert "900123" not in message
    assert "946-0123" not in message
    assert "9460123" not in message


def test_a_column_may_be_named_by_a_date_where_the_recipients_column_is_known(tmp_path: Path) -> None:
    assert read(write(tmp_path, "to,2026-01-02\n1,a\n")) == [RawRow(2, {"to": "1", "2026-01-02": "a"})]


def test_a_broken_header_is_refused(tmp_path: Path) -> None:
    assert "quote that is not closed" in refusal(write(tmp_path, 'to,"name\n1,a\n'))


def test_a_header_with_a_nul_is_refused(tmp_path: Path) -> None:
    assert "cannot be read as text" in refusal(write(tmp_path, b"to,na\0me\n1,a\n"))


def test_a_column_name_is_read_without_blanks_and_invisible_marks_around_it(tmp_path: Path) -> None:
    with open_rows(write(tmp_path, "\ufeff\ufeffto , first\u200b  name\n1,a\n")) as rows:
        assert rows.header == ("to", "first name")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "none.csv")
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    assert "is not a file" in refusal(folder)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("list.doc", "to\n1\n", "rename the file to .csv, .xlsx or .jsonl"),
        ("list.json", "[]", "one JSON object a line"),
        ("list.xls", "to\n1\n", "save it as .xlsx or CSV"),
        ("list.csv.gz", "to\n1\n", ".gz files are not supported; unpack it first"),
        ("list.csv", b"PK\x03\x04....", "name a spreadsheet .xlsx"),
        ("list.csv", b"\x1f\x8b....", "unpack it first"),
        ("list.csv", '{"to": "1"}\n', "name the file .jsonl"),
        ("list.csv", "<html><table><tr><td>to", "holds a web page"),
    ],
)
def test_another_kind_of_file_is_refused_with_the_remedy(
    tmp_path: Path, name: str, content: str | bytes, said: str
) -> None:
    assert said in refusal(write(tmp_path, content, name))


def test_a_sheet_of_a_csv_is_refused(tmp_path: Path) -> None:
    assert "sheet: " in refusal(write(tmp_path, "to\n1\n"), sheet="One")


def test_closing_twice_is_no_fault(tmp_path: Path) -> None:
    rows = open_rows(write(tmp_path, "to\n1\n"))
    rows.close()
    rows.close()


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl"])
def test_rows_have_the_new_names_of_renamed_columns(tmp_path: Path, name: str) -> None:
    people = [("447700900001", "Ann"), ("447700900002", "Bo")]
    if name.endswith(".csv"):
        text = "Phone,First Name\n" + "".join(f"{to},{first}\n" for to, first in people)
    else:
        text = "".join(json.dumps({"Phone": to, "First Name": first}) + "\n" for to, first in people)
    with open_rows(write(tmp_path, text, name)) as source:
        source.rename_columns({"Phone": "to"})
        values = [row.values for row in source if isinstance(row, RawRow)]
    assert values == [{"to": to, "First Name": first} for to, first in people]
