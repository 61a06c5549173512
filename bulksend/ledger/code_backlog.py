"""What waits ahead of a new one-time code: the codes of each sender that are due, its rate and pauses, the workers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlalchemy import Connection, func, literal, or_, select, text, union_all

from bulksend.ledger import leases, pauses, senders
from bulksend.ledger.campaigns import ACTIVE
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import among, prefer_indexes
from bulksend.ledger.schema import HELD_SQL, WAITING_SQL, attempts, campaigns, messages, workers
from bulksend.messaging.code_delay import OBSERVED_MS, CodeLane, Workers
from bulksend.messaging.states import Kind, Status

#: More codes than this are not counted: a new one is late in any case.
COUNTED = 50_000
#: A code is `sending` from its permit on, which it may have this long before its slot.
AHEAD_MS = 1_000


@dataclass(frozen=True, slots=True)
class CodeBacklog:
    """By sender what waits, and the workers. ``paused``: the account, or the standing campaign of codes."""

    lanes: Mapping[str, CodeLane]
    workers: Workers
    paused: bool

    def lane(self, sender: str, rate: float) -> CodeLane:
        """The lane of a sender; of one that is not on record, with this rate."""
        found = self.lanes.get(sender) or CodeLane({}, rate)
        return replace(found, paused=True) if self.paused else found


def read_backlog(tx: Connection, *, account: str, standing: str) -> CodeBacklog:
    """The backlog now. ``standing`` is the campaign of single codes."""
    prefer_indexes(tx)
    now = read_clock(tx)
    waiting: dict[str, dict[str, int]] = defaultdict(dict)
    oldest: dict[str, int] = {}
    for sender, campaign, count, due_at in _waiting(tx, now):
        waiting[sender][str(campaign)] = count
        oldest[sender] = max(oldest.get(sender, 0), now - due_at)
    posts = _posts(tx, [sender for sender, age in oldest.items() if age >= OBSERVED_MS], now)
    lanes = {
        each.phone: CodeLane(
            waiting=waiting.get(each.phone, {}),
            rate=each.rate,
            paused=each.paused_at is not None,
            oldest_ms=oldest.get(each.phone, 0),
            posts=posts.get(each.phone, 0),
        )
        for each in senders.all_senders(tx)
    }
    status = tx.execute(select(campaigns.c.paused_at).where(campaigns.c.id == standing)).scalar()
    paused = status is not None or pauses.account_pause(tx, account) is not None
    return CodeBacklog(lanes, _workers(tx, now), paused)


def _waiting(tx: Connection, now: int) -> list[tuple[str, str, int, int]]:
    """Sender, campaign, the number of codes that are due and not POSTed yet, the oldest due time.

    Without campaigns whose canary holds the others: these wait for receipts, and not for their turn.
    """
    active = select(campaigns.c.id).where(
        *(campaigns.c.kind == Kind.OTP.value, campaigns.c.held_after.is_(None)),
        campaigns.c.status.in_([status.value for status in ACTIVE]),
    )
    ids = [str(id) for id in tx.execute(active).scalars()]
    columns = messages.c.sender, messages.c.campaign_id, messages.c.due_at
    due = (
        select(*columns)
        .where(
            among(tx, messages.c.campaign_id, ids),
            text(f"messages.{WAITING_SQL}"),
            messages.c.due_at <= literal(now),
        )
        .limit(COUNTED)
        .subquery()
    )
    claimed = (
        select(*columns)
        .where(
            text(f"messages.{HELD_SQL}"),
            messages.c.kind == Kind.OTP.value,
            or_(messages.c.status == Status.CLAIMED.value, messages.c.sent_at > literal(now - AHEAD_MS)),
        )
        .limit(COUNTED)
        .subquery()
    )
    both = union_all(select(due), select(claimed)).subquery()
    grouped = select(both.c.sender, both.c.campaign_id, func.count(), func.min(both.c.due_at)).group_by(
        both.c.sender, both.c.campaign_id
    )
    return [(sender, str(id), count, due_at) for sender, id, count, due_at in tx.execute(grouped)]


def _posts(tx: Connection, phones: list[str], now: int) -> dict[str, int]:
    """POSTs of codes of these senders within OBSERVED_MS."""
    found: dict[str, int] = {}
    for phone in phones:
        newest = (
            select(attempts.c.message_pk)
            .where(attempts.c.sender == phone, attempts.c.started_at > now - OBSERVED_MS)
            .limit(COUNTED)
            .subquery()
        )
        of_codes = (
            select(func.count())
            .select_from(newest.join(messages, messages.c.id == newest.c.message_pk))
            .where(messages.c.kind == Kind.OTP.value)
        )
        found[phone] = tx.execute(of_codes).scalar_one()
    return found


def _workers(tx: Connection, now: int) -> Workers:
    alive = len(leases.alive(tx))
    if alive:
        return Workers(alive)
    last = tx.execute(select(func.max(workers.c.lease_until))).scalar()
    return Workers(0, None if last is None else max(0, now - last))
