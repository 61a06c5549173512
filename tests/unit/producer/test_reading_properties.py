"""Whatever a file holds, reading it neither crashes nor loses a row."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bulksend.errors import InvalidInput
from bulksend.messaging.plan import RefusedRow
from producer.reading import RawRow, open_rows

#: Cells as a writer may be given them: any character but a NUL and halves of characters.
CELLS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0") | st.sampled_from(',;\t"\n\r '),
    max_size=12,
)
#: CSV's own marks, so that trouble comes often.
MARKS = st.lists(
    st.sampled_from([b'"', b",", b";", b"\n", b"\r", b"a", b"\xff", b"\0", b" ", b"\xc3\xa9"]), max_size=60
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def read(path: Path, encoding: str | None = None) -> list[RawRow | RefusedRow] | None:
    """None where the file is refused as a whole."""
    try:
        with open_rows(path, encoding=encoding) as rows:
            found = list(rows)
    except InvalidInput:
        return None
    for row in found:
        assert row.row >= 1
        assert isinstance(row, RefusedRow) is bool(getattr(row, "why", ""))
    assert [row.row for row in found] == sorted({row.row for row in found})
    return found


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=400), name=st.sampled_from(["any.csv", "any.jsonl", "any.xlsx"]))
@example(data=b"\xff\xfe", name="any.csv")
@example(data=b"\xef\xbb", name="any.csv")
@example(data=b"{" * 400, name="any.jsonl")
def test_any_bytes_are_read_or_refused(folder: Path, data: bytes, name: str) -> None:
    path = folder / name
    path.write_bytes(data)
    read(path)


@settings(max_examples=200, deadline=None)
@given(parts=MARKS, encoding=st.sampled_from([None, "utf-8", "cp1252", "utf-16-le", "shift_jis"]))
def test_any_tangle_of_quotes_and_bytes_below_a_header_is_read_or_refused(
    folder: Path, parts: list[bytes], encoding: str | None
) -> None:
    path = folder / "tangle.csv"
    path.write_bytes(b"to,name\n" + b"".join(parts))
    read(path, encoding)


@settings(max_examples=200, deadline=None)
@given(parts=MARKS, lines=st.integers(1, 30))
def test_what_stands_above_never_costs_a_good_row_below(folder: Path, parts: list[bytes], lines: int) -> None:
    """The rows below hold no quote, so that nothing above can lawfully end among them."""
    path = folder / "below.csv"
    below = [f"{n},row{n}" for n in range(lines)]
    path.write_bytes(b"to,name\n" + b"".join(parts) + b"\n" + "\n".join(below).encode())
    rows = read(path, "utf-8")
    assert rows is not None
    assert [row.values for row in rows[-lines:] if isinstance(row, RawRow)] == [
        {"to": str(n), "name": f"row{n}"} for n in range(lines)
    ]


@settings(max_examples=150, deadline=None)
@given(
    table=st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1, max_size=8)
    ),
    delimiter=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n"]),
    codec=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_what_a_csv_writer_wrote_is_read_back(
    folder: Path, table: list[list[str]], delimiter: str, end: str, codec: str
) -> None:
    header = ["to", "name", "city", "note"][: len(table[0])]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([header, *table])
    path = folder / "written.csv"
    path.write_bytes(text.getvalue().encode(codec))
    wanted = [
        RawRow(number, dict(zip(header, cells, strict=True)))
        for number, cells in enumerate(table, 2)
        if any(cell.strip() for cell in cells)
    ]
    assert (read(path) or []) == wanted


@settings(max_examples=150, deadline=None)
@given(
    table=st.lists(
        st.tuples(st.integers(10**10, 10**14).map(str), CELLS.filter(lambda text: not text.startswith(" "))),
        min_size=1,
        max_size=30,
    ),
    delimiter=st.sampled_from(",;\t"),
)
def test_what_a_csv_writer_wrote_with_few_quotes_is_read_back(
    folder: Path, table: list[tuple[str, str]], delimiter: str
) -> None:
    path = folder / "few.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([("to", "name"), *table])
    assert read(path) == [RawRow(n, {"to": to, "name": name}) for n, (to, name) in enumerate(table, 2)]


VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | CELLS


@settings(max_examples=150, deadline=None)
@given(
    objects=st.lists(
        st.dictionaries(st.sampled_from(["name", "city", "note"]), VALUES).map(
            lambda row: {"to": "1", **row}
        ),
        min_size=1,
        max_size=8,
    ),
    ascii_only=st.booleans(),
)
def test_json_lines_are_read_back(folder: Path, objects: list[dict[str, object]], ascii_only: bool) -> None:
    path = folder / "written.jsonl"
    lines = (json.dumps(row, ensure_ascii=ascii_only) for row in objects)
    path.write_text("\n".join(lines), encoding="utf-8", newline="")
    assert read(path) == [RawRow(number, row) for number, row in enumerate(objects, 1)]


@settings(max_examples=150, deadline=None)
@given(lines=st.lists(st.text(st.sampled_from('{}[]",:0 \\u1aeN'), max_size=20), max_size=10))
def test_every_line_of_json_that_is_not_blank_comes_out_once(folder: Path, lines: list[str]) -> None:
    path = folder / "lines.jsonl"
    path.write_text("\n".join(['{"to": "1"}', *lines]), encoding="utf-8", newline="")
    rows = read(path)
    assert rows is not None
    assert [row.row for row in rows] == [1, *(n for n, line in enumerate(lines, 2) if line.strip(" "))]
