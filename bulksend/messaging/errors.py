"""The error tree of bad input.

InvalidInput            what a person or a program handed in is wrong
└── InvalidValue        one field of it: which, what it held (masked when private), why, and the remedy
"""

from __future__ import annotations


class InvalidInput(ValueError):
    """Bad input: nothing was changed. The text is one sentence that a person can act on."""


class InvalidValue(InvalidInput):
    """One field is wrong.

    ``field`` names it as the user wrote it (``to``, ``components[1].index``), ``value`` is safe to show (masked
    when private, at most 40 characters), ``why`` says what is wrong and what to do, in one sentence.
    """

    def __init__(self, field: str, value: str, why: str) -> None:
        self.field = field
        self.value = value
        self.why = why
        super().__init__(f"{field}: {why}" + (f" (got {value!r})" if value else ""))
