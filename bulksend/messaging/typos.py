"""Find numbers that are probably typing errors of known ones."""

from __future__ import annotations

from collections.abc import Iterable


def one_edit_away(number: str, known: Iterable[str]) -> list[str]:
    """The known numbers that one edit turns into ``number``, without ``number`` itself.

    An edit is one digit replaced, missing or added, or two neighbours swapped (Damerau, 1964): most typing errors.
    """
    return [other for other in known if _is_one_edit(number, other)]


def _is_one_edit(one: str, other: str) -> bool:
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    shorter, longer = sorted((one, other), key=len)
    at = next((n for n, digit in enumerate(shorter) if digit != longer[n]), len(shorter))
    if len(shorter) < len(longer):
        return shorter[at:] == longer[at + 1 :]
    swapped = longer[at + 1 : at + 2] + longer[at : at + 1] + longer[at + 2 :]
    return shorter[at + 1 :] == longer[at + 1 :] or shorter[at:] == swapped
