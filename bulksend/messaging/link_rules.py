"""What the answer to a link of a content means: whether the vendor can fetch the file, and for how long.

Only what certainly cannot be sent is refused. An answer may differ from the vendor's, which asks from elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

from bulksend.errors import InvalidValue
from bulksend.messaging.media_files import HEAD, MOST, check_media
from bulksend.messaging.states import MessageType
from bulksend.messaging.units import format_instant

#: Nothing is there, and nothing will be.
_GONE = frozenset({404, 410})
_TOTAL = re.compile(r"bytes \d+-\d+/(\d{1,15})", re.ASCII)
_SECONDS = re.compile(r"\d{1,12}", re.ASCII)
_STAMP = re.compile(r"\d{8}T\d{6}Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class LinkReply:
    """What a link answered, and the beginning of it. ``size``: of the whole file; None: not told."""

    status: int
    content_type: str
    size: int | None
    head: bytes

    @classmethod
    def of(cls, status: int, headers: Mapping[str, str], head: bytes) -> LinkReply:
        """From an answer's headers, whose names are in small letters."""
        total = _TOTAL.fullmatch(headers.get("content-range", ""))
        length = headers.get("content-length", "")
        size = (
            int(total[1]) if total else int(length) if status == 200 and _SECONDS.fullmatch(length) else None
        )
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        return cls(status, kind[:60], size, head[:HEAD])


def check_reply(reply: LinkReply, type: MessageType, *, field: str) -> str | None:
    """A note on the answer to a link of a content, or None. Raises InvalidValue when the file cannot be sent."""
    if reply.status in _GONE:
        raise InvalidValue(field, "", f"leads to no file (HTTP {reply.status}); correct the link")
    if 300 <= reply.status < 400:
        return f"{field} leads on to another address (HTTP {reply.status}); give that one, as WhatsApp may not follow"
    if reply.status not in (200, 206):
        return (
            f"{field} answers HTTP {reply.status} here; check that the vendor can fetch it without signing in"
        )
    if reply.content_type in ("text/html", "application/xhtml+xml"):
        raise InvalidValue(
            field, "", "leads to a web page and not to a file; give the address of the file itself"
        )
    size = len(reply.head) if reply.size is None else reply.size
    # The parts of a packed office file are listed at its end, which was not read.
    if type is MessageType.DOCUMENT and reply.head.startswith(b"PK"):
        if size > MOST[type]:
            raise InvalidValue(
                field, f"{size:,} bytes", f"is too large: WhatsApp takes at most {MOST[type]:,} bytes"
            )
        return None
    found = check_media(reply.head, size, field=field, wanted=type)
    if reply.content_type and reply.content_type != found.mime:
        return (
            f"{field} is {found.mime} and is served as {reply.content_type}, by which WhatsApp may refuse it; have it "
            f"served as {found.mime}"
        )
    return None


def ends_at(link: str) -> int | None:
    """When a signed link ends, ms: of Amazon, Google, Azure and their like. None where its query does not say."""
    query = {name.lower(): value for name, value in parse_qsl(urlsplit(link).query)}
    for signer in ("x-amz-", "x-goog-"):
        begins, lives = query.get(f"{signer}date", ""), query.get(f"{signer}expires", "")
        if _STAMP.fullmatch(begins) and _SECONDS.fullmatch(lives):
            return _ms(begins, "%Y%m%dT%H%M%SZ", int(lives))
    if _SECONDS.fullmatch(query.get("expires", "")):
        return int(query["expires"]) * 1000
    # Azure's: the end of the signature.
    if "sig" in query and (end := query.get("se")):
        return _ms(end[:10], "%Y-%m-%d", 86_400) if len(end) == 10 else _ms(end[:19], "%Y-%m-%dT%H:%M:%S", 0)
    return None


def _ms(text: str, form: str, seconds: int) -> int | None:
    try:
        return int(
            (datetime.strptime(text, form).replace(tzinfo=UTC) + timedelta(seconds=seconds)).timestamp()
            * 1000
        )
    except (ValueError, OverflowError):
        return None


def check_end(link: str, *, now_ms: int, due_ms: int, field: str) -> str | None:
    """A note on when a link ends, or None. Raises InvalidValue when that is before the first message is due."""
    end = ends_at(link)
    if end is None:
        return None
    if end <= now_ms:
        raise InvalidValue(field, "", f"ended at {format_instant(end)}; make a new link")
    if end <= due_ms:
        raise InvalidValue(
            field,
            "",
            f"ends at {format_instant(end)}, before the first message is due; make one that lives longer",
        )
    return f"{field} ends at {format_instant(end)}: messages that are sent later fail"
