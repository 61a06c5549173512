"""What narrows a list of messages, as people write it on the command line."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from bulksend.ledger.search import Query
    from bulksend.settings import Settings


def query_of(
    tx: Connection,
    of: Settings,
    *,
    campaign: str | None,
    phone: str | None,
    since: str | None,
    until: str | None,
    message_id: str | None = None,
    request_id: str | None = None,
    status: str | None = None,
) -> Query:
    """The options of one command as a question to the ledger. Raises InvalidInput, which names the option."""
    from bulksend.errors import InvalidValue
    from bulksend.ledger import campaigns
    from bulksend.ledger.search import Query
    from bulksend.messaging import parse_recipient

    first, last = _instant(since, of.timezone, "--since"), _instant(until, of.timezone, "--until")
    if first is not None and last is not None and last < first:
        raise InvalidValue(
            "--until", until or "", "is before --since, so nothing can match; exchange the two"
        )
    return Query(
        phone=None
        if phone is None
        else parse_recipient(phone, default_region=of.default_region, field="--phone"),
        message_id=message_id,
        request_id=request_id,
        campaign_id=None if campaign is None else campaigns.find(tx, campaign).id,
        status=_status(status),
        since=first,
        until=last,
    )


def _status(text: str | None) -> str | None:
    from bulksend.errors import InvalidValue
    from bulksend.messaging import Status

    if text is not None and text not in set(Status):
        raise InvalidValue("--status", text[:40], f"is not one of {', '.join(Status)}")
    return text


def _instant(text: str | None, timezone: str | None, option: str) -> int | None:
    from bulksend.messaging.units import parse_instant_ms

    if text is None:
        return None
    return parse_instant_ms(text, timezone=timezone or "UTC", now_ms=int(time.time() * 1000), field=option)
