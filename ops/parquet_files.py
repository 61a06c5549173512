"""Rows as a Parquet file, in row groups: memory stays flat. Needs pyarrow, which is an extra."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bulksend.errors import InvalidInput
from bulksend.operations.export import WHOLE_NUMBERS
from bulksend.operations.json_shape import INSTANTS

#: Rows that are in memory at once.
GROUP = 20_000


def check_installed(field: str) -> None:
    """Raises InvalidInput without pyarrow."""
    if find_spec("pyarrow") is None:
        raise InvalidInput(
            f"{field}: .parquet needs pyarrow, which is not installed: pip install 'bulksend[parquet]'; or use "
            ".csv, .jsonl or .xlsx"
        )


@contextmanager
def open_parquet(path: Path, columns: Sequence[str] | None) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that writes a row: instants as timestamps in UTC, whole numbers as integers, all else as text."""
    writer = _GroupWriter(path)
    try:
        if columns:
            writer.begin(columns)
        yield writer.write
        writer.end()
    finally:
        writer.close()


class _GroupWriter:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Any = None
        self._schema: Any = None
        self._rows: list[dict[str, Any]] = []

    def begin(self, names: Sequence[str]) -> None:
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter

        def type_of(name: str) -> Any:
            if name in INSTANTS:
                return pa.timestamp("ms", tz="UTC")
            return pa.int64() if name in WHOLE_NUMBERS else pa.string()

        self._schema = pa.schema([(name, type_of(name)) for name in names])
        self._file = ParquetWriter(self._path, self._schema)

    def write(self, row: Mapping[str, Any]) -> None:
        if self._schema is None:
            self.begin(list(row))
        self._rows.append({name: _typed(name, row[name]) for name in self._schema.names})
        if len(self._rows) == GROUP:
            self._flush()

    def end(self) -> None:
        if self._schema is None:
            self.begin([])
        self._flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._rows:
            self._file.write_table(pa.Table.from_pylist(self._rows, self._schema))
            self._rows = []


def _typed(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in INSTANTS:
        return datetime.fromisoformat(value)
    return value if name in WHOLE_NUMBERS else str(value)
