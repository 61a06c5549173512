"""Which reader a file asks for: by the ending of its name."""

from __future__ import annotations

from pathlib import Path

from bulksend.errors import InvalidInput
from producer.reading.csv_rows import CsvRows
from producer.reading.jsonl_rows import JsonlRows
from producer.reading.rows import RowSource

CSV = (".csv", ".tsv", ".txt")
JSONL = (".jsonl", ".ndjson")
SHEET = (".xlsx", ".xlsm")


def open_rows(
    path: Path, *, encoding: str | None = None, sheet: str | None = None, is_verified: bool = False
) -> RowSource:
    """Open a file of rows: CSV, JSON lines or a spreadsheet; close it, or use ``with``.

    ``encoding`` of text that is neither UTF-8 nor marked; ``sheet`` of a spreadsheet, default the first that
    is visible; ``is_verified``: opened before, so that not all of it need be looked at again.
    Raises InvalidInput, one sentence with the remedy, where the file as a whole cannot be used: it is missing,
    empty, of another kind or encoding, its first row does not name the columns, or no row follows it. A row
    that cannot be used is a BadRow instead, and the rest goes on.
    """
    suffix = path.suffix.lower()
    if sheet is not None and suffix not in SHEET:
        raise InvalidInput(f"--sheet: {path.name} is no spreadsheet and has no sheets")
    if encoding is not None and suffix in SHEET:
        raise InvalidInput(f"--encoding: {path.name} is a spreadsheet, whose text needs none")
    try:
        if not path.exists():
            raise InvalidInput(f"{path} does not exist")
        if not path.is_file():
            raise InvalidInput(f"{path} is not a file")
        return _open(path, suffix, encoding, sheet, is_verified)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from None


def _open(path: Path, suffix: str, encoding: str | None, sheet: str | None, is_verified: bool) -> RowSource:
    if suffix in CSV:
        return CsvRows(path, encoding=encoding, is_verified=is_verified)
    if suffix in JSONL:
        return JsonlRows(path, encoding=encoding, is_verified=is_verified)
    if suffix in SHEET:
        # Imported here: most runs do not need it.
        from producer.reading.sheet_rows import SheetRows

        return SheetRows(path, sheet=sheet, is_verified=is_verified)
    if suffix in (".xls", ".xlsb", ".ods", ".numbers"):
        raise InvalidInput(f"{path.name}: {suffix} is not read; save it as .xlsx or CSV")
    if suffix == ".json":
        raise InvalidInput(f"{path.name}: write one JSON object a line and name the file .jsonl")
    raise InvalidInput(
        f"{path.name}: what kind of file this is cannot be told from its name; give it the ending .csv, "
        f".xlsx or .jsonl"
    )
