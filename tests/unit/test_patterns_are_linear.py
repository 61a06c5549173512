"""Case C14: every regular expression of the product, on hostile text, in counted steps.

Each pattern is found in the source, so that a new one is judged as well. Twice the text may take a little more than
twice the steps, whatever is repeated. Where a pattern's text has a bound, its steps at that bound are counted instead.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import itertools
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bulksend.errors import InvalidValue
from bulksend.messaging import MessageType, compile_content
from tests.unit.regex_steps import Steps, TooMany, alphabet

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("bulksend", "producer", "worker", "simulator", "ops")

#: Counting ends there: exponential patterns would take for ever.
STEPS_MOST = 100_000
METHODS = "match|fullmatch|search|sub|split|findall|finditer"
#: Characters that the text of a pattern can have, where something before it sees to that.
BOUNDED = {
    "bulksend.messaging.recipient": 64,
    "bulksend.messaging.digit_groups": 64,
    "bulksend.messaging.masking": 64,
}
#: Steps that a bounded text may take: as many as 20,000 characters of an ordinary pattern.
BOUNDED_STEPS = 60_000
#: Patterns that only see our own files.
OURS = {"bulksend.ledger.migrate", "ops.local.valkey"}


#: Modules in whose text a pattern may be.
MODULES = {
    module: path
    for room in ROOMS
    for path in sorted((ROOT / room).rglob("*.py"))
    if "re." in path.read_text(encoding="utf-8")
    and (module := ".".join(path.relative_to(ROOT).with_suffix("").parts)) not in OURS
}


@cache
def patterns_in(module: str) -> dict[str, tuple[re.Pattern[Any], bool]]:
    """By name each pattern in the source of a module, and whether the whole text must match."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    made = {node: found for node in ast.walk(tree) if (found := _pattern_of(node, module)) is not None}
    if not made:
        return {}
    source, named = ast.unparse(tree), dict(_assigned(tree))
    patterns = {}
    for node, pattern in made.items():
        name = named.get(node) or ast.unparse(node)[:60]
        uses = (
            set(re.findall(rf"\b{re.escape(name)}\.({METHODS})\(", source)) if name.isidentifier() else set()
        )
        inline = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr
        anchored = inline in ("match", "fullmatch") or (bool(uses) and uses <= {"match", "fullmatch"})
        patterns[name] = pattern, anchored
    return patterns


def _assigned(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Each value that is given a name, and the name: the first of several."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            yield from (
                (node.value, target.id) for target in node.targets[::-1] if isinstance(target, ast.Name)
            )


def _pattern_of(node: ast.AST, module: str) -> re.Pattern[Any] | None:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
        return None
    if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "re"):
        return None
    values = vars(importlib.import_module(module)) | {"delimiter": ","}
    try:
        text = eval(compile(ast.Expression(node.args[0]), module, "eval"), values)  # noqa: S307 - our own source
        flags = [word.arg for word in node.keywords if word.arg == "flags"]
        given = node.args[1] if node.func.attr == "compile" and len(node.args) > 1 else None
        assert not flags, "flags are given by place"
        made = re.compile(text, eval(compile(ast.Expression(given), module, "eval"), values) if given else 0)  # noqa: S307
    except NameError:  # put together at run time: of a country's numbers, or of the simulator's own rules
        return None
    except AttributeError:
        return None
    return made


def hostile(letters: list[str]) -> Iterator[tuple[str, str, str]]:
    """(beginning, what is repeated, end)."""
    pumps = ["".join(p) for n in (1, 2, 3) for p in itertools.product(letters[: 7 - n], repeat=n)]
    for pump in pumps:
        for first in ("", letters[0], letters[1 % len(letters)]):
            yield first, pump, "\0"


def steps_of(pattern: re.Pattern[Any], text: str, most: int, *, whole: bool) -> int:
    counter = Steps(pattern, most)
    try:
        return counter.scan(text, whole=whole)
    except TooMany:
        return most + 1


def worst(pattern: re.Pattern[Any], size: int, *, whole: bool) -> tuple[float, str]:
    """The most steps a character, and the text."""
    found: tuple[float, str] = (0.0, "")
    # A quarter of them are the same text made in another way.
    for text in {
        (first + pump * (size // len(pump)))[:size] + end for first, pump, end in hostile(alphabet(pattern))
    }:
        found = max(found, (steps_of(pattern, text, STEPS_MOST, whole=whole) / size, text))
    return found


@pytest.mark.parametrize("module", MODULES)
def test_steps_grow_no_faster_than_the_text(module: str) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        for name, (pattern, whole) in patterns_in(module).items():
            assert too_many_steps(pattern, BOUNDED.get(module), whole=whole) is None, name
    finally:
        sys.setrecursionlimit(limit)


def too_many_steps(pattern: re.Pattern[Any], bound: int | None, *, whole: bool) -> str | None:
    """A text on which steps grow faster than the text; None where there is none."""
    if bound is not None:
        rate, text = worst(pattern, bound, whole=whole)
        return None if rate * bound <= BOUNDED_STEPS else text
    # What a bounded repeat such as {0,99} costs is in both.
    (short, _), (long, text) = worst(pattern, 24, whole=whole), worst(pattern, 48, whole=whole)
    return None if long <= 1.3 * short + 2 else text[:60]


@pytest.mark.parametrize(
    ("pattern", "whole"),
    [
        (r"\{\{(.*?)\}\}", False),
        (r"(a+)+b", True),
        (r"\s*x", False),
        (r"(?:a|a)*b", True),
    ],
)
def test_the_counter_sees_what_is_not_linear(pattern: str, whole: bool) -> None:
    """The first is what made a content of 32 KB take 7 s."""
    made = re.compile(pattern, re.DOTALL)
    assert worst(made, 12, whole=whole)[0] > 1.3 * worst(made, 6, whole=whole)[0]


def test_all_patterns_are_found() -> None:
    assert sum(len(patterns_in(module)) for module in MODULES) >= 50


class Counted(str):
    """Text that counts how many characters its searches may look at."""

    __slots__ = ("looked",)
    looked: int

    def find(self, *asked: Any) -> int:
        found = str.find(self, *asked)
        start = asked[1] if len(asked) > 1 else 0
        self.looked = getattr(self, "looked", 0) + (found if found >= 0 else len(self)) - start
        return found


@pytest.mark.parametrize("pump", ["{{", "{", "}}", "{{a", "{{a}} ", "{{{{}}", "}} {{"])
def test_placeholders_are_found_in_one_pass(pump: str) -> None:
    """Of {{{{{{ each brace looked at the whole rest."""
    text = Counted(pump * 1000)
    with contextlib.suppress(InvalidValue):
        compile_content(MessageType.TEXT, {"body": text})
    assert getattr(text, "looked", 0) <= 2 * len(text)
