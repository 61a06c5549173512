"""The beginning of a file for people: its columns with some of their values, and what stands out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bulksend.errors import InvalidInput
from bulksend.messaging.argument_naming import as_json_field
from bulksend.messaging.column_names import RESERVED, normal_name, reserved_or_own
from producer.reading.file_formats import open_rows
from producer.reading.rows import RawRow, RowSource

#: Rows that are looked at, and values of a column that are shown.
_LOOKED_AT, _SHOWN = 50, 3
_LONGEST = 60


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a file. ``use``: ``to`` or a reserved name where its name says so, else empty."""

    name: str
    samples: Sequence[str]
    use: str = ""


@dataclass(frozen=True, slots=True)
class FileHead:
    """What a look at a file shows. ``problem``: why its recipients are not known; empty where they are."""

    columns: Sequence[Column]
    format: str
    notes: Sequence[str]
    problem: str = ""


def head_of(
    path: Path, *, encoding: str | None = None, sheet: str | None = None, is_verified: bool = False
) -> FileHead:
    """Look at the first rows of a file. Raises InvalidInput as ``open_rows``, which has ``is_verified``."""
    with open_rows(
        path, encoding=encoding, sheet=sheet, is_verified=is_verified, naming=as_json_field
    ) as source:
        names, problem = _names(source)
        rows = [row.values for row in islice(source, _LOOKED_AT) if isinstance(row, RawRow)]
        columns = [
            Column(
                column,
                list(islice((text for row in rows if (text := _text(row.get(column)))), _SHOWN)),
                name if (name := names.get(column, "")) == "to" or name in RESERVED else "",
            )
            for column in source.header
        ]
        return FileHead(columns, source.format, [*source.notes, *_of_columns(source)], problem)


def _names(source: RowSource) -> tuple[dict[str, str], str]:
    try:
        return dict(source.columns({}).names), ""
    except InvalidInput as error:
        # What is no recipient's still says by its name what it is.
        return {column: reserved_or_own(normal_name(column)) for column in source.header}, str(error)


def _of_columns(source: RowSource) -> list[str]:
    return [note for notes in source.column_notes.values() for note in notes]


def _text(value: object) -> str:
    text = "" if value is None else str(value).strip()
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
