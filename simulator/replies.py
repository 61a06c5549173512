"""The vendor's replies as bytes: ids, JSON and HTTP."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

_REASONS = {status.value: status.phrase for status in HTTPStatus}

#: Statuses that carry neither a body nor a Content-Length.
_BODILESS = frozenset({204, 304})


class Ids:
    """MessageIds and RequestIds, computed from a number, so that they need no memory; unique across runs."""

    def __init__(self, run: bytes | None = None) -> None:
        """``run``: seven bytes that identify this run; random by default."""
        self._run = secrets.token_bytes(7) if run is None else run
        run_hex = self._run.hex()
        self._request_prefix = f"{run_hex[:8]}-{run_hex[8:12]}-4{run_hex[12:14]}0"

    def message_id(self, number: int) -> str:
        """In the form of WhatsApp's own ids; the vendor's form is not documented (docs/vendor.md#reply)."""
        return "wamid.HBgM" + base64.b64encode(self._run + number.to_bytes(8, "big")).decode()

    def message_number(self, message_id: str) -> int | None:
        """The number of a MessageId of this run; None for any other text."""
        try:
            raw = base64.b64decode(message_id.removeprefix("wamid.HBgM"), validate=True)
        except ValueError:
            return None
        number = int.from_bytes(raw[7:], "big")
        return number if raw[:7] == self._run and message_id == self.message_id(number) else None

    def request_id(self, number: int) -> str:
        """In the form of a version 4 UUID."""
        return f"{self._request_prefix}-8{number >> 48 & 0xFFF:03x}-{number & 0xFFFF_FFFF_FFFF:012x}"


class HttpDate:
    """The Date header, formatted once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def at(self, now_ms: float) -> str:
        """``now_ms`` is unix milliseconds."""
        second = int(now_ms // 1000)
        if second != self._second:
            self._second = second
            self._text = formatdate(second, usegmt=True)
        return self._text


def http_reply(
    status: int,
    body: bytes,
    date: str,
    headers: Mapping[str, str] | None = None,
    content_type: str = "application/json",
    close: bool = False,
) -> bytes:
    """One HTTP/1.1 response. ``headers`` replace the default ones."""
    lines = {
        "Content-Type": content_type,
        "Content-Length": str(len(body)),
        "Date": date,
        "Server": "simulator",
    }
    if status in _BODILESS:
        del lines["Content-Length"], lines["Content-Type"]
        body = b""
    if close:
        lines["Connection"] = "close"
    if headers:
        given = {name.lower() for name in headers}
        lines = {name: value for name, value in lines.items() if name.lower() not in given} | dict(headers)
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}\r\n{head}\r\n".encode("latin-1") + body


def body_start(reply: bytes) -> int:
    """The offset of the body in a reply of ``http_reply``."""
    return reply.index(b"\r\n\r\n") + 4


def accepted_body(action: str, message_id: str, request_id: str) -> bytes:
    """The documented response. Ids and action contain nothing that JSON escapes."""
    return (
        f'{{"Action":"{action}Response","Data":{{"MessageId":"{message_id}"}},'
        f'"Message":"","RequestId":"{request_id}","RetCode":0}}'
    ).encode()


def data_body(action: str, data: Mapping[str, Any], request_id: str) -> bytes:
    """Success of another action; ``data`` holds the top-level fields of its response."""
    return to_json(
        {"Action": f"{action}Response", **data, "Message": "", "RequestId": request_id, "RetCode": 0}
    )


def refused_body(action: str, ret_code: int, message: str, request_id: str) -> bytes:
    """A RetCode other than 0, without Data."""
    return to_json(
        {"Action": f"{action}Response", "Message": message, "RequestId": request_id, "RetCode": ret_code}
    )


def to_json(value: object) -> bytes:
    """Compact JSON in ASCII, which can also hold a lone surrogate that a client sent."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")
