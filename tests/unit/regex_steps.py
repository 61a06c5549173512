"""How many steps a backtracking matcher takes: Python's own counts none, and clocks measure the machine.

It walks the parsed pattern as ``re`` does, greedy first, from each place of the text, and counts each look at a
character and each further try of a repeat.
"""

from __future__ import annotations

import re
import re._constants as op  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

Follow = Callable[[int], bool]


class TooMany(Exception):
    """More steps than allowed."""


class Steps:
    """Counts the steps of one pattern on one text."""

    def __init__(self, pattern: re.Pattern[Any], most: int) -> None:
        text = pattern.pattern
        self._of = text.decode("latin-1") if isinstance(text, bytes) else text
        self._flags = pattern.flags
        self._tree = parser.parse(self._of, pattern.flags & ~re.UNICODE)
        self._most = most
        self.taken = 0

    def scan(self, text: str, *, whole: bool) -> int:
        """The steps of ``fullmatch``, or of ``finditer`` over the text."""
        self._text, self.taken = text, 0
        if whole:
            self._match(list(self._tree), 0, 0, lambda at: at == len(text), {})
            return self.taken
        at = 0
        while at <= len(text):
            end: list[int] = []
            self._match(list(self._tree), 0, at, lambda stop, end=end: bool(end.append(stop) or True), {})  # type: ignore[misc]
            at = max(at + 1, end[0]) if end else at + 1
        return self.taken

    def _step(self) -> None:
        self.taken += 1
        if self.taken > self._most:
            raise TooMany

    def _match(self, items: list[Any], n: int, at: int, follow: Follow, groups: dict[int, str]) -> bool:
        while n < len(items) and items[n][0] in _ONE:
            self._step()
            if at >= len(self._text) or not self._is(items[n], self._text[at]):
                return False
            n, at = n + 1, at + 1
        if n == len(items):
            return follow(at)
        kind, what = items[n]

        def rest(end: int) -> bool:
            return self._match(items, n + 1, end, follow, groups)

        self._step()
        if kind is op.AT:
            return self._stands(what, at) and rest(at)
        if kind is op.BRANCH:
            return any(self._match(list(way), 0, at, rest, groups) for way in what[1])
        if kind is op.SUBPATTERN:
            return self._match(list(what[3]), 0, at, rest, groups)
        if kind in (op.ASSERT, op.ASSERT_NOT):
            return self._looks(what, at, groups) == (kind is op.ASSERT) and rest(at)
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
            least, most, inner = what
            if len(inner) == 1 and inner[0][0] in _ONE:
                return self._run(inner[0], least, most, at, rest, greedy=kind is op.MAX_REPEAT)
            return self._again(list(inner), least, most, at, rest, groups, 0)
        raise NotImplementedError(str(kind))

    def _run(self, item: Any, least: int, most: int, at: int, rest: Follow, *, greedy: bool) -> bool:
        """A repeat of one character."""
        end = at
        while end - at < most and end < len(self._text) and self._is(item, self._text[end]):
            self._step()
            end += 1
            if not greedy and end - at >= least and rest(end):
                return True
        if not greedy:
            return False
        while end - at >= least:
            self._step()
            if rest(end):
                return True
            end -= 1
        return False

    def _again(
        self,
        items: list[Any],
        least: int,
        most: int,
        at: int,
        rest: Follow,
        groups: dict[int, str],
        done: int,
    ) -> bool:
        self._step()

        def more(end: int) -> bool:
            return end > at and self._again(items, least, most, end, rest, groups, done + 1)

        if done < most and self._match(items, 0, at, more, groups):
            return True
        return done >= least and rest(at)

    def _looks(self, what: Any, at: int, groups: dict[int, str]) -> bool:
        direction, inner = what
        if direction < 0:
            width = inner.getwidth()[1]
            return at >= width and self._match(list(inner), 0, at - width, lambda end: end == at, groups)
        return self._match(list(inner), 0, at, lambda end: True, groups)

    def _stands(self, what: Any, at: int) -> bool:
        before = at > 0 and _is_word(self._text[at - 1])
        after = at < len(self._text) and _is_word(self._text[at])
        if what in (op.AT_BEGINNING, op.AT_BEGINNING_STRING):
            return at == 0 or (bool(self._flags & re.MULTILINE) and self._text[at - 1] == "\n")
        if what in (op.AT_END, op.AT_END_STRING):
            return at == len(self._text)
        return (before != after) == (what is op.AT_BOUNDARY)

    def _is(self, item: Any, letter: str) -> bool:
        kind, what = item
        if kind is op.ANY:
            return letter != "\n" or bool(self._flags & re.DOTALL)
        if kind is op.IN:
            negated = what[0][0] is op.NEGATE
            return any(self._is(one, letter) for one in what[negated:]) != negated
        if kind is op.RANGE:
            return any(what[0] <= ord(c) <= what[1] for c in self._cases(letter))
        if kind is op.CATEGORY:
            return _in_category(str(what), letter)
        return any(ord(c) == what for c in self._cases(letter)) != (kind is op.NOT_LITERAL)

    def _cases(self, letter: str) -> set[str]:
        both = {letter.lower(), letter.upper()} if self._flags & re.IGNORECASE else {letter}
        return {c for c in both if len(c) == 1}


_ONE = (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN)


def _is_word(letter: str) -> bool:
    return letter.isalnum() or letter == "_"


def _in_category(name: str, letter: str) -> bool:
    found = {"DIGIT": letter.isdecimal(), "SPACE": letter.isspace(), "WORD": _is_word(letter)}
    return found[name.rpartition("_")[2]] != ("_NOT_" in name)


def alphabet(pattern: re.Pattern[Any], most: int = 6) -> list[str]:
    """Characters that tell the pattern's parts from each other: one of each class and literal in it."""
    steps = Steps(pattern, 0)
    classes = list(_classes(steps._tree))
    seen: dict[tuple[bool, ...], str] = {}
    for letter in [*_literals(steps._tree), *"0aZ :/-.(\"'{}\n\\é", chr(0x2013)]:
        if unicodedata.category(letter) != "Cs":
            seen.setdefault(tuple(steps._is(item, letter) for item in classes), letter)
    return list(seen.values())[:most]


def _classes(tree: Any) -> Iterator[Any]:
    for kind, what in tree:
        if kind in _ONE:
            yield kind, what
        else:
            yield from (item for inner in _inside(kind, what) for item in _classes(inner))


def _literals(tree: Any) -> Iterator[str]:
    for kind, what in _classes(tree):
        if kind is op.LITERAL:
            yield chr(what)
        elif kind is op.IN:
            yield from (
                chr(value if name is op.LITERAL else value[0])
                for name, value in what
                if name in (op.LITERAL, op.RANGE)
            )


def _inside(kind: Any, what: Any) -> list[Any]:
    if kind is op.BRANCH:
        return list(what[1])
    if kind is op.SUBPATTERN:
        return [what[3]]
    if kind in (op.ASSERT, op.ASSERT_NOT):
        return [what[1]]
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
        return [what[2]]
    return []
