"""One SQL fragment wipes the content of a code; beside it only deletion by age and erasure set a payload to NULL."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from bulksend.ledger.endings import WIPED_PAYLOAD

LEDGER = Path(__file__).resolve().parents[3] / "bulksend" / "ledger"
#: By age, or because the person is forgotten: contents of any kind.
_OF_ANY_KIND = {"retention.py", "erasure.py"}
#: An assignment to the column, up to the next one.
_ASSIGNS_NULL = re.compile(r"payload\s*=[^=,]*\bNULL\b", re.IGNORECASE)
_KEEPS_OR_WIPES = re.compile(r"\bNULL\s+ELSE\s+(messages\.)?payload", re.IGNORECASE)


def texts(tree: ast.AST) -> Iterator[str]:
    """Every string, an f-string with its expressions left out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "?" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def sets_payload_to_none(node: ast.AST) -> bool:
    """Whether it is ``values(payload=None)`` or ``values(payload=null())`` of SQLAlchemy."""
    if not (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "values"
    ):
        return False
    given = [keyword.value for keyword in node.keywords if keyword.arg == "payload"]
    return any(ast.unparse(value) in ("None", "null()") for value in given)


def test_only_one_fragment_of_the_ledgers_sql_sets_a_payload_to_null() -> None:
    found = []
    for file in sorted(LEDGER.glob("*.py")):
        tree = ast.parse(file.read_text())
        found += [text for text in texts(tree) if _ASSIGNS_NULL.search(text) or _KEEPS_OR_WIPES.search(text)]
        wipes = any(sets_payload_to_none(node) for node in ast.walk(tree))
        assert wipes == (file.name in _OF_ANY_KIND), file.name
    assert found == [WIPED_PAYLOAD]


def test_the_check_finds_sql_that_wipes_a_payload_by_itself() -> None:
    for sql in (
        "UPDATE messages SET payload = NULL WHERE id = :id",
        "SET gate = NULL, payload = CASE WHEN kind = 'otp' THEN NULL ELSE payload END",
    ):
        assert _ASSIGNS_NULL.search(sql) or _KEEPS_OR_WIPES.search(sql)
    assert not _ASSIGNS_NULL.search("SET payload = p.payload, gate = NULL WHERE messages.payload IS NULL")
    assert sets_payload_to_none(ast.parse("update(messages).values(payload=None)", mode="eval").body)
