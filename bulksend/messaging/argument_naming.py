"""How an error names an argument: as an option of ``bulksend``, an argument of a Python function, or a JSON field.

A remedy is written in the caller's own form, so that it can be typed as it stands.
"""

from __future__ import annotations

import json
import shlex
from typing import Protocol

_OPTIONS = {"into": "continue", "columns": "map"}
_FIELDS = {"at": "send_at", "ttl": "ttl_seconds", "columns": "map"}


class ArgumentNaming(Protocol):
    """``naming("again")`` is the argument's name; with a value (``True`` for a flag), what to type."""

    def __call__(self, argument: str, value: str | bool | None = None, /) -> str: ...


def as_cli_option(argument: str, value: str | bool | None = None, /) -> str:
    """``--continue NAME``, ``--again``, ``--map to="Mobile No."``."""
    option = "--" + _OPTIONS.get(argument, argument.replace("_", "-"))
    if not isinstance(value, str):
        return option
    if argument == "columns":
        name, _, column = value.partition("=")
        value = f'{name}="{column}"'
    else:
        value = shlex.quote(value)
    return f"{option} {value}"


def as_python_argument(argument: str, value: str | bool | None = None, /) -> str:
    """``into='NAME'``, ``again=True``, ``columns=['to=Mobile No.']``."""
    if value is None:
        return argument
    return f"{argument}={[value] if argument == 'columns' else value!r}"


def as_json_field(argument: str, value: str | bool | None = None, /) -> str:
    """``"into": "NAME"``, ``"again": true``, ``"map": {"to": "Mobile No."}``."""
    field = _FIELDS.get(argument, argument)
    if value is None:
        return field
    shown: object = value
    if argument == "columns" and isinstance(value, str):
        name, _, column = value.partition("=")
        shown = {name: column}
    return f'"{field}": {json.dumps(shown, ensure_ascii=False)}'
