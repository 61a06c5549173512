"""Detect the delimiter of a CSV file: the comma, semicolon or tab that fits the header and the first rows."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from bulksend.messaging.column_names import clean_name, recipient_columns

#: Characters of the file that are examined.
SAMPLE = 1 << 16
CANDIDATES = ",;\t"
_ROWS = 50
#: Excel writes and hides a first line like ``sep=;``.
_SEP = re.compile(r'"?sep=([,;\t|])"?(?:\r\n|\r|\n)', re.I)
_SPACED_QUOTE = re.compile(r' +"')


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the cells of a CSV file are written."""

    delimiter: str
    skip_spaces: bool
    """Quotes stand after a blank, as in ``1, "a, b"``."""
    sep_line: bool
    """The first line only names the delimiter."""


def detect_dialect(sample: str) -> Dialect:
    """The dialect of a file, from its first ``SAMPLE`` characters."""
    named = _SEP.match(sample)
    if named:
        sample = sample[named.end() :]
    candidates = named[1] if named else CANDIDATES
    whole = len(sample) < SAMPLE
    delimiter = max(candidates, key=lambda d: _plausibility(_rows(sample, d, whole)))
    rows = _rows(sample, delimiter, whole)
    spaced = any(_SPACED_QUOTE.match(cell) for row in rows for cell in row)
    return Dialect(delimiter, spaced, named is not None)


def _rows(sample: str, delimiter: str, whole: bool) -> list[list[str]]:
    """The sample's first rows, parsed leniently, without the last one where the sample cuts it."""
    lines = io.StringIO(sample, newline="")
    rows: list[list[str]] = []
    # csv.Error: a cell of more than 128 KB, longer than the sample unless the limit is lowered.
    with contextlib.suppress(csv.Error):
        parsed = itertools.islice(csv.reader(lines, delimiter=delimiter), _ROWS + 1)
        rows.extend(row for row in parsed if any(cell.strip() for cell in row))
    return rows if whole or len(rows) < 2 else rows[:-1]


def _plausibility(rows: Sequence[Sequence[str]]) -> tuple[bool, bool, float, int]:
    """How well a delimiter fits, the best first: a recipients' column in the header, no quotes within its names, rows
    as wide as the header, many columns.
    """
    if not rows:  # the file holds nothing but this delimiter
        return (True, True, 1.0, 0)
    header, below = rows[0], rows[1:]
    width = len(header)
    has_recipient = bool(recipient_columns(map(clean_name, header)))
    fitting = sum(1 for row in below if len(row) == width)
    return (
        has_recipient,
        not any('"' in cell for cell in header),
        fitting / len(below) if below and width > 1 else 0.0,
        width,
    )
