"""Choose the reader of a file by the extension of its name."""

from __future__ import annotations

from pathlib import Path

from bulksend.errors import InvalidInput
from bulksend.messaging.argument_naming import ArgumentNaming, as_python_argument
from producer.reading.csv_rows import CsvRows
from producer.reading.jsonl_rows import JsonlRows
from producer.reading.rows import RowSource

CSV = (".csv", ".tsv", ".txt")
JSONL = (".jsonl", ".ndjson")
SHEET = (".xlsx", ".xlsm")


def open_rows(
    path: Path,
    *,
    encoding: str | None = None,
    sheet: str | None = None,
    is_verified: bool = False,
    naming: ArgumentNaming = as_python_argument,
) -> RowSource:
    """Open a file of rows: CSV, JSON lines or a spreadsheet. Close it, or use ``with``.

    ``encoding`` is for text that is neither UTF-8 nor has a byte-order mark; ``sheet`` selects a sheet, by default the
    first visible one. ``is_verified``: the file was opened before, so the checks that read all of it are skipped.
    ``naming`` writes the arguments in errors. A row that cannot be used is a RefusedRow.

    Raises InvalidInput when the file as a whole cannot be used: it is missing, empty, of another kind or encoding, its
    first row does not name the columns, or no row follows.
    """
    suffix = path.suffix.lower()
    if sheet is not None and suffix not in SHEET:
        raise InvalidInput(f"{naming('sheet')}: {path.name} is not a spreadsheet and has no sheets")
    if encoding is not None and suffix in SHEET:
        raise InvalidInput(
            f"{naming('encoding')}: {path.name} is a spreadsheet, which needs no encoding; leave it out"
        )
    try:
        if not path.exists():
            raise InvalidInput(f"{path} does not exist")
        if not path.is_file():
            raise InvalidInput(f"{path} is not a file")
        if suffix in CSV:
            return CsvRows(path, encoding=encoding, is_verified=is_verified, naming=naming)
        if suffix in JSONL:
            return JsonlRows(path, encoding=encoding, is_verified=is_verified, naming=naming)
        if suffix in SHEET:
            # Imported here: most runs do not need it.
            from producer.reading.sheet_rows import SheetRows

            return SheetRows(path, sheet=sheet, is_verified=is_verified, naming=naming)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from None
    raise InvalidInput(f"{path.name}: {_why_unsupported(suffix)}")


def _why_unsupported(suffix: str) -> str:
    if suffix in (".xls", ".xlsb", ".ods", ".numbers"):
        return f"{suffix} files are not supported; save it as .xlsx or CSV"
    if suffix in (".zip", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"):
        return f"{suffix} files are not supported; unpack it first"
    if suffix == ".json":
        return "write one JSON object a line and name the file .jsonl"
    return f"the extension {suffix or '(none)'} does not tell the format; rename the file to .csv, .xlsx or .jsonl"
