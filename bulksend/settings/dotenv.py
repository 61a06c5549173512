"""Reads a ``.env`` file."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from bulksend.errors import InvalidInput

if TYPE_CHECKING:
    from dotenv.parser import Binding

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")


def read_dotenv(path: Path | None) -> dict[str, str]:
    """The variables of a ``.env`` file; none where it does not exist. Raises InvalidInput.

    A line that cannot be read is an error: with a default instead, messages could go elsewhere or at another rate.
    """
    if path is None or not (path.exists() or path.is_symlink()):
        return {}
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidInput(f"{path} cannot be read: {why}") from None
    if "\0" in text:
        raise InvalidInput(f"{path} cannot be read: it is not UTF-8 text, perhaps UTF-16; save it as UTF-8")
    from dotenv.parser import parse_stream

    found: dict[str, str] = {}
    lines: dict[str, int] = {}
    for binding in parse_stream(StringIO(text)):
        line = binding.original.line + _blank_lines_before(binding.original.string)
        if binding.error or (binding.key is not None and not _is_assignment(binding)):
            # The line itself is not shown: it may hold a password.
            raise InvalidInput(f"{path} line {line} is not NAME=value")
        if binding.key is None:
            continue
        if binding.key in lines:
            raise InvalidInput(
                f"{path} line {line}: {binding.key} is also set on line {lines[binding.key]}; leave one out"
            )
        lines[binding.key] = line
        found[binding.key] = binding.value or ""
    return found


def _is_assignment(binding: Binding) -> bool:
    return binding.value is not None and _NAME.fullmatch(binding.key or "") is not None


def _blank_lines_before(text: str) -> int:
    """The parser counts the blank lines above a statement as part of it."""
    return text[: len(text) - len(text.lstrip())].count("\n")
