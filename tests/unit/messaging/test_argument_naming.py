"""A remedy is written as its reader can type it: an option, a Python argument, a JSON field."""

from __future__ import annotations

import pytest

from bulksend.messaging.argument_naming import as_cli_option, as_json_field, as_python_argument


@pytest.mark.parametrize(
    ("argument", "value", "option", "python", "field"),
    [
        ("again", True, "--again", "again=True", '"again": true'),
        ("into", "spring", "--continue spring", "into='spring'", '"into": "spring"'),
        ("at", None, "--at", "at", "send_at"),
        ("ttl", None, "--ttl", "ttl", "ttl_seconds"),
        ("on_unknown", None, "--on-unknown", "on_unknown", "on_unknown"),
        (
            "columns",
            "to=Mobile No.",
            '--map to="Mobile No."',
            "columns=['to=Mobile No.']",
            '"map": {"to": "Mobile No."}',
        ),
    ],
)
def test_an_argument_is_named_as_its_face_writes_it(
    argument: str, value: str | bool | None, option: str, python: str, field: str
) -> None:
    assert as_cli_option(argument, value) == option
    assert as_python_argument(argument, value) == python
    assert as_json_field(argument, value) == field
