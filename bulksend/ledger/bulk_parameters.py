"""Many rows as bound parameters: one JSON text on SQLite, one array for each column on PostgreSQL.

An UPDATE of 400 rows is then one statement and one round trip. PostgreSQL reads JSON too, but parses the whole text
again for each value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache

from sqlalchemy import Connection, TextClause, text

#: Characters that PostgreSQL cannot store: NUL and halves of surrogate pairs.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
#: The columns of a table that holds only ids.
IDS = {"id": "uuid"}


def storable(text: str, most: int) -> str:
    """The text, at most ``most`` characters, with U+FFFD for each character that PostgreSQL cannot store.

    One such character in a reply or a row must not fail the statement of hundreds.
    """
    return _UNSTORABLE.sub("\ufffd", text[:most])


def bound(
    tx: Connection, columns: Mapping[str, str], rows: Sequence[Sequence[object]], parameter: str = "rows"
) -> dict[str, str]:
    """The parameters of ``table``. Each row has its values in the order of the columns."""
    if tx.dialect.name == "sqlite":
        return {parameter: json.dumps(rows, separators=(",", ":"))}
    values = list(zip(*rows, strict=True)) or [()] * len(columns)
    return {f"{parameter}_{n}": array(column) for n, column in enumerate(values)}


def table(tx: Connection, columns: Mapping[str, str], parameter: str = "rows") -> str:
    """SQL of a table ``p`` of the parameters of ``bound``. ``columns``: name -> PostgreSQL type."""
    return _table(tx.dialect.name, tuple(columns.items()), parameter)


_NAMED = {
    "sqlite": "{rows} CROSS JOIN messages AS m ON m.id = p.id",
    "postgresql": "{rows} CROSS JOIN LATERAL (SELECT * FROM messages AS x WHERE x.id = p.id OFFSET 0) AS m",
}


def named(tx: Connection) -> str:
    """SQL of the messages ``m`` whose ids are bound as ``IDS``, each looked up by its key.

    With a plain join PostgreSQL may read all waiting messages to find a few ids: 80 ms for a claim beside 100,000 of
    them in a table that was never analyzed.
    """
    return _NAMED[tx.dialect.name].format(rows=table(tx, IDS))


@cache
def _table(dialect: str, columns: tuple[tuple[str, str], ...], parameter: str) -> str:
    if dialect == "sqlite":
        picked = ", ".join(f"json_extract(value, '$[{n}]') AS {name}" for n, (name, _) in enumerate(columns))
        return f"(SELECT {picked} FROM json_each(:{parameter})) AS p"  # noqa: S608 - names of our own columns
    arrays = ", ".join(f"CAST(:{parameter}_{n} AS {kind}[])" for n, (_, kind) in enumerate(columns))
    return f"unnest({arrays}) AS p({', '.join(name for name, _ in columns)})"


def array(values: Collection[object]) -> str:
    """A PostgreSQL array literal of these values, five times as fast as the driver makes one.

    Takes text, bytes, numbers, booleans and None; a uuid is text.
    """
    try:
        # Usually all values are text that needs no escape.
        plain = '","'.join(values)  # type: ignore[arg-type]
    except TypeError:
        plain = "\\"
    if values and "\\" not in plain and plain.count('"') == 2 * (len(values) - 1):
        return f'{{"{plain}"}}'
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, bytes):
        return f'"\\\\x{value.hex()}"'
    return str(value)


@cache
def statement(sql: str) -> TextClause:
    """The text as a statement, parsed once."""
    return text(sql)
