"""JSON lines: one flat object a line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bulksend.errors import InvalidInput
from bulksend.messaging.plan import RefusedRow
from producer.reading import RawRow, open_rows


def write(folder: Path, *lines: str) -> Path:
    path = folder / "list.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8", newline="")
    return path


def read(path: Path) -> list[RawRow | RefusedRow]:
    with open_rows(path) as rows:
        return list(rows)


def test_a_line_is_a_row_and_its_number_is_the_lines(tmp_path: Path) -> None:
    path = write(tmp_path, '{"to": "1", "name": "a"}', "", '{"to": "2", "name": "b"}', "  ")
    assert read(path) == [RawRow(1, {"to": "1", "name": "a"}), RawRow(3, {"to": "2", "name": "b"})]


def test_values_keep_their_types(tmp_path: Path) -> None:
    values = {"to": 447700900123, "name": "a", "price": 1.5, "vip": True, "city": None}
    assert read(write(tmp_path, json.dumps(values))) == [RawRow(1, values)]


@pytest.mark.parametrize(
    ("line", "field", "said"),
    [
        ('{"to": "1", "to": "2"}', "to", "stands twice"),
        ('{"to": "1", "TO": "2"}', "to", "stands twice"),
        ('{"to": "1", "name": NaN}', "row", "has NaN"),
        ('{"to": "1", "name": -Infinity}', "row", "has -Infinity"),
        ('{"to": "1", "name": 1e400}', "name", "too large"),
        ('{"to": ' + "9" * 5000 + "}", "row", "more than 4,300 digits"),
        ('{"to": "1", "name": ["a"]}', "name", "is a list"),
        ('{"to": "1", "name": {"a": 1}}', "name", "is an object"),
        ('["1", "a"]', "row", "is a list"),
        ('"1"', "row", "is a text"),
        ("1", "row", "is a number"),
        ("null", "row", "is null"),
        ("{}", "row", "is an empty object"),
        ('{"to": "1"', "row", "is not JSON"),
        ("{'to': '1'}", "row", "is not JSON"),
        ("to,name", "row", "is not JSON"),
        ('{"to": ' + "[" * 100_000 + "]" * 100_000 + "}", "row", "nested too deeply"),
        ('{"to": "1", "name": "\\ud800"}', "name", "lone surrogate"),
        ('{"to": "1", "name": "\\u0000"}', "name", "NUL"),
        ('{"to": "1", "": "a"}', "row", "field whose name is empty"),
        ('{"to": "1", "name": "' + "x" * 1_100_000 + '"}', "row", "longer than"),
    ],
)
def test_a_line_that_is_no_row_is_refused_and_the_rest_goes_on(
    tmp_path: Path, line: str, field: str, said: str
) -> None:
    rows = read(write(tmp_path, '{"to": "1", "name": "a"}', line, '{"to": "3", "name": "c"}'))
    assert [row.row for row in rows] == [1, 2, 3]
    bad = rows[1]
    assert isinstance(bad, RefusedRow)
    assert bad.field == field
    assert said in bad.why
    assert rows[2] == RawRow(3, {"to": "3", "name": "c"})


def test_the_columns_are_those_of_all_the_first_rows(tmp_path: Path) -> None:
    path = write(tmp_path, '{"to": "1"}', '{"to": "2", "name": "b"}', '{"city": "York", "to": "3"}')
    with open_rows(path) as rows:
        assert rows.header == ("to", "name", "city")
        assert [row.values for row in rows if isinstance(row, RawRow)] == [
            {"to": "1"},
            {"to": "2", "name": "b"},
            {"to": "3", "city": "York"},
        ]


def test_one_column_may_be_spelled_in_upper_and_lower_case(tmp_path: Path) -> None:
    assert read(write(tmp_path, '{"To": "1"}', '{"to ": "2"}')) == [
        RawRow(1, {"To": "1"}),
        RawRow(2, {"To": "2"}),
    ]


def test_a_field_that_first_comes_up_late_in_a_long_file_is_refused_not_dropped(tmp_path: Path) -> None:
    filler = json.dumps({"to": "1", "name": "x" * 500_000})
    rows = read(write(tmp_path, *[filler] * 40, '{"to": "2", "city": "York"}'))
    bad = rows[-1]
    assert isinstance(bad, RefusedRow)
    assert (bad.row, bad.field) == (41, "city")
    assert "add it to the first line too" in bad.why


def test_skipping_leaves_out_lines_good_or_bad(tmp_path: Path) -> None:
    path = write(tmp_path, '{"to": "1"}', "junk", "", '{"to": "3"}', '{"to": "4"}')
    every = read(path)
    for n in range(6):
        with open_rows(path) as rows:
            rows.skip(n)
            assert list(rows) == every[n:]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([""], "is empty"),
        (['[{"to": "1"}]'], "is one JSON array"),
        (["junk", "junk"], "no usable line; line 1 is not JSON"),
        (['{"to": "1"}\r{"to": "2"}\r'], r"end with a carriage return \(CR\) alone"),
    ],
)
def test_a_file_without_any_row_is_refused(tmp_path: Path, lines: list[str], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        open_rows(write(tmp_path, *lines))


def test_a_reason_never_shows_a_phone_number(tmp_path: Path) -> None:
    bad = read(write(tmp_path, '{"to": "1"}', '{"to": "1", "447700900123": "a", "447700900123": "b"}'))[1]
    assert isinstance(bad, RefusedRow)
    assert "447700900123" not in f"{bad.field}{bad.value}{bad.why}"
