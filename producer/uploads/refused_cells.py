"""The cells of the rows that a plan refuses, kept beside its file: they are as private as the file, and end with it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bulksend.messaging import Kind
from bulksend.messaging.column_names import normal_name
from bulksend.messaging.plan import RefusedRow
from producer.files import FilePlan
from producer.reading import RawRow, open_rows
from producer.reading.file_columns import shown_cell

#: No posted file has such a name: none begins with a dot.
KEPT = ".refused.json"
#: Longer cells are cut.
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class RefusedCells:
    """A refused row with its cells as they stand in the file; no cells: the row itself cannot be read.

    ``bad``: the place of the cell that is wrong, None where no single one is.
    """

    row: int
    cells: Sequence[str]
    bad: int | None
    field: str
    why: str


@dataclass(frozen=True, slots=True)
class RefusedTable:
    """The first refused rows of a file. ``recipient``: the place of the column that holds the recipients."""

    header: Sequence[str] = ()
    rows: Sequence[RefusedCells] = ()
    recipient: int | None = None


def keep_cells(plan: FilePlan, refused: Sequence[RefusedRow]) -> None:
    """Keep the cells of these rows beside the plan's file. Reads the file up to the last of them."""
    if not refused:
        return
    opened = os.open(plan.path.with_name(KEPT), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(opened, "w") as file:
        json.dump(_table(plan, refused), file)


def kept_cells(file: Path) -> RefusedTable:
    """What was kept beside a file; empty where nothing was."""
    try:
        kept = json.loads(file.with_name(KEPT).read_text())
    except OSError:
        return RefusedTable()
    rows = [RefusedCells(**each) for each in kept["rows"]]
    return RefusedTable(kept["header"], rows, kept["recipient"])


def _table(plan: FilePlan, refused: Sequence[RefusedRow]) -> dict[str, object]:
    wanted = {each.row for each in refused}
    with open_rows(
        plan.path, encoding=plan.encoding, sheet=plan.sheet, is_verified=True, naming=plan.naming
    ) as source:
        header = list(source.header)
        names = [source.columns(plan.columns).names.get(column, "") for column in header]
        cells: dict[int, list[str]] = {}
        for row in source:
            if row.row in wanted:
                wanted.discard(row.row)
                if isinstance(row, RawRow):
                    cells[row.row] = [
                        _shown(plan, row.values.get(c), n == "to") for c, n in zip(header, names, strict=True)
                    ]
            if not wanted:
                break
    places = {normal_name(name): n for names in (header, names) for n, name in enumerate(names)}
    return {
        "header": header,
        "recipient": names.index("to") if "to" in names else None,
        "rows": [
            {
                "row": each.row,
                "cells": cells.get(each.row, []),
                "bad": places.get(normal_name(each.field)),
                "field": each.field,
                "why": each.why,
            }
            for each in refused
        ],
    }


def _shown(plan: FilePlan, value: object, is_recipient: bool) -> str:
    """A cell; of one-time codes nothing but the recipient is kept."""
    text = shown_cell(value, _LONGEST)
    return text if is_recipient or plan.kind is not Kind.OTP else "*" * len(text)
