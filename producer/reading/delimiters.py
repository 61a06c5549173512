"""Comma, semicolon or tab: the one that makes sense of the header and of the rows below it."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from bulksend.messaging.column_names import clean_name, recipient_columns

#: Characters that are looked at.
SAMPLE = 1 << 16
CANDIDATES = ",;\t"
_ROWS = 50
#: Excel writes and hides a first line like ``sep=;``.
_SEP = re.compile(r'"?sep=([,;\t|])"?(?:\r\n|\r|\n)', re.I)
_SPACED_QUOTE = re.compile(r' +"')


@dataclass(frozen=True, slots=True)
class Dialect:
    """``skip_spaces``: cells are quoted after a blank, as in ``1, "a, b"``. ``sep_line``: the first line
    only names the delimiter.
    """

    delimiter: str
    skip_spaces: bool
    sep_line: bool


def detect_dialect(sample: str) -> Dialect:
    """From the file's first ``SAMPLE`` characters."""
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
    """The sample's first rows, leniently parsed; the last one may be cut and is left off."""
    lines = io.StringIO(sample, newline="")
    rows: list[list[str]] = []
    # An error here is a cell of more than 128 KB, which the sample cannot hold unless the limit was lowered.
    with contextlib.suppress(csv.Error):
        parsed = itertools.islice(csv.reader(lines, delimiter=delimiter), _ROWS + 1)
        rows.extend(row for row in parsed if any(cell.strip() for cell in row))
    return rows if whole or len(rows) < 2 else rows[:-1]


def _plausibility(rows: Sequence[Sequence[str]]) -> tuple[bool, bool, float, int]:
    """How much sense a delimiter makes: a header with a recipient's column and no quote left over in a name,
    rows as wide as the header, many columns.
    """
    if not rows:  # nothing but delimiters: it is this one, and the file is empty
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
