"""The row of column names: said clearly what is wrong with it, before any row is read."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bulksend.messaging.errors import InvalidInput
from bulksend.messaging.masking import mask_digits
from bulksend.messaging.plan import ALIASES
from bulksend.messaging.rendering import normal_name

NAME_MAX = 200
_PHONE = re.compile(r"[+(]?\d[\d\s().\-/]{5,}\d(\.0)?")
_UNSEEN = "\ufeff\u200b\u200e\u200f"


def clean_name(cell: object) -> str:
    """A column's name as it is shown and used: one line, no marks that nobody sees."""
    return " ".join(str(cell).translate(dict.fromkeys(map(ord, _UNSEEN))).split())


def check_header(cells: Sequence[object], file: str) -> tuple[str, ...]:
    """The columns' names; empty ones at the end are left off. Raises InvalidInput naming what is wrong."""
    names = [clean_name(cell) for cell in cells]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise InvalidInput(
            f"{file} is empty; its first row must be the names of the columns, such as to,name"
        )
    if not any(normal_name(name) in ALIASES for name in names):
        _check_no_data(names, file)
    for place, name in enumerate(names, 1):
        _check_name(name, place, file)
    _check_twice(names, file)
    return tuple(names)


def _check_no_data(names: Sequence[str], file: str) -> None:
    phone = next((name for name in names if _PHONE.fullmatch(name)), None)
    if phone is not None:
        raise InvalidInput(
            f"the first row of {file} holds a phone number ({shown(phone)}), not the names of the columns; "
            "put a row above it that names them, such as to,name"
        )


def _check_name(name: str, place: int, file: str) -> None:
    if not name:
        raise InvalidInput(
            f"column {place} ({letters(place)}) of {file} has no name; the first row must name every "
            "column: name it or delete it, and delete titles above the table"
        )
    if "\0" in name or any("\ud800" <= c <= "\udfff" for c in name):
        raise InvalidInput(
            f"the name of column {place} ({letters(place)}) of {file} cannot be read as text; export the "
            "file as UTF-8 again, or say its encoding, such as --encoding cp1252"
        )
    if len(name) > NAME_MAX:
        raise InvalidInput(
            f"the name of column {place} ({letters(place)}) of {file} has {len(name):,} characters, at most "
            f"{NAME_MAX} make sense; is the first row the names of the columns?"
        )


def _check_twice(names: Sequence[str], file: str) -> None:
    seen: dict[str, int] = {}
    for place, name in enumerate(names, 1):
        before = seen.setdefault(normal_name(name), place)
        if before != place:
            raise InvalidInput(
                f"columns {before} ({letters(before)}) and {place} ({letters(place)}) of {file} are both "
                f"called {shown(name)!r} (upper and lower case are the same); rename one of them"
            )


def shown(text: str) -> str:
    """A name or cell in an error: short, long numbers masked."""
    compact = re.sub(r"(?<=\d)[\s().\-/]+(?=\d)", "", text)
    return mask_digits(compact)[:40]


def letters(place: int) -> str:
    """A column as spreadsheets call it: 1 is A, 27 is AA."""
    made = ""
    while place > 0:
        place, rest = divmod(place - 1, 26)
        made = chr(65 + rest) + made
    return made
