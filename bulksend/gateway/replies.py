"""Reads a reply, or the lack of one, as an :class:`Answer`. Pure; no content of a reply raises.

The order (docs/vendor.md#reply): the RetCode; for 17115 the WhatsApp code in ``Message``; the HTTP status only where
no listed RetCode is there. Only RetCode 0 with a MessageId in a 2xx is accepted. Everything else that no source calls
a refusal is unknown (error_codes.py).
"""

from __future__ import annotations

import codecs
import json
import re
import zlib
from collections.abc import Mapping, Set
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from bulksend.gateway.error_codes import (
    SEND_FAILED,
    Family,
    find_row,
    outcome_of,
    outcome_of_message,
    whatsapp_code_in,
)
from bulksend.gateway.transport import Failure
from bulksend.messaging.masking import mask_digits
from bulksend.messaging.outcome import (
    Accepted,
    Answer,
    Evidence,
    NotSent,
    Outcome,
    Refused,
    Remedy,
    Retry,
    Scope,
    Throttled,
    Unknown,
)
from bulksend.messaging.sentences import joined, say

MAX_BODY = 65536
"""Bytes. The documented reply has about 150."""
MAX_ID = 256
MAX_VENDOR_MESSAGE = 500
MAX_RETRY_AFTER_MS = 60 * 60 * 1000
_AT_STAGE = {
    "closed": say("the connections were closed"),
    "connect": say("no connection to the vendor"),
    "tls": say("no TLS connection to the vendor"),
    "send": say("the connection failed while the request was sent"),
    "wait": say("the connection failed while waiting for the reply"),
    "read": say("the connection failed while the reply was read"),
}
_FAILED = say("the POST failed")

_INT32 = 2**31 - 1
_WRITTEN_PHONE = re.compile(r"\+[0-9][0-9 ().-]{5,}[0-9]")


class ParsedReply(NamedTuple):
    """The parts of a reply. A part that is missing, of the wrong type or too long is None or empty."""

    status: int
    fields: Mapping[str, Any] | None
    """The body's JSON object; None for any other body."""
    ret_code: int | None
    message: str
    """The vendor's text, not masked: may hold phone numbers."""
    request_id: str
    message_id: str
    has_valid_message_id: bool
    retry_after_ms: int | None
    shown: str
    """The vendor's text as it may be kept: masked."""

    @property
    def has_message_id(self) -> bool:
        """Whether there is a MessageId of any type and length, also outside its documented place."""
        fields = self.fields or {}
        data = fields.get("Data")
        places = [fields, *(data if isinstance(data, list) else [data])]
        return any(_is_given(place.get("MessageId")) for place in places if isinstance(place, Mapping))

    @property
    def is_2xx(self) -> bool:
        """Whether the HTTP status reports success."""
        return 200 <= self.status < 300


def read_reply(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    max_body: int = MAX_BODY,
    vouched: Set[int] = frozenset(),
) -> Answer:
    """The answer in a complete reply to SendMessage. A body of more than ``max_body`` bytes is not read.

    ``vouched``: RetCodes and HTTP statuses that mean "not sent" by the operator's word.
    """
    reply = parse_reply(status, headers, body, max_body=max_body)
    whatsapp_code = whatsapp_code_in(reply.message) if reply.ret_code == SEND_FAILED else None
    return Answer(_outcome(reply, whatsapp_code, vouched), _evidence(reply, whatsapp_code))


def read_failure(failure: Failure) -> Answer:
    """The answer without a reply: NotSent if no byte was sent, else Unknown."""
    evidence = Evidence(bytes_sent=failure.bytes_sent, reply_began=failure.reply_began, error=failure.error)
    stage = _AT_STAGE.get(failure.stage, _FAILED)
    what = say("{why} ({code})", why=stage, code=failure.error)
    if failure.bytes_sent:
        return Answer(Unknown(joined([what, say("the message may have been sent")])), evidence)
    return Answer(NotSent(joined([what, say("nothing was sent")]), _remedy_unsent(failure)), evidence)


def _remedy_unsent(failure: Failure) -> Remedy:
    if failure.local:
        return Remedy(retry=Retry.FREE, pause=Scope.ACCOUNT, alert=True)
    if failure.stage == "closed":
        return Remedy(retry=Retry.FREE)
    return Remedy(retry=Retry.BACKOFF, breaker=True)


def _outcome(reply: ParsedReply, whatsapp_code: int | None, vouched: Set[int]) -> Outcome:
    if reply.ret_code == 0 and reply.is_2xx and reply.has_valid_message_id:
        return Accepted(reply.message_id, reply.request_id)
    if whatsapp_code is not None:
        outcome = outcome_of(Family.WHATSAPP, whatsapp_code, reply.retry_after_ms)
    else:
        words = outcome_of_message(reply.message) if reply.ret_code == SEND_FAILED else None
        outcome = words or outcome_by_code(reply, vouched)
    if isinstance(outcome, Refused | Throttled) and reply.has_message_id:
        # A MessageId means accepted, so an answer that also refuses proves neither.
        remedy = Remedy(breaker=True, alert=True)
        return Unknown(
            say("{why}, but the reply has a MessageId; it may have gone out", why=outcome.why),
            outcome.code,
            remedy,
        )
    return outcome


def outcome_by_code(reply: ParsedReply, vouched: Set[int] = frozenset()) -> Outcome:
    """The outcome of a reply that does not report success, by its RetCode or HTTP status."""
    code = reply.ret_code
    if code is not None and (reply.is_2xx or find_row(Family.RETCODE, code)):
        return outcome_of(Family.RETCODE, code, reply.retry_after_ms, vouched=vouched)
    return outcome_of(Family.HTTP, reply.status, reply.retry_after_ms, vouched=vouched)


def _evidence(reply: ParsedReply, whatsapp_code: int | None = None) -> Evidence:
    """What the ledger keeps of a reply."""
    return Evidence(
        http_status=reply.status,
        ret_code=reply.ret_code,
        whatsapp_code=whatsapp_code,
        vendor_message=reply.shown,
        request_id=reply.request_id,
        message_id=reply.message_id,
        bytes_sent=True,
        reply_began=True,
    )


# -- the parts of a reply --------------------------------------------------------------------------------


def parse_reply(
    status: int, headers: Mapping[str, str], body: bytes, *, max_body: int = MAX_BODY
) -> ParsedReply:
    """The parts of a reply to any action."""
    by_name = {name.lower(): value for name, value in headers.items()}
    fields = _json_object(_inflated(body, by_name.get("content-encoding", ""), max_body))
    parts = fields or {}
    message = parts.get("Message")
    message = message if isinstance(message, str) else ""
    data = parts.get("Data")
    message_id = data.get("MessageId") if isinstance(data, dict) else None
    return ParsedReply(
        status=status,
        fields=fields,
        ret_code=_ret_code(parts.get("RetCode")),
        message=message,
        request_id=_id_text(parts.get("RequestId")) or _id_text(by_name.get("x-speedo-request-uuid")),
        message_id=_id_text(message_id),
        has_valid_message_id=isinstance(message_id, str) and bool(_id_text(message_id)),
        retry_after_ms=_retry_after_ms(by_name.get("retry-after", ""), by_name.get("date", "")),
        shown=masked(message) if fields is not None else _description(by_name.get("content-type", ""), body),
    )


def _inflated(body: bytes, encoding: str, max_body: int) -> bytes | None:
    """The body, decompressed where it is compressed; None where it is longer than ``max_body``."""
    if len(body) > max_body:
        return None
    if encoding.strip().lower() not in {"gzip", "x-gzip", "deflate"}:
        return body
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        inflated = inflater.decompress(body, max_body + 1)
    except zlib.error:
        return None
    # Another gzip member may follow, which would continue the body.
    is_whole = inflater.eof and not inflater.unused_data
    return inflated if is_whole and len(inflated) <= max_body else None


def _json_object(body: bytes | None) -> dict[str, Any] | None:
    if not body:
        return None
    try:
        value = _DECODER.decode(body.removeprefix(codecs.BOM_UTF8).decode())
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuses a repeated name: of two RetCodes, which one counts is not defined."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a repeated name")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


#: Made once, because ``json.loads`` makes a new decoder in each call with hooks.
_DECODER = json.JSONDecoder(object_pairs_hook=_without_repeats, parse_constant=_refuse_constant)


def _ret_code(value: object) -> int | None:
    """An integer, or its digits as a string (the vendor's Go SDK patches ``"RetCode":"100"``), of 32 bits."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,10}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if abs(value) <= _INT32 else None


def _id_text(value: object) -> str:
    """An id that the ledger can store whole, else empty: a shortened id could match another message."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return text if len(text) <= MAX_ID and text.isprintable() and text.strip() else ""


def _is_given(value: object) -> bool:
    return value is not None and (not isinstance(value, str) or bool(value.strip()))


def masked(words: str) -> str:
    """The vendor's text with numbers masked and unprintable characters escaped (log injection, bidi, NUL)."""
    if not words:
        return ""
    masked = mask_digits(_WRITTEN_PHONE.sub("+***", words[: 4 * MAX_VENDOR_MESSAGE]))
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in masked)
    return safe[:MAX_VENDOR_MESSAGE]


def _description(content_type: str, body: bytes) -> str:
    """Describes a body that is not a JSON object. Its text is not kept: it might quote our request."""
    return masked(f"no JSON object: {len(body)} bytes of {content_type[:80] or 'unnamed type'}")


def _retry_after_ms(value: str, server_date: str) -> int | None:
    """Seconds or an HTTP date, at most an hour; None for anything else, and for 0: then our backoff decides.

    A date is compared with the reply's own Date header, so this machine's clock does not matter.
    """
    value = value.strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        # Nine digits are more than the clamp lets through.
        return min(int(value[:9]) * 1000, MAX_RETRY_AFTER_MS) or None
    until, now = http_date(value), http_date(server_date)
    if until is None or now is None or until <= now:
        return None
    return min(int((until - now).total_seconds() * 1000), MAX_RETRY_AFTER_MS)


def http_date(text: str) -> datetime | None:
    """An HTTP date, or None for anything else."""
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
