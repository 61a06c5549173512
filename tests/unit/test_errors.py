"""The tree of errors at the top of ``bulksend/errors.py`` is the whole tree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from bulksend import errors

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("bulksend", "producer", "worker", "notifier", "ops")
#: They end a command, and are no error of its work.
NOT_ERRORS = {"Stopped", "OutputLost", "JobStopped"}
_NODE = re.compile(r"^(?P<lead>[│ ]*(?:[├└]── )?)(?P<name>[A-Z]\w+)")
#: What makes a class an error, besides a base that is one.
_ERRORS_OF_OTHERS = {"BaseException", "Exception", "ValueError", "RuntimeError", "ConnectionError", "OSError"}


def drawn() -> dict[str, str | None]:
    """Each class of the drawn tree, with its parent."""
    found: dict[str, str | None] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        node = _NODE.match(line)
        if node is None or not (node["lead"] or node["name"] == "BulksendError"):
            continue
        depth = len(node["lead"]) // 4
        path[depth:] = [node["name"]]
        found[node["name"]] = path[depth - 1] if depth else None
    return found


def defined() -> Iterator[tuple[str, list[str]]]:
    """Each public class of the rooms, with the names of its bases."""
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    yield node.name, [base.id for base in node.bases if isinstance(base, ast.Name)]


def test_every_public_error_is_drawn_under_its_base() -> None:
    classes = dict(defined())
    known = set(_ERRORS_OF_OTHERS)
    while True:
        more = {name for name, bases in classes.items() if known & set(bases)} - known
        if not more:
            break
        known |= more
    public = known - _ERRORS_OF_OTHERS - NOT_ERRORS
    assert set(drawn()) == public
    for name, parent in drawn().items():
        assert parent is None or classes[name][0] == parent, name


def test_a_command_that_ends_with_an_error_has_the_exit_code_of_its_branch() -> None:
    assert errors.BulksendError.exit_code == 1
    assert errors.MessageNotFound.exit_code == errors.LedgerUnfit.exit_code == 2
    assert errors.SchemaOutdated.exit_code == errors.RedisUnreachable.exit_code == 3
