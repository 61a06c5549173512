"""Rows as CSV or JSON lines, for spreadsheets and programs. No cell is a formula."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from bulksend.errors import InvalidInput

Row = Mapping[str, Any]

#: ASVS 1.2.10: a cell that begins with one of these is a formula to a spreadsheet. Our phone numbers are bare
#: digits, so none of them is touched.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\0")


def safe_cell(value: object) -> object:
    """A value as a CSV cell: text that would be a formula gets a leading apostrophe."""
    if value is None:
        return ""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return value


def write_csv(rows: Iterable[Row], stream: TextIO) -> None:
    """The rows with a header; nothing for no rows."""
    write = _csv_writer(stream)
    for row in rows:
        write(row)


@contextmanager
def open_writer(path: Path, columns: Sequence[str] | None = None) -> Iterator[Callable[[Row], None]]:
    """A function that writes a row to ``path``: CSV or JSON lines by its ending, ``-`` is CSV on stdout.

    ``columns`` are the header of a CSV; None: those of the first row. A CSV file begins with a byte order mark, or
    Excel would read it in a code page. A file appears under its name only when it is whole.

    Raises InvalidInput where it cannot be written.
    """
    if str(path) == "-":
        yield _csv_writer(sys.stdout, columns)
        sys.stdout.flush()
        return
    partial = path.with_name(path.name + ".part")
    is_csv = path.suffix == ".csv"
    try:
        with partial.open("w", encoding="utf-8-sig" if is_csv else "utf-8", newline="") as file:
            yield _csv_writer(file, columns) if is_csv else _jsonl_writer(file)
        partial.replace(path)
    except OSError as error:
        raise InvalidInput(f"--output: {path} cannot be written: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)


def _csv_writer(stream: TextIO, columns: Sequence[str] | None = None) -> Callable[[Row], None]:
    writer = csv.writer(stream, lineterminator="\r\n" if stream is not sys.stdout else "\n")
    header: list[str] = []

    def begin(names: Iterable[str]) -> None:
        header.extend(names)
        writer.writerow([safe_cell(name) for name in header])

    def write(row: Row) -> None:
        if not header:
            begin(row)
        writer.writerow([safe_cell(row[name]) for name in header])

    if columns:
        begin(columns)
    return write


def _jsonl_writer(stream: TextIO) -> Callable[[Row], None]:
    def write(row: Row) -> None:
        stream.write(json.dumps(row, ensure_ascii=False) + "\n")

    return write
