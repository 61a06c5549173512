"""The progress of a campaign from samples of bounded size: its rate, and why messages were not sent."""

from __future__ import annotations

import re
from collections.abc import Sequence
from heapq import nlargest
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, case, func, select, union_all

from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.clock import read_clock
from bulksend.ledger.in_flight import posts_since
from bulksend.ledger.schema import attempts, messages, senders
from bulksend.messaging.states import Status

#: The replies of this many of the newest attempts are counted, none older than this.
REPLIES_COUNTED, RECENT_MS = 50, 15 * 60_000
#: Rates come from this many of a sender's newest POSTs, so a faster sender is measured over a shorter time.
POSTS_SAMPLED = 1_000
#: Reasons come from this many of the newest messages in each status: in most campaigns from all.
REASONS_SAMPLED = 2_000
#: In these statuses a message has an error that says why it was not, or perhaps not, sent.
WITH_REASON = (Status.FAILED, Status.UNKNOWN, Status.EXPIRED, Status.SUPPRESSED)


def send_rates(tx: Connection, of: Sequence[Campaign], window_ms: int) -> dict[str, float]:
    """POSTs a second of each campaign, over the last ``window_ms`` or its sender's newest POSTS_SAMPLED POSTs."""
    now = read_clock(tx)
    found = dict.fromkeys((campaign.id for campaign in of), 0.0)
    moving = [c for c in of if c.ended_at is None or c.ended_at >= now - window_ms]
    phones = {campaign.sender for campaign in moving if not campaign.is_direct}
    if any(campaign.is_direct for campaign in moving):
        phones.update(tx.execute(select(senders.c.phone)).scalars())
    for phone in phones:
        for id, rate in _send_rates_of(tx, phone, now, window_ms):
            if id in found:
                found[id] += rate
    return found


def sender_rate(tx: Connection, phone: str, window_ms: int) -> float:
    """POSTs a second of a sender, over the last ``window_ms`` or its newest POSTS_SAMPLED POSTs."""
    return sum(rate for _, rate in _send_rates_of(tx, phone, read_clock(tx), window_ms))


def _send_rates_of(tx: Connection, phone: str, now: int, window_ms: int) -> list[tuple[str, float]]:
    newest = posts_since(tx, phone, now - window_ms, POSTS_SAMPLED)
    rows = tx.execute(
        select(messages.c.campaign_id, func.count(), func.min(newest.c.started_at))
        .select_from(newest.join(messages, messages.c.id == newest.c.message_pk))
        .group_by(messages.c.campaign_id)
    ).all()
    are_all = sum(posts for _, posts, _ in rows) < POSTS_SAMPLED
    span_ms = window_ms if are_all else max(1, now - min(oldest for _, _, oldest in rows))
    return [(str(id), posts * 1000 / span_ms) for id, posts, _ in rows]


def _newest(phone: str, when: ColumnElement[bool], most: int) -> Select[Any]:
    """The newest attempts of a sender, of those that began ``when``."""
    mine = select(attempts).where(attempts.c.sender == phone, when)
    return mine.order_by(attempts.c.started_at.desc()).limit(most)


def recent_results(tx: Connection, phone: str, since: int) -> tuple[int, int, int | None]:
    """Of a sender's newest POSTS_SAMPLED POSTs that began since then: how many have a result, how many of them the
    vendor refused, and when the newest one began (ms)."""
    newest = _newest(phone, attempts.c.started_at >= since, POSTS_SAMPLED).subquery()
    refused = func.sum(case((newest.c.outcome == "refused", 1), else_=0))
    row = tx.execute(select(func.count(newest.c.outcome), refused, func.max(newest.c.started_at))).one()
    return int(row[0]), int(row[1] or 0), row[2]


def last_accepted_at(tx: Connection, before: int) -> int | None:
    """When the newest POST before an instant began that the vendor accepted (ms).

    None where the newest REPLIES_COUNTED of each sender have none.
    """
    found = []
    for phone in tx.execute(select(senders.c.phone)).scalars().all():
        newest = _newest(phone, attempts.c.started_at < before, REPLIES_COUNTED).subquery()
        accepted = newest.c.outcome == "accepted"
        found.append(tx.scalar(select(func.max(newest.c.started_at)).where(accepted)))
    return max((int(at) for at in found if at is not None), default=None)


def failure_reasons(
    tx: Connection, campaign_id: str, limit: int = 20, *, sampled: int = REASONS_SAMPLED
) -> list[tuple[str, str, int]]:
    """Why messages were not, or perhaps not, sent: (status, error, count), the most frequent first.

    Of the newest ``sampled`` in each status.
    """
    each = []
    for status in WITH_REASON:
        newest = (
            select(messages.c.status, func.coalesce(messages.c.error, "").label("error"))
            .where(messages.c.campaign_id == campaign_id, messages.c.status == status.value)
            .order_by(messages.c.id.desc())
            .limit(sampled)
            .subquery()
        )
        each.append(select(newest.c.status, newest.c.error))
    newest_ones = union_all(*each).subquery()
    count = func.count()
    rows = tx.execute(
        select(newest_ones.c.status, newest_ones.c.error, count)
        .group_by(newest_ones.c.status, newest_ones.c.error)
        .order_by(count.desc(), newest_ones.c.error)
        .limit(limit)
    )
    return [(status, error, n) for status, error, n in rows]


def recent_replies(tx: Connection) -> str:
    """The results of the POSTs since the last accepted one, each kind with its number, the newest first."""
    is_recent = attempts.c.started_at >= read_clock(tx) - RECENT_MS
    newest = [
        attempt
        for phone in tx.execute(select(senders.c.phone)).scalars().all()
        for attempt in tx.execute(_newest(phone, is_recent, REPLIES_COUNTED)).mappings()
    ]
    counts: dict[str, int] = {}
    for attempt in nlargest(REPLIES_COUNTED, newest, key=lambda each: each["started_at"]):
        if attempt["outcome"] == "accepted":
            break
        reply = _reply(attempt)
        if reply is not None:
            counts[reply] = counts.get(reply, 0) + 1
    lines = [f"{reply} ({'once' if n == 1 else f'{n} times'})" for reply, n in counts.items()]
    return ", ".join(lines) or "none on record"


def _reply(attempt: RowMapping) -> str | None:
    """The reply to an attempt; None where it is open, or was held back before its POST."""
    if attempt["ret_code"] is not None:
        code = attempt["whatsapp_code"]
        return f"RetCode {attempt['ret_code']}" + (f" with WhatsApp code {code}" if code is not None else "")
    if attempt["http_status"] is not None:
        return f"HTTP {attempt['http_status']}"
    if attempt["reply_began"]:
        return "an incomplete reply"
    error = re.search(r"\((\w+)\)", attempt["error"] or "")
    if error is None:
        return None
    return f"{'no reply' if attempt['bytes_sent'] else 'no connection'} ({error[1]})"
