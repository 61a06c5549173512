"""The body of a posted campaign: JSON with its rows, or multipart with a file that goes to the disk as it arrives.

An import of suppressions comes as multipart too.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from bulksend.errors import InvalidInput, InvalidValue, TooLarge
from bulksend.ledger.ids import new_id
from ops.http.body_limits import UnsupportedType
from producer.uploads import Incoming, StoredFile, UploadStore

#: The most of a body that is held in memory: options with a content, and rows as JSON.
JSON_BYTES = 8 << 20
#: As much of a file is written at once.
_WRITTEN_AT_ONCE = 1 << 20
#: The name of rows that come as JSON, for errors and for the campaign.
ROWS = "rows.jsonl"


@dataclass(frozen=True, slots=True)
class Posted:
    """A body that arrived whole: the options as JSON, and the rows as a file on the disk."""

    options: dict[str, Any]
    file: StoredFile


async def receive_fields(
    request: Request, store: UploadStore, fields: Sequence[str]
) -> tuple[dict[str, str], StoredFile]:
    """A form of a page: its file goes to the disk as it arrives, these fields are short. Nothing is kept on an error.

    Raises as ``receive``.
    """
    kind, parameters = parse_options_header(request.headers.get("content-type", ""))
    _check_announced(request, store)
    if kind != b"multipart/form-data" or not parameters.get(b"boundary"):
        raise UnsupportedType("this address takes a form with a file (multipart/form-data)")
    form = _FieldsForm(store, new_id(), fields)
    file = await _form(request, form, parameters[b"boundary"])
    return form.texts(), file


async def receive(request: Request, store: UploadStore, id: str, part: str = "campaign") -> Posted:
    """Read the body; its rows become the file ``id``. Nothing is kept when it raises.

    ``part`` is the part of a form that holds the options. Rows as JSON are only taken of a campaign. Raises
    UnsupportedType or InvalidInput when the body is not one of the two forms, TooLarge, DiskFull.
    """
    kind, parameters = parse_options_header(request.headers.get("content-type", ""))
    _check_announced(request, store)
    if kind == b"application/json" and part == "campaign":
        return await _rows(request, store, id)
    if kind != b"multipart/form-data":
        raise UnsupportedType(
            "the Content-Type must be "
            + ("application/json with `rows`, or " if part == "campaign" else "")
            + f"multipart/form-data with the parts `{part}` and `file`"
        )
    if not parameters.get(b"boundary"):
        raise InvalidValue("Content-Type", "", "has no boundary; let your HTTP library set this header")
    form = _Form(store, id, part)
    file = await _form(request, form, parameters[b"boundary"])
    return Posted(form.options, file)


Body = TypeVar("Body", bound=BaseModel)


def form_of(part: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The description of a form: the options in ``part``, as JSON, and a file."""
    return {
        "schema": {
            "type": "object",
            "properties": {part: schema, "file": {"type": "string", "format": "binary"}},
            "required": [part, "file"],
        },
        "encoding": {part: {"contentType": "application/json"}},
    }


def form_body(part: str, model: type[BaseModel]) -> dict[str, Any]:
    """The description of a body that is a form, for ``openapi_extra``."""
    form = form_of(part, model.model_json_schema())
    return {"requestBody": {"required": True, "content": {"multipart/form-data": form}}}


def checked(options: dict[str, Any], read: Callable[[dict[str, Any]], Body], *place: str) -> Body:
    """The options of a body, as ``read`` makes them; ``place`` is where they stand in it.

    Raises RequestValidationError, and what ``read`` raises besides ValidationError.
    """
    try:
        return read(options)
    except ValidationError as error:
        raise RequestValidationError(
            [{**each, "loc": ("body", *place, *each["loc"])} for each in error.errors()]
        ) from None


def _check_announced(request: Request, store: UploadStore) -> None:
    """Refuse a body before it is sent, where its length is known. Raises TooLarge."""
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length) > store.max_bytes + JSON_BYTES:
        raise store.too_large()


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect:
        raise InvalidInput("the connection was closed before the whole body came") from None


# -- JSON ----------------------------------------------------------------------------------------------------------


async def _rows(request: Request, store: UploadStore, id: str) -> Posted:
    body = bytearray()
    async for chunk in _chunks(request):
        body += chunk
        if len(body) > JSON_BYTES:
            raise TooLarge(
                f"a campaign as JSON may have at most {JSON_BYTES >> 20} MB; post the rows as a file: "
                "multipart/form-data with the parts `campaign` and `file`"
            )
    return await run_in_threadpool(_store_rows, bytes(body), store, id)


def _store_rows(body: bytes, store: UploadStore, id: str) -> Posted:
    options = parse_object(body, "body")
    rows = options.pop("rows", None)
    if not isinstance(rows, list) or not rows:
        raise InvalidValue("rows", "", 'must be a list of at least one object, like {"to": "447700900123"}')
    incoming = store.begin(id, ROWS)
    try:
        # Row n of the list is line n of the file.
        incoming.write("".join(f"{json.dumps(row)}\n" for row in rows).encode())
        return Posted(options, incoming.finish())
    except BaseException:
        incoming.discard()
        raise


def parse_object(data: bytes, field: str) -> dict[str, Any]:
    """A JSON object of a request. Raises InvalidValue."""
    try:
        value = json.loads(data, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise InvalidValue(
            field, "", f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise InvalidValue(field, "", "is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise InvalidValue(field, "", f"is not UTF-8 (byte {error.start + 1})") from None
    except ValueError:
        raise InvalidValue(
            field, "", "has a number that JSON does not have, or one of too many digits"
        ) from None
    if not isinstance(value, dict):
        raise InvalidValue(field, "", "must be a JSON object")
    return value


def _no_constant(text: str) -> NoReturn:
    raise ValueError(text)


# -- multipart -----------------------------------------------------------------------------------------------------


async def _form(request: Request, form: _Parts, boundary: bytes) -> StoredFile:
    try:
        parser = MultipartParser(boundary, form.callbacks())
        async for chunk in _chunks(request):
            parser.write(chunk)
            if form.waiting_bytes >= _WRITTEN_AT_ONCE:
                await run_in_threadpool(form.flush)
        return await run_in_threadpool(form.finish)
    except FormParserError as error:
        form.discard()
        raise InvalidValue("body", "", f"is not multipart/form-data: {str(error)[:100]}") from None
    except BaseException:
        form.discard()
        raise


class _Parts:
    """The parts of a form as the parser finds them. Of the file only what was not written yet is in memory."""

    def __init__(self, store: UploadStore, id: str, fields: Sequence[str], most_bytes: int) -> None:
        """``fields``: the parts beside the file."""
        self._store = store
        self._id = id
        self._names = fields
        self._most_bytes = most_bytes
        self._given: dict[str, bytearray] = {}
        self._file_name: str | None = None
        self._incoming: Incoming | None = None
        self._waiting: list[bytes] = []
        self.waiting_bytes = 0
        self._headers: dict[bytes, bytes] = {}
        self._field, self._value = bytearray(), bytearray()
        self._current = ""
        self._is_complete = False

    def callbacks(self) -> Any:
        """What the parser calls."""
        return {
            "on_part_begin": self._on_part_begin,
            "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_end": self._on_end,
        }

    def _on_part_begin(self) -> None:
        self._headers = {}
        self._field, self._value = bytearray(), bytearray()

    def _on_header_end(self) -> None:
        self._headers[bytes(self._field).lower()] = bytes(self._value)
        self._field, self._value = bytearray(), bytearray()

    def _on_headers_finished(self) -> None:
        _, parameters = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = parameters.get(b"name", b"").decode("utf-8", "replace")
        if name not in (*self._names, "file"):
            raise InvalidValue(
                name[:40] or "body",
                "",
                f"is not a part of this form; the parts are {', '.join((*self._names, 'file'))}",
            )
        if name in self._given or (name == "file" and self._file_name is not None):
            raise InvalidValue(name, "", "is given twice")
        if name == "file":
            self._file_name = parameters.get(b"filename", b"").decode("utf-8", "replace")
            if not self._file_name:
                raise InvalidValue(
                    "file", "", "has no file name; its ending tells the format: .csv, .xlsx, .jsonl"
                )
        else:
            self._given[name] = bytearray()
        self._current = name

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current == "file":
            self._waiting.append(data[start:end])
            self.waiting_bytes += end - start
            return
        given = self._given[self._current]
        given += data[start:end]
        if len(given) > self._most_bytes:
            raise self._too_large()

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"the part `{self._current}` may have at most {self._most_bytes >> 20} MB; the rows go into `file`"
        )

    def _on_end(self) -> None:
        self._is_complete = True

    def flush(self) -> None:
        """Write what has come of the file. Raises TooLarge, DiskFull."""
        if self._file_name is None:
            return
        if self._incoming is None:
            self._incoming = self._store.begin(self._id, self._file_name)
        data, self._waiting, self.waiting_bytes = b"".join(self._waiting), [], 0
        if data:
            self._incoming.write(data)

    def finish(self) -> StoredFile:
        """The file, once the whole form is here. Raises InvalidValue when a part is missing or wrong."""
        if not self._is_complete:
            raise InvalidValue("body", "", "ends in the middle of a part; was the request cut off?")
        self.check()
        if self._file_name is None:
            raise InvalidValue("file", "", "is missing: the part with the rows")
        self.flush()
        assert self._incoming is not None
        return self._incoming.finish()

    def check(self) -> None:
        """Raises InvalidValue when a part beside the file is missing or wrong."""

    def discard(self) -> None:
        """Leave nothing behind."""
        if self._incoming is not None:
            self._incoming.discard()


class _Form(_Parts):
    """The form of a program: options as JSON, and a file."""

    options: dict[str, Any]

    def __init__(self, store: UploadStore, id: str, part: str) -> None:
        super().__init__(store, id, (part,), JSON_BYTES)
        self._part = part

    def check(self) -> None:
        if self._part not in self._given:
            raise InvalidValue(self._part, "", "is missing: the part with the options as JSON")
        if self._file_name is None:
            raise InvalidValue("file", "", "is missing: the part with the rows")
        self.options = parse_object(bytes(self._given[self._part]), self._part)
        if "rows" in self.options:
            raise InvalidValue(f"{self._part}.rows", "", "is not allowed beside a file")


class _FieldsForm(_Parts):
    """The form of a page: short fields, and a file."""

    def __init__(self, store: UploadStore, id: str, fields: Sequence[str]) -> None:
        super().__init__(store, id, fields, 1 << 20)

    def texts(self) -> dict[str, str]:
        """The fields that came."""
        return {name: value.decode("utf-8", "replace").strip() for name, value in self._given.items()}
