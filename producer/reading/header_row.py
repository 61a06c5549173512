"""The row of column names, checked before any other row is read."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bulksend.errors import InvalidInput
from bulksend.messaging.argument_naming import ArgumentNaming
from bulksend.messaging.column_names import clean_name, normal_name, recipient_columns
from bulksend.messaging.masking import mask_digits

NAME_MAX = 200
_PHONE = re.compile(r"[+(]?\d[\d\s().\-/]{5,}\d(\.0)?")


def check_header(
    cells: Sequence[object], file: str, naming: ArgumentNaming, *, first: int = 1
) -> tuple[str, ...]:
    """The columns' names, without empty ones at the end. ``first`` is the column of the first cell, from 1.

    Raises InvalidInput when a name is missing, unreadable, too long or given twice, or when the row holds data.
    """
    names = [_unquoted(clean_name(cell), str(cell)) for cell in cells]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise InvalidInput(
            f"{file} is empty; its first row must be the names of the columns, such as to,name"
        )
    if not recipient_columns(names):
        _refuse_data(names, file)
    for place, name in enumerate(names, first):
        _check_name(name, place, file, naming)
    _refuse_duplicates(names, file, first)
    return tuple(names)


def _unquoted(name: str, cell: str) -> str:
    """A name without its quotes, which the parser takes for text where an invisible mark stands in front of them."""
    if len(name) > 1 and name[0] == name[-1] == '"' and not cell.startswith('"'):
        return clean_name(name[1:-1].replace('""', '"'))
    return name


def _refuse_data(names: Sequence[str], file: str) -> None:
    phone = next((name for name in names if _PHONE.fullmatch(name)), None)
    if phone is not None:
        raise InvalidInput(
            f"the first row of {file} holds a phone number ({shown(phone)}), not the names of the columns; "
            "put a row above it that names them, such as to,name"
        )


def _check_name(name: str, place: int, file: str, naming: ArgumentNaming) -> None:
    if not name:
        raise InvalidInput(
            f"column {place} ({letters(place)}) of {file} has no name; the first row must name every "
            "column: name it or delete it, and delete titles above the table"
        )
    if "\0" in name or any("\ud800" <= c <= "\udfff" for c in name):
        raise InvalidInput(
            f"the name of column {place} ({letters(place)}) of {file} cannot be read as text; export the file as UTF-8 "
            f"again, or name its encoding, such as {naming('encoding', 'cp1252')}"
        )
    if len(name) > NAME_MAX:
        raise InvalidInput(
            f"the name of column {place} ({letters(place)}) of {file} has {len(name):,} characters, at most "
            f"{NAME_MAX} are allowed; is the first row the names of the columns?"
        )


def _refuse_duplicates(names: Sequence[str], file: str, first: int) -> None:
    seen: dict[str, int] = {}
    for place, name in enumerate(names, first):
        before = seen.setdefault(normal_name(name), place)
        if before != place:
            raise InvalidInput(
                f"columns {before} ({letters(before)}) and {place} ({letters(place)}) of {file} are both "
                f"called {shown(name)!r} (upper and lower case are the same); rename one of them"
            )


def shown(text: str) -> str:
    """A name or cell as an error shows it: at most 40 characters, long numbers masked."""
    compact = re.sub(r"(?<=\d)[\s().\-/]+(?=\d)", "", text)
    return mask_digits(compact)[:40]


def letters(place: int) -> str:
    """A column's letters in a spreadsheet: 1 is A, 27 is AA."""
    made = ""
    while place > 0:
        place, rest = divmod(place - 1, 26)
        made = chr(65 + rest) + made
    return made
