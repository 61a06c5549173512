"""Sentences: English text that keeps the words and values of which it was made.

A sentence is a text like any other: the command line, the HTTP API and the ledger use it as it is. The console, which
speaks other languages too, looks up its ``key``, the English words with names for the values, in a catalogue and fills
in the same values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from string import Formatter
from types import MappingProxyType
from typing import Any, NamedTuple

_NO_VALUES: Mapping[str, str] = MappingProxyType({})


class Sentence(str):
    """An English text with its ``key`` and ``values``. A value may be a sentence itself.

    >>> Sentence("paused since {at}", {"at": "9:00"})
    'paused since 9:00'
    """

    __slots__ = ("key", "values")
    key: str
    values: Mapping[str, str]

    def __new__(cls, key: str, values: Mapping[str, str] = _NO_VALUES) -> Sentence:
        made = super().__new__(cls, filled(key, values))
        made.key, made.values = key, values
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Sentence:
        return self

    def __reduce__(self) -> tuple[type[Sentence], tuple[str, dict[str, str]]]:
        return Sentence, (self.key, dict(self.values))

    def changed(self, change: Callable[[str], str]) -> Sentence:
        """The same sentence with each value changed, such as masked."""
        return Sentence(self.key, {name: change(value) for name, value in self.values.items()})


def say(key: str, **values: object) -> Sentence:
    """The sentence of a key. Without values, braces in the key stand for themselves.

    The key is written out where this is called: a test looks for the Chinese text of each.
    """
    return Sentence(
        key, {name: each if isinstance(each, str) else str(each) for name, each in values.items()}
    )


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text of a key, or of its translation, with its values."""
    return text.format(**values) if values else text


def joined(parts: Iterable[str]) -> str:
    """The parts with semicolons between them; empty without parts."""
    whole = ""
    for part in parts:
        whole = Sentence(_JOINED, {"first": whole, "next": part}) if whole else part
    return whole


#: Values that may be sentences themselves. In all others stand words of a person, of the vendor or of a file.
RECALLED = frozenset({"first", "next", "why", "messages", "length"})
#: Of these only, which are no words of a person, short keys are recalled: ``{m}m {s}s``.
_MEASURES = frozenset({"messages", "length"})
#: Two sentences with a semicolon between them.
_JOINED = "{first}; {next}"
#: A key with fewer letters fits much else than what was made of it.
_FEW_LETTERS = 9
#: A longer text was not made of a key.
_LONGEST = 600
#: A text with more parts than this was not made of keys, but to keep us busy.
_MOST_PARTS = 40


class Recall:
    """Finds the sentence of a text that was kept without its key and values, as the ledger keeps an error.

    Each key gives one pattern: its words, with any text for its values. Two sentences with a semicolon between them
    come first, then the keys with the most letters. Those with few count only where all their parts are sentences.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        patterns = [_Pattern.of(key) for key in keys if " " in key]
        patterns.sort(key=lambda each: (each.key != _JOINED, each.is_weak, -each.letters))
        self._exact = frozenset(each.key for each in patterns)
        self._patterns = [each for each in patterns if each.expression.groups]

    def sentence(self, text: str) -> Sentence | None:
        """The sentence whose English text this is; None where there is none."""
        return self._found(text, [0], is_measure=False)

    def _found(self, text: str, parts_seen: list[int], *, is_measure: bool) -> Sentence | None:
        if text in self._exact:
            return Sentence(text)
        is_whole = not parts_seen[0]
        parts_seen[0] += 1
        if len(text) > _LONGEST or parts_seen[0] > _MOST_PARTS:
            return None
        partly: Sentence | None = None
        for pattern in self._patterns:
            found = pattern.expression.fullmatch(text)
            if found is None:
                continue
            values = {name: self._value(name, value, parts_seen) for name, value in found.groupdict().items()}
            parts = [isinstance(value, Sentence) for name, value in values.items() if name in RECALLED]
            if not pattern.is_weak or (all(parts) if parts else is_measure):
                return Sentence(pattern.key, values)
            if any(parts) and partly is None and is_whole:
                partly = Sentence(pattern.key, values)
        return partly

    def _value(self, name: str, text: str, parts_seen: list[int]) -> str:
        if name not in RECALLED:
            return text
        return self._found(text, parts_seen, is_measure=name in _MEASURES) or text


class _Pattern(NamedTuple):
    """What the texts of a key look like."""

    key: str
    expression: re.Pattern[str]
    letters: int

    @property
    def is_weak(self) -> bool:
        """Whether it fits much else, too. A colon behind a word, as in ``receipt: …``, is rare enough."""
        return self.letters < (5 if ":" in self.key else _FEW_LETTERS)

    @classmethod
    def of(cls, key: str) -> _Pattern:
        expression, seen, letters = "", set[str](), 0
        for literal, name, _, _ in Formatter().parse(key) if _has_values(key) else [(key, None, "", "")]:
            expression += re.escape(literal)
            letters += sum(map(str.isalpha, literal))
            if name is not None:
                expression += f"(?P={name})" if name in seen else f"(?P<{name}>.+?)"
                seen.add(name)
        return cls(key, re.compile(expression, re.DOTALL), letters)


def _has_values(key: str) -> bool:
    """Whether the braces of a key name values; doubled ones in a key without values are its own."""
    return any(name is not None and name.isidentifier() for _, name, _, _ in Formatter().parse(key))
