"""The reply to a call other than the POST of a message: its data, or in a sentence why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from bulksend.gateway.error_codes import UNLISTED, CodeRow, Family, find_row
from bulksend.gateway.replies import MAX_BODY, ParsedReply, http_date, parse_reply
from bulksend.gateway.transport import RawReply
from bulksend.messaging.outcome import Accepted, Retry, Throttled, Unknown

MAX_TEXT = 80


class CallReply(NamedTuple):
    """``problem`` is empty where the vendor did what it was asked."""

    data: object
    """The reply's ``Data``; None where there is none."""
    problem: str
    answered: bool
    """Whether a reply came, good or bad."""
    passing: bool
    """Whether the same call may succeed a moment later."""
    retry_after_ms: int | None
    at_ms: int | None
    """The instant of the reply by the vendor's clock, in whole seconds; None where it is not told."""


def read_call(reached: RawReply | str, *, max_body: int = MAX_BODY) -> CallReply:
    """Read a reply, or the reason why none came. Never raises."""
    if isinstance(reached, str):
        return CallReply(None, reached, False, True, None, None)
    reply = parse_reply(reached.status, reached.headers, reached.body, max_body=max_body)
    date = vendor_time(reached.headers)
    at_ms = None if date is None else int(date * 1000)
    if reply.ret_code == 0 and reply.is_2xx:
        return CallReply((reply.fields or {}).get("Data"), "", True, False, None, at_ms)
    return CallReply(None, _problem(reply), True, _is_passing(reply), reply.retry_after_ms, at_ms)


def vendor_time(headers: Mapping[str, str]) -> float | None:
    """The vendor's clock in seconds since the epoch, from the Date header; None without one."""
    for name, value in headers.items():
        if name.lower() == "date":
            date = http_date(value)
            return date.timestamp() if date else None
    return None


def text_of(value: object, most: int = MAX_TEXT) -> str:
    """A text or number of the vendor as one printable line; empty for anything else."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return "".join(c for c in text[:most] if c.isprintable())


def field_of(value: object, name: str) -> Any:
    """A field of a JSON object; None where it has none, or where it is no object."""
    return value.get(name) if isinstance(value, Mapping) else None


def _row_of(reply: ParsedReply) -> tuple[CodeRow, str]:
    """The row of the table for a reply that reports no success, and its code as text."""
    code = reply.ret_code
    if code is not None and (reply.is_2xx or find_row(Family.RETCODE, code)):
        return find_row(Family.RETCODE, code) or UNLISTED[Family.RETCODE], str(code)
    return find_row(Family.HTTP, reply.status) or UNLISTED[Family.HTTP], f"HTTP {reply.status}"


def _problem(reply: ParsedReply) -> str:
    row, code = _row_of(reply)
    words = f": {reply.shown}" if reply.fields is not None and reply.shown else ""
    return f"{row.meaning} ({code}){words}"


def _is_passing(reply: ParsedReply) -> bool:
    """Refusals that a person must act on do not pass: a wrong key, a missing right, no money."""
    row, code = _row_of(reply)
    outcome = row.make(code, row.meaning, None)
    if isinstance(outcome, Accepted) or outcome.remedy.pause is not None:
        return False
    return isinstance(outcome, Throttled | Unknown) or outcome.remedy.retry is not Retry.NEVER
