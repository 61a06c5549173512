"""The beginning of a file for people: its columns with some of their values, and what stands out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bulksend.errors import InvalidInput
from bulksend.messaging.argument_naming import as_json_field
from bulksend.messaging.column_names import RESERVED, normal_name, reserved_or_own
from bulksend.messaging.plan import as_text
from bulksend.messaging.recipient import parse_recipient
from producer.reading.file_formats import open_rows
from producer.reading.rows import RawRow, RowSource

#: Rows that are looked at, and values of a column that are shown.
_LOOKED_AT, _SHOWN = 50, 3
_LONGEST = 60


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a file. ``use``: ``to`` or a reserved name where its name says so, else empty.

    ``guess``: ``to`` where no name says so, and only in this column most values are phone numbers.
    """

    name: str
    samples: Sequence[str]
    use: str = ""
    guess: str = ""


@dataclass(frozen=True, slots=True)
class FileHead:
    """What a look at a file shows. ``problem``: what is wrong with the names, whichever column is the recipients'."""

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
        texts = {
            column: [text for row in rows if (text := shown_cell(row.get(column), _LONGEST))]
            for column in source.header
        }
        guessed = "" if "to" in names.values() else _recipients_by_values(texts)
        columns = [
            Column(
                column,
                texts[column][:_SHOWN],
                name if (name := names.get(column, "")) == "to" or name in RESERVED else "",
                "to" if column == guessed else "",
            )
            for column in source.header
        ]
        return FileHead(columns, source.format, [*source.notes, *_of_columns(source)], problem)


def shown_cell(value: object, longest: int) -> str:
    """A cell as a message would have it, cut where it is longer; what no message can have as JSON."""
    try:
        text = (as_text("", value) or "").strip()
    except InvalidInput:
        text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= longest else text[:longest] + "…"


def _names(source: RowSource) -> tuple[dict[str, str], str]:
    try:
        return dict(source.columns({}).names), ""
    except InvalidInput as error:
        # What is no recipient's still says by its name what it is.
        names = {column: reserved_or_own(normal_name(column)) for column in source.header}
        return names, "" if _lacks_only_a_choice(source) else str(error)


def _lacks_only_a_choice(source: RowSource) -> bool:
    """Whether its names are right once a column is chosen for the recipients."""
    try:
        source.columns({"to": source.header[0]})
    except InvalidInput:
        return False
    return True


def _recipients_by_values(texts: Mapping[str, Sequence[str]]) -> str:
    """The one column of whose values most are phone numbers; empty where it is none or several."""
    found = [column for column, values in texts.items() if 2 * sum(map(_is_phone, values)) > len(values)]
    return found[0] if len(found) == 1 else ""


def _is_phone(text: str) -> bool:
    try:
        parse_recipient(text)
    except InvalidInput:
        return False
    return True


def _of_columns(source: RowSource) -> list[str]:
    return [note for notes in source.column_notes.values() for note in notes]
