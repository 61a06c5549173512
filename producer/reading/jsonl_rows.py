"""JSON lines: one object a line. Its fields are the columns."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from bulksend.errors import InvalidInput
from bulksend.messaging.argument_naming import ArgumentNaming
from bulksend.messaging.column_names import clean_name, normal_name
from bulksend.messaging.plan import RefusedRow
from producer.reading.header_row import NAME_MAX, shown
from producer.reading.rows import RawRow, RowSource
from producer.reading.text_encoding import LINE_MAX, find_encoding, is_unreadable, open_text

#: The fields in this many characters at the start are the columns. Later rows may omit fields but not add any.
GATHERED = 4 << 20
_ONE_A_LINE = "write one whole object a line, with nothing behind it"
#: One object behind another, with only a carriage return between them.
_CR_ONLY = re.compile(r"\}[ \t]*\r[ \t]*\{")


class _LineError(ValueError):
    """A line that is not a row: the field, and why."""

    def __init__(self, field: str, why: str) -> None:
        self.field = field
        self.why = why
        super().__init__(why)


class JsonlRows(RowSource):
    """A file of JSON objects, open at its first one."""

    format = "jsonl"

    def __init__(
        self, path: Path, *, encoding: str | None, is_verified: bool, naming: ArgumentNaming
    ) -> None:
        """Raises InvalidInput when the file as a whole cannot be read."""
        super().__init__(naming)
        found = find_encoding(path, encoding, naming, is_verified=is_verified)
        self.encoding = found.codec
        with open_text(path, found, newline="\n") as file:
            self._columns = _gather(file, path.name)
        self.header = tuple(self._columns.values())
        self._own = frozenset(self.header)
        self._file = open_text(path, found, newline="\n")
        try:
            self._begin(path.name)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._file.close()

    def _read(self) -> Iterator[RawRow | RefusedRow]:
        last = 0
        for number, line in _lines(self._file):
            self.blank += number - last - 1
            last = number
            if self._to_skip:
                self._to_skip -= 1
                continue
            try:
                yield RawRow(number, self._renamed(self._named(_parse(line))))
            except _LineError as error:
                yield RefusedRow(number, error.field, "", error.why)

    def _named(self, values: dict[str, object]) -> dict[str, object]:
        """The values by the header's spelling of each name: ``To`` and ``to`` are one column."""
        if values.keys() <= self._own:
            return values
        named: dict[str, object] = {}
        for name, value in values.items():
            column = self._columns.get(normal_name(name))
            if column is None:
                raise _LineError(
                    shown(name),
                    f"is not a field of any row in the first {GATHERED >> 20} MB; add it to the first line too, "
                    "null is enough",
                )
            if column in named:
                raise _LineError(column, "stands twice in the object; upper and lower case are the same")
            named[column] = value
        return named


def _gather(file: io.TextIOWrapper, name: str) -> dict[str, str]:
    """The fields of the first lines: normal name -> first spelling. Raises InvalidInput when there are none."""
    columns: dict[str, str] = {}
    refused: tuple[int, str] | None = None
    length = 0
    for number, line in _lines(file):
        if number == 1 and _CR_ONLY.search(line[:GATHERED]):
            raise InvalidInput(
                f"the lines of {name} end with a carriage return (CR) alone, as old Mac programs write them; save it "
                "with LF or CRLF line ends"
            )
        if number == 1 and line.startswith("["):
            raise InvalidInput(
                f"{name} is one JSON array; write one object a line, without brackets and commas"
            )
        try:
            for field in _parse(line):
                columns.setdefault(normal_name(field), clean_name(field))
        except _LineError as error:
            refused = refused or (number, error.why)
        length += len(line)
        if length > GATHERED:
            break
    if not columns and refused:
        raise InvalidInput(f"{name} has no usable line; line {refused[0]} {refused[1]}")
    if not columns:
        raise InvalidInput(f'{name} is empty; write one JSON object a line, such as {{"to": "447700900123"}}')
    return columns


def _lines(file: io.TextIOWrapper) -> Iterator[tuple[int, str]]:
    """Numbered lines that are not blank, of a too long one only the beginning."""
    number = 0
    while line := file.readline(LINE_MAX):
        number += 1
        if len(line) == LINE_MAX and line[-1] != "\n":
            while (part := file.readline(LINE_MAX)) and part[-1] != "\n":
                pass
        stripped = line.strip(" \t\r\n")
        if stripped:
            yield number, stripped


def _parse(line: str) -> dict[str, object]:
    if len(line) >= LINE_MAX - 4:
        raise _LineError("row", f"is longer than {LINE_MAX:,} characters, more than any message can hold")
    if is_unreadable(line):
        raise _LineError("row", "has bytes that are not of the file's encoding; export it as UTF-8")
    try:
        value, end = _decoder.raw_decode(line)
        if end != len(line):
            raise json.JSONDecodeError("Extra data", line, end)
    except json.JSONDecodeError as error:
        raise _LineError(
            "row", f"is not JSON: {error.msg[:60]} at character {error.colno}; {_ONE_A_LINE}"
        ) from None
    except RecursionError:
        raise _LineError("row", "is nested too deeply; a row is one flat object") from None
    except _LineError:
        raise
    except ValueError:  # an int of more digits than Python converts
        raise _LineError("row", "has a number of more than 4,300 digits") from None
    if not isinstance(value, dict):
        raise _LineError(
            "row", f'is {_kind(value)}, not an object with fields, such as {{"to": "447700900123"}}'
        )
    if not value:
        raise _LineError("row", "is an empty object")
    if "\\u" in line:
        _check_escapes(value)
    return value


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _LineError(shown(twice), "stands twice in the object")
    for name, value in pairs:
        if type(value) not in _CELLS:
            raise _LineError(
                shown(name), f"is {_kind(value)}; a cell holds text, a number, true, false or null"
            )
        if type(value) is float and not math.isfinite(value):
            raise _LineError(shown(name), "is too large for a number")
        if not name or name.isspace() or len(name) > NAME_MAX:
            raise _LineError("row", f"has a field whose name is empty or longer than {NAME_MAX} characters")
    return values


def _check_escapes(values: dict[str, object]) -> None:
    """Refuse characters that only an escape such as ``\\u0000`` can write."""
    for name, value in values.items():
        for text in (name, value):
            if not isinstance(text, str):
                continue
            if "\0" in text:
                raise _LineError(_field(name), "has a NUL character; take it out")
            if is_unreadable(text):
                raise _LineError(_field(name), "has half of a character (a lone surrogate); export it again")


def _field(name: str) -> str:
    return "row" if "\0" in name or is_unreadable(name) else shown(name)


def _no_constant(text: str) -> NoReturn:
    raise _LineError("row", f"has {text}, which JSON does not have; use null")


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


_CELLS = frozenset({str, int, float, bool, type(None)})
_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)
