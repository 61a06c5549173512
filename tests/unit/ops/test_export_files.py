"""Rows that leave the ledger as files: no cell is a formula, and a file is whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from openpyxl import load_workbook

from bulksend.errors import InvalidInput, LedgerUnreachable
from ops.export_files import FORMATS, check_fits, open_writer, safe_cell
from ops.parquet_files import GROUP


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_no_cell_is_a_formula(cell: str) -> None:
    assert safe_cell(cell) == "'" + cell


def test_a_phone_number_stays_as_it_is() -> None:
    assert safe_cell("447700900851") == "447700900851"


ROWS = [
    {"row": 1, "to": "447700900851", "status": "queued", "queued_at": "2030-03-01T08:00:00.125+00:00"},
    {"row": 2, "to": "447700900852", "status": "=1+1", "queued_at": None},
]


def written(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> Path:
    with open_writer(path, columns) as write:
        for row in rows:
            write(row)
    return path


def test_a_workbook_holds_text_as_text(tmp_path: Path) -> None:
    sheet = load_workbook(written(tmp_path / "out.xlsx", ROWS)).active
    assert [cell.value for cell in sheet[1]] == list(ROWS[0])
    assert [cell.value for cell in sheet[2]] == list(ROWS[0].values())
    assert [(cell.value, cell.data_type) for cell in sheet[3]][1:3] == [("447700900852", "s"), ("=1+1", "s")]
    assert sheet[3][2].quotePrefix
    assert list(tmp_path.iterdir()) == [tmp_path / "out.xlsx"]


def test_a_parquet_file_has_types(tmp_path: Path) -> None:
    table = pq.read_table(written(tmp_path / "out.parquet", ROWS))
    assert [str(field.type) for field in table.schema] == [
        "int64",
        "string",
        "string",
        "timestamp[ms, tz=UTC]",
    ]
    assert table.to_pylist()[0]["queued_at"] == datetime(2030, 3, 1, 8, 0, 0, 125_000, tzinfo=UTC)
    assert table.column("status").to_pylist() == ["queued", "=1+1"]


def test_a_parquet_file_is_written_in_groups(tmp_path: Path) -> None:
    rows = ({"row": n, "to": str(n)} for n in range(GROUP + 1))
    file = pq.ParquetFile(written(tmp_path / "out.parquet", rows))
    assert (file.num_row_groups, file.metadata.num_rows) == (2, GROUP + 1)


@pytest.mark.parametrize("ending", list(FORMATS))
def test_the_same_rows_give_the_same_file(tmp_path: Path, ending: str) -> None:
    one, other = (written(tmp_path / f"{name}{ending}", ROWS).read_bytes() for name in "ab")
    assert one == other


@pytest.mark.parametrize("ending", list(FORMATS))
def test_no_rows_are_a_file_as_well(tmp_path: Path, ending: str) -> None:
    assert written(tmp_path / f"none{ending}", []).is_file()
    assert written(tmp_path / f"header{ending}", [], ["row", "why"]).is_file()


@pytest.mark.parametrize("ending", list(FORMATS))
def test_a_file_that_is_not_written_to_its_end_does_not_appear(tmp_path: Path, ending: str) -> None:
    def rows() -> Iterator[Mapping[str, Any]]:
        yield ROWS[0]
        raise LedgerUnreachable("away")

    with pytest.raises(LedgerUnreachable):
        written(tmp_path / f"out{ending}", rows())
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "out.csv"
    os.mkfifo(pipe)
    with pytest.raises(InvalidInput, match=r"--output: .*out\.csv is not a file"):
        written(pipe, ROWS)
    assert pipe.is_fifo()


def test_what_a_workbook_cannot_hold_is_refused_with_the_remedy(tmp_path: Path) -> None:
    check_fits(".xlsx", 1_048_575, "--output")
    check_fits(".csv", 10_000_000, "--output")
    with pytest.raises(InvalidInput, match=r"1,048,575 rows.*\.csv"):
        check_fits(".xlsx", 1_048_576, "--output")
    with pytest.raises(InvalidInput, match=r"why: .*32,767 characters.*\.csv"):
        written(tmp_path / "out.xlsx", [{"why": "x" * 40_000}])
    assert list(tmp_path.iterdir()) == []


def test_an_ending_without_a_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"--output: must end in \.csv, \.jsonl, \.xlsx or \.parquet"):
        written(tmp_path / "out.pdf", [])
