"""Rows as files for spreadsheets and programs: CSV, JSON lines, XLSX, Parquet. No cell is a formula."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TextIO

from bulksend.errors import InvalidInput

Row = Mapping[str, Any]
Write = Callable[[Row], None]

#: ASVS 1.2.10: a cell that begins with one of these is a formula to a spreadsheet. Our phone numbers are bare
#: digits, so none of them is touched.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\0")


def safe_cell(value: object) -> object:
    """A value as a CSV cell: text that would be a formula gets a leading apostrophe."""
    if value is None:
        return ""
    if isinstance(value, str) and value.startswith(FORMULA):
        return "'" + value
    return value


def write_csv(rows: Iterable[Row], stream: TextIO) -> None:
    """The rows with a header; nothing for no rows."""
    write = _csv_writer(stream)
    for row in rows:
        write(row)


def csv_lines(rows: Iterable[Row], columns: Sequence[str], *, at_once: int = 500) -> Iterator[bytes]:
    """The rows as a CSV file in parts, as they are made; with a byte order mark, or Excel would read it in a code page.

    ``columns`` are the header.
    """
    part = io.StringIO("\ufeff", newline="")
    part.seek(0, io.SEEK_END)
    write = _csv_writer(part, columns)
    for number, row in enumerate(rows, 1):
        write(row)
        if number % at_once == 0:
            yield part.getvalue().encode()
            part.seek(0)
            part.truncate()
    yield part.getvalue().encode()


@contextmanager
def open_writer(
    path: Path, columns: Sequence[str] | None = None, *, field: str = "--output"
) -> Iterator[Write]:
    """A function that writes a row to ``path``, in the format of its ending; ``-`` is CSV on stdout.

    ``columns`` are the header; None: those of the first row. A file appears under its name only when it is whole.
    ``field`` names the path in errors. Raises InvalidInput where it cannot be written, or its format cannot hold the
    rows.
    """
    if str(path) == "-":
        yield _csv_writer(sys.stdout, columns)
        sys.stdout.flush()
        return
    opened = checked_format(path.suffix, field=field)
    with _whole_file(path, field) as partial, opened(partial, columns) as write:
        yield write


def check_ending(path: Path, endings: Sequence[str], *, field: str) -> None:
    """Raises InvalidInput for a file that ends in none of these; ``-`` is stdout."""
    if str(path) != "-" and path.suffix not in endings:
        raise InvalidInput(f"{field}: must end in {' or '.join(endings)}")


def check_is_file(path: Path, *, field: str) -> None:
    """Raises InvalidInput for a device, a pipe or a folder, which a file cannot replace; ``-`` is stdout."""
    if str(path) != "-" and path.exists() and not path.is_file():
        raise InvalidInput(f"{field}: {path} is not a file")


def write_text(path: Path, text: str, *, field: str) -> None:
    """Write a file, or stdout for ``-``. It appears under its name only when it is whole. Raises InvalidInput."""
    if str(path) == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    with _whole_file(path, field) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def _whole_file(path: Path, field: str) -> Iterator[Path]:
    """A file to write, which gets the name ``path`` at the end. Raises InvalidInput where it cannot be written."""
    check_is_file(path, field=field)
    partial = path.with_name(path.name + ".part")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise InvalidInput(f"{field}: {path} cannot be written: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)


def checked_format(ending: str, *, field: str) -> Callable[..., AbstractContextManager[Write]]:
    """What opens a file of this ending. Raises InvalidInput where there is no such format, or it needs a package."""
    if ending not in FORMATS:
        raise InvalidInput(f"{field}: must end in {', '.join(list(FORMATS)[:-1])} or {list(FORMATS)[-1]}")
    if ending == ".parquet":
        from ops.parquet_files import check_installed

        check_installed(field)
    return FORMATS[ending]


def check_fits(ending: str, rows: int, field: str) -> None:
    """Raises InvalidInput when a file of this ending cannot hold that many rows."""
    if ending == ".xlsx":
        from ops.workbook_files import check_row_count

        check_row_count(rows, field)


@contextmanager
def _csv_file(path: Path, columns: Sequence[str] | None) -> Iterator[Write]:
    # It begins with a byte order mark, or Excel would read it in a code page.
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        yield _csv_writer(file, columns)


@contextmanager
def _jsonl_file(path: Path, _columns: Sequence[str] | None) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="") as file:

        def write(row: Row) -> None:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")

        yield write


@contextmanager
def _xlsx_file(path: Path, columns: Sequence[str] | None) -> Iterator[Write]:
    from ops.workbook_files import open_workbook

    with open_workbook(path, columns) as write:
        yield write


@contextmanager
def _parquet_file(path: Path, columns: Sequence[str] | None) -> Iterator[Write]:
    from ops.parquet_files import open_parquet

    with open_parquet(path, columns) as write:
        yield write


#: What opens a file, by its ending.
FORMATS: Mapping[str, Callable[[Path, Sequence[str] | None], AbstractContextManager[Write]]] = {
    ".csv": _csv_file,
    ".jsonl": _jsonl_file,
    ".xlsx": _xlsx_file,
    ".parquet": _parquet_file,
}


def _csv_writer(stream: TextIO, columns: Sequence[str] | None = None) -> Write:
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
