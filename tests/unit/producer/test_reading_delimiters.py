"""The delimiter of a CSV file is detected: comma, semicolon or tab."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulksend.errors import InvalidInput
from bulksend.messaging.plan import RefusedRow
from producer.reading import RawRow, open_rows


def read(folder: Path, text: str, name: str = "list.csv") -> tuple[str | None, list[RawRow | RefusedRow]]:
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    with open_rows(path) as rows:
        return rows.delimiter, list(rows)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    found, rows = read(tmp_path, f"to{delimiter}name\n1{delimiter}a\n")
    assert found == delimiter
    assert rows == [RawRow(2, {"to": "1", "name": "a"})]


def test_commas_in_cells_do_not_hide_the_semicolons(tmp_path: Path) -> None:
    found, rows = read(tmp_path, "to;name, first and last;city\n1;Smith, Ann;York, UK\n2;Lee, Bo;Leeds, UK\n")
    assert found == ";"
    assert rows[0] == RawRow(2, {"to": "1", "name, first and last": "Smith, Ann", "city": "York, UK"})


def test_more_semicolons_inside_a_quoted_name_do_not_win(tmp_path: Path) -> None:
    found, _ = read(tmp_path, 'to,"tags; one; two; three"\n1,"a;b;c"\n')
    assert found == ","


def test_quotes_around_names_tell_the_delimiter_where_no_recipients_column_does(tmp_path: Path) -> None:
    found, _ = read(tmp_path, 'who,"tags; one; two; three"\n1,"a;b;c;d"\n')
    assert found == ","


def test_the_recipients_column_decides_where_both_could_be(tmp_path: Path) -> None:
    found, _ = read(tmp_path, "phone;a,b,c,d\n1;x,x,x,x\n")
    assert found == ";"


def test_without_a_recipients_column_the_rows_decide(tmp_path: Path) -> None:
    found, _ = read(tmp_path, "who, where;what\na;1\nb;2\n")
    assert found == ";"


def test_a_quote_that_is_never_closed_further_down_does_not_mislead(tmp_path: Path) -> None:
    found, rows = read(tmp_path, 'to;name\n1;a,b\n2;"c\n3;d\n')
    assert found == ";"
    assert [type(row) for row in rows] == [RawRow, RefusedRow, RawRow]


def test_a_single_column_needs_no_delimiter(tmp_path: Path) -> None:
    _, rows = read(tmp_path, "to\n+44 7700 900001\n+44 7700 900002\n")
    assert [row.values["to"] for row in rows if isinstance(row, RawRow)] == [
        "+44 7700 900001",
        "+44 7700 900002",
    ]


def test_excels_first_line_that_names_the_delimiter_is_heeded_and_not_counted(tmp_path: Path) -> None:
    found, rows = read(tmp_path, "sep=;\r\nto;name\r\n1;a,b\r\n")
    assert found == ";"
    assert rows == [RawRow(2, {"to": "1", "name": "a,b"})]


def test_cells_quoted_after_a_blank_are_read_as_quoted(tmp_path: Path) -> None:
    _, rows = read(tmp_path, 'to, name\n1, "Smith, Ann"\n2, "Bo"\n')
    assert rows == [RawRow(2, {"to": "1", "name": "Smith, Ann"}), RawRow(3, {"to": "2", "name": "Bo"})]


def test_a_tsv_is_read_like_a_csv(tmp_path: Path) -> None:
    found, rows = read(tmp_path, "to\tname\n1\ta, b\n", "list.tsv")
    assert found == "\t"
    assert rows == [RawRow(2, {"to": "1", "name": "a, b"})]


def test_a_note_names_the_delimiter(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("to;name\n1;a\n", encoding="utf-8")
    with open_rows(path) as rows:
        assert rows.notes == ["cells are separated by semicolons"]


def test_bars_are_refused_unless_the_file_names_them(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"the columns of list.csv are separated by \|"):
        read(tmp_path, "to|name\n1|a\n")
    assert read(tmp_path, "sep=|\nto|name\n1|a\n")[0] == "|"
