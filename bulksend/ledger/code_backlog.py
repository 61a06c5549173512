"""What waits ahead of a new one-time code: the codes of each sender that are due, its rate and pauses, the workers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, literal, or_, select, text, union_all

from bulksend.ledger import pauses, senders
from bulksend.ledger.campaigns import IS_ACTIVE
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import among, prefer_indexes
from bulksend.ledger.in_flight import IS_IN_FLIGHT, posts_since, waits, with_messages
from bulksend.ledger.schema import WAITING_SQL, campaigns, in_flight, messages, workers
from bulksend.messaging.account_quota import GATE, account_quota
from bulksend.messaging.code_delay import OBSERVED_MS, CodeLane, Workers
from bulksend.messaging.states import Kind

#: More codes than this are not counted: a new one is late in any case.
COUNTED = 50_000
#: More people than this are not looked up in the quota: a new one is late in any case.
MOST_PEOPLE = 10_000
#: What holds a code that goes out with the others as soon as the circuit breaker closes (bulksend.limits.Gate).
_OUTAGE = "outage"
#: A code is `sending` from its permit on, which it may have this long before its slot.
AHEAD_MS = 1_000


@dataclass(frozen=True, slots=True)
class CodeBacklog:
    """By sender what waits, and the workers. ``paused``: the account, or the standing campaign of codes.

    ``quota`` is the account's, None for none.
    """

    lanes: Mapping[str, CodeLane]
    workers: Workers
    paused: bool
    quota: int | None = None

    def lane(self, sender: str, rate: float) -> CodeLane:
        """The lane of a sender; of one that is not on record, with this rate."""
        found = self.lanes.get(sender) or CodeLane({}, rate)
        return replace(found, paused=True) if self.paused else found

    @property
    def waiting(self) -> int:
        """The codes of all senders that are due and not POSTed yet."""
        return sum(sum(lane.waiting.values()) for lane in self.lanes.values())


def read_backlog(tx: Connection, *, account: str, standing: str) -> CodeBacklog:
    """The backlog now. ``standing`` is the campaign of single codes."""
    prefer_indexes(tx)
    now = read_clock(tx)
    waiting: dict[str, dict[str, int]] = defaultdict(dict)
    oldest: dict[str, int] = {}
    permitted: Counter[str] = Counter()
    for sender, campaign, count, with_permit, due_at in _waiting(tx, now):
        waiting[sender][campaign] = count
        permitted[sender] += with_permit
        oldest[sender] = max(oldest.get(sender, 0), now - due_at)
    posts = _posts(tx, [sender for sender, age in oldest.items() if age >= OBSERVED_MS], now)
    known, weights = senders.all_senders(tx), _weights(tx)
    lanes = {
        each.phone: CodeLane(
            waiting=waiting.get(each.phone, {}),
            rate=each.rate,
            paused=each.paused_at is not None,
            oldest_ms=oldest.get(each.phone, 0),
            posts=posts.get(each.phone, 0),
            permitted=permitted[each.phone],
            weights=weights,
        )
        for each in known
    }
    status = tx.execute(select(campaigns.c.paused_at).where(campaigns.c.id == standing)).scalar()
    paused = status is not None or pauses.account_pause(tx, account) is not None
    return CodeBacklog(lanes, _workers(tx, now), paused, account_quota(known).limit)


def people_ahead(tx: Connection) -> list[str]:
    """Whom the codes go to that are due and not POSTed yet or wait for the quota; MOST_PEOPLE of them at most."""
    prefer_indexes(tx)
    waiting = _queued(tx, select(messages.c.recipient), read_clock(tx), GATE).limit(MOST_PEOPLE)
    source, m = with_messages(tx)
    claimed = (
        select(m.recipient)
        .select_from(source)
        .where(m.kind == Kind.OTP.value, in_flight.c.attempt_id.is_(None))
        .limit(MOST_PEOPLE)
    )
    both = union_all(select(waiting.subquery()), select(claimed.subquery())).subquery()
    return list(tx.execute(select(both.c.recipient).distinct().limit(MOST_PEOPLE)).scalars())


def _weights(tx: Connection) -> dict[str, int]:
    """The weights of campaigns of codes that are not 1."""
    columns = campaigns.c.id, campaigns.c.weight
    found = tx.execute(select(*columns).where(*_active(), campaigns.c.weight > 1))
    return {str(id): weight for id, weight in found}


def _active() -> tuple[ColumnElement[bool], ...]:
    """Without campaigns whose canary holds the others: these wait for receipts, and not for their turn."""
    return (
        campaigns.c.kind == Kind.OTP.value,
        campaigns.c.held_after.is_(None),
        IS_ACTIVE,
    )


def _queued(tx: Connection, columns: Select[Any], now: int, gate: str) -> Select[Any]:
    """Of the codes that no worker has: those that are due, and those behind this gate."""
    active = [str(id) for id in tx.execute(select(campaigns.c.id).where(*_active())).scalars()]
    return columns.where(
        among(tx, messages.c.campaign_id, active),
        text(f"messages.{WAITING_SQL}"),
        ~IS_IN_FLIGHT,
        or_(messages.c.due_at <= literal(now), messages.c.gate == gate),
    )


def with_a_worker(tx: Connection, names: Sequence[str], now: int) -> Select[Any]:
    """Codes that a worker has and has not POSTed yet, as far as is known: these columns, and whether one is open."""
    source, m = with_messages(tx)
    is_open = in_flight.c.attempt_id.is_not(None)
    return (
        select(*(m[name] for name in names), is_open.label("is_open"))
        .select_from(source)
        .where(
            m.kind == Kind.OTP.value,
            waits(m),
            or_(~is_open, in_flight.c.started_at > literal(now - AHEAD_MS)),
        )
    )


def oldest_with_a_worker(tx: Connection, now: int, paused: Collection[str]) -> int | None:
    """The oldest due time of the codes that a worker has and has not POSTed, but for those of ``paused`` senders."""
    prefer_indexes(tx)
    mine = with_a_worker(tx, ("due_at", "sender"), now).limit(COUNTED).subquery()
    oldest: int | None = tx.scalar(select(func.min(mine.c.due_at)).where(mine.c.sender.not_in(paused)))
    return oldest


def _waiting(tx: Connection, now: int) -> list[tuple[str, str, int, int, int]]:
    """Sender, campaign, the codes that are due and not POSTed yet, those of them with a permit, the oldest due time."""
    columns = messages.c.sender, messages.c.campaign_id, messages.c.due_at, literal(False).label("is_open")
    due = _queued(tx, select(*columns), now, _OUTAGE).limit(COUNTED).subquery()
    claimed = with_a_worker(tx, ("sender", "campaign_id", "due_at"), now).limit(COUNTED).subquery()
    both = union_all(select(due), select(claimed)).subquery()
    permitted = func.count().filter(both.c.is_open)
    lane = both.c.sender, both.c.campaign_id
    grouped = select(*lane, func.count(), permitted, func.min(both.c.due_at)).group_by(*lane)
    return [
        (sender, str(id), count, with_permit, due_at)
        for sender, id, count, with_permit, due_at in tx.execute(grouped)
    ]


def _posts(tx: Connection, phones: list[str], now: int) -> dict[str, int]:
    """POSTs of codes of these senders within OBSERVED_MS."""
    found: dict[str, int] = {}
    for phone in phones:
        newest = posts_since(tx, phone, now - OBSERVED_MS, COUNTED)
        of_codes = (
            select(func.count())
            .select_from(newest.join(messages, messages.c.id == newest.c.message_pk))
            .where(messages.c.kind == Kind.OTP.value)
        )
        found[phone] = tx.execute(of_codes).scalar_one()
    return found


def _workers(tx: Connection, now: int) -> Workers:
    runs = workers.c.lease_until > literal(now), workers.c.ended_at.is_(None)
    alive, since = tx.execute(select(func.count(), func.min(workers.c.started_at)).where(*runs)).one()
    if alive:
        return Workers(alive, running_ms=max(0, now - since))
    last = tx.execute(select(func.max(workers.c.lease_until))).scalar()
    return Workers(0, None if last is None else max(0, now - last))
