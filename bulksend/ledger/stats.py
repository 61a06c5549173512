"""Statistics by hour, kind, sender, country and code, kept as a roll-up, so that reading them reads no messages.

``roll_up`` adds what is new, each thing once: its marks move in the transaction of its sums. Messages come from the
events in the order of their numbers, each in the hour in which it entered a status. Attempts come in the order of their
starts, once they have ended; the oldest open one holds back the later ones, until its worker or a rescue settles it.
The same sums stand by day, and by hour without country and code, so that a page of months reads some thousand rows.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Row, Select, Subquery, Table, bindparam, func, select, union_all

from bulksend.ledger import events as events_room
from bulksend.ledger import in_flight, installation
from bulksend.ledger.bulk_parameters import statement
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import among, dialect_insert, prefer_indexes
from bulksend.ledger.schema import (
    attempts,
    events,
    messages,
    stats_daily,
    stats_hourly,
    stats_hourly_totals,
)
from bulksend.messaging.recipient import country_of
from bulksend.messaging.states import Status

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
DIMENSIONS = ("hour", "kind", "sender", "country", "code")
#: Messages that entered these statuses.
ENTERED = (
    *(Status.ACCEPTED, Status.DELIVERED, Status.READ, Status.FAILED, Status.UNKNOWN),
    *(Status.EXPIRED, Status.SUPPRESSED, Status.CANCELLED, Status.SUPERSEDED),
)
#: Counts and sums; the mean latency of a POST is ``latency_ms`` by ``answered``, the mean delay of a delivery
#: ``delivery_ms`` by ``delivery_timed``.
MEASURES = (
    *(status.value for status in ENTERED),
    *("attempts", "answered", "latency_ms", "delivery_timed", "delivery_ms"),
)
#: An attempt that started longer ago is committed: statements and idle transactions end sooner.
LAG_MS = 120_000
#: How many events and attempts one run adds. Workers wait for a run on SQLite, which has one writer.
AT_ONCE = {"postgresql": 1_000, "sqlite": 500}
WINDOW_MS = 60_000

_EVENTS_MARK, _ATTEMPTS_MARK = "stats_events", "stats_attempts"
#: Hour, kind, sender, country, code.
Bucket = tuple[int, str, str, str, str]


@dataclass(frozen=True, slots=True)
class Rolled:
    """How many events and attempts a run has added; whether there are ``more`` to add now."""

    events: int
    attempts: int
    more: bool = False


class _Sums:
    """What a run adds, by bucket."""

    def __init__(self) -> None:
        self.buckets: dict[Bucket, Counter[str]] = defaultdict(Counter)

    def of(self, at: int, row: Row[Any], code: str) -> Counter[str]:
        country = country_of(row.recipient) or ""
        return self.buckets[at - at % HOUR_MS, row.kind, row.sender, country, code]

    def store(self, tx: Connection) -> None:
        rows = [
            dict(zip(DIMENSIONS, bucket, strict=True)) | {name: counts[name] for name in MEASURES}
            for bucket, counts in sorted(self.buckets.items())
        ]
        add(tx, rows)


def add(tx: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add sums, each with DIMENSIONS and MEASURES, to their hours and to the days and totals that have these."""
    for table in (stats_hourly, stats_daily, stats_hourly_totals):
        _add_to(tx, table, rows)


def _add_to(tx: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    keys = [column.name for column in table.primary_key]
    sums: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    for row in rows:
        place = {**row, "day": row["hour"] - row["hour"] % DAY_MS}
        sums[tuple(place[key] for key in keys)].update({name: row[name] for name in MEASURES})
    if not sums:
        return
    adding = dialect_insert(tx, table)
    added = {name: table.c[name] + adding.excluded[name] for name in MEASURES}
    tx.execute(
        adding.on_conflict_do_update(index_elements=keys, set_=added),
        [
            dict(zip(keys, place, strict=True)) | {name: counts[name] for name in MEASURES}
            for place, counts in sorted(sums.items())
        ],
    )


def roll_up(tx: Connection, *, lag_ms: int = LAG_MS) -> Rolled:
    """Add a bounded part of what is new; ``event_numbers.number_committed`` gives events their numbers before."""
    prefer_indexes(tx)
    sums = _Sums()
    entered, more_events = _add_events(tx, sums)
    closed, more_attempts = _add_attempts(tx, sums, lag_ms)
    sums.store(tx)
    return Rolled(entered, closed, more_events or more_attempts)


# -- messages, from events ---------------------------------------------------------------------------

_ITEM = {
    "sqlite": ("id", "JOIN messages m ON m.id = e.items"),
    "postgresql": ("seq", "CROSS JOIN LATERAL unnest(e.items) AS i(id) JOIN messages m ON m.id = i.id"),
}
_ENTERINGS = """
SELECT e.type, e.at, e.data, m.kind, m.sender, m.recipient, m.accepted_at, m.delivered_at, m.ret_code, CASE
    WHEN e.type = 'message.failed' OR e.data IS NOT NULL THEN COALESCE(
      (SELECT max(r.code) FROM receipts r WHERE r.message_pk = m.id AND r.status = 'failed' AND r.code <> ''),
      (SELECT CAST(a.whatsapp_code AS text) FROM attempts a
        WHERE a.message_pk = m.id AND a.id = m.attempt_id)) END AS failed_by
FROM events e {join}
WHERE e.{number} > :after AND e.{number} <= :upto AND e.type LIKE 'message.%' AND e.type <> :undelivered
"""


def _add_events(tx: Connection, sums: _Sums) -> tuple[int, bool]:
    """How many messages entered a status; whether there are further ones."""
    after = _mark(tx, _EVENTS_MARK)
    upto, more = _end_of_events(tx, after)
    if upto == after:
        return 0, False
    number, join = _ITEM[tx.dialect.name]
    sql = _ENTERINGS.format(number=number, join=join)
    found = tx.execute(statement(sql), {"after": after, "upto": upto, "undelivered": events_room.UNDELIVERED})
    added = 0
    for row in found:
        _add_entering(sums, row)
        added += 1
    _set_mark(tx, _EVENTS_MARK, upto)
    return added, more


def _end_of_events(tx: Connection, after: int) -> tuple[int, bool]:
    """The number up to which a run goes: some hundred items, and at least one row; whether there are further rows."""
    number = events.c.id if tx.dialect.name == "sqlite" else events.c.seq
    rows = select(number, events.c["count"]).where(number > after).order_by(number).limit(_most(tx))
    upto, items, read = after, 0, 0
    for last, count in tx.execute(rows):
        items += count
        read += 1
        if upto > after and items > _most(tx):
            return upto, True
        upto = last
    return upto, read == _most(tx)


def _add_entering(sums: _Sums, row: Row[Any]) -> None:
    status = json.loads(row.data)["status"] if row.data else row.type.removeprefix("message.")
    if status not in ENTERED:
        return
    code = ""
    if status == Status.FAILED:
        code = row.failed_by or (str(row.ret_code) if row.ret_code else "")
    counts = sums.of(row.at, row, code)
    counts[status] += 1
    if status == Status.DELIVERED and row.accepted_at is not None:
        counts["delivery_timed"] += 1
        # By the receipt's own time: receipts may be read later.
        counts["delivery_ms"] += max(0, (row.delivered_at or row.at) - row.accepted_at)


# -- attempts ----------------------------------------------------------------------------------------


def _add_attempts(tx: Connection, sums: _Sums, lag_ms: int) -> tuple[int, bool]:
    """How many attempts were added; whether there are further ones."""
    begin, settled = _mark(tx, _ATTEMPTS_MARK), read_clock(tx) - lag_ms
    # Before the attempts are read: what is settled meanwhile is among them.
    oldest_open = in_flight.oldest_open(tx)
    if oldest_open is not None:
        settled = min(settled, oldest_open)
    phones = in_flight.senders_of_attempts(tx)
    if settled <= begin:
        return 0, False
    end = _end_of_attempts(tx, phones, begin, min(begin + WINDOW_MS, settled))
    rows = _attempts(tx, phones, begin, end)
    if not rows:
        first = _first_after(tx, phones, end)
        end = settled if first is None else min(first, settled)
    for row in rows:
        _add_attempt(sums, row)
    _set_mark(tx, _ATTEMPTS_MARK, end)
    return len(rows), begin < end < settled


def _end_of_attempts(tx: Connection, phones: Sequence[str], begin: int, end: int) -> int:
    """``end``, or earlier: some hundred attempts started before it, and those of one instant at least.

    A query for each sender, so that each reads its part of the index in its order: a window of all senders is sorted.
    """
    started = attempts.c.started_at
    first = (
        select(started)
        .where(attempts.c.sender == bindparam("phone"), started >= begin, started < end)
        .order_by(started)
        .limit(_most(tx) + 1)
    )
    starts = sorted(at for phone in phones for at in tx.execute(first, {"phone": phone}).scalars())
    return end if len(starts) <= _most(tx) else max(starts[_most(tx)], starts[0] + 1)


def _attempts(tx: Connection, phones: Sequence[str], begin: int, end: int) -> Sequence[Row[Any]]:
    a, m = attempts.c, messages.c
    return tx.execute(
        select(a.started_at, a.outcome, a.ret_code, a.whatsapp_code, a.latency_ms)
        .add_columns(m.kind, a.sender, m.recipient)
        .join_from(attempts, messages, a.message_pk == m.id)
        .where(among(tx, a.sender, phones), a.started_at >= begin, a.started_at < end)
        .order_by(a.started_at)
    ).all()


def _first_after(tx: Connection, phones: Sequence[str], at: int) -> int | None:
    """When the next attempt started. A query for each sender, so that each is one look into the index."""
    started = attempts.c.started_at
    first = select(func.min(started)).where(attempts.c.sender == bindparam("phone"), started >= at)
    found = (tx.execute(first, {"phone": phone}).scalar() for phone in phones)
    return min((one for one in found if one is not None), default=None)


def _add_attempt(sums: _Sums, row: Row[Any]) -> None:
    counts = sums.of(row.started_at, row, _reason(row))
    counts["attempts"] += 1
    if row.latency_ms is not None:
        counts["answered"] += 1
        counts["latency_ms"] += round(row.latency_ms)


def _reason(row: Row[Any]) -> str:
    """The code of an attempt that was not accepted, or its outcome where the vendor gave none."""
    if row.outcome == "accepted":
        return ""
    return str(row.whatsapp_code or row.ret_code or row.outcome)


def _most(tx: Connection) -> int:
    return AT_ONCE[tx.dialect.name]


# -- marks -------------------------------------------------------------------------------------------


def _mark(tx: Connection, name: str) -> int:
    """How far a source is counted. Locked: two relays must not count the same."""
    return int(installation.locked(tx, name, b"0"))


def _set_mark(tx: Connection, name: str, value: int) -> None:
    installation.put(tx, name, str(value).encode())


# -- reading -----------------------------------------------------------------------------------------


def read(
    tx: Connection,
    by: Sequence[str],
    since: int,
    until: int,
    limit: int,
    *,
    only: Mapping[str, str] = MappingProxyType({}),
    measures: Sequence[str] = MEASURES,
) -> Iterator[Mapping[str, Any]]:
    """The sums of the hours that begin at or after ``since`` and before ``until``, by some of DIMENSIONS.

    ``measures``: these sums. ``only``: of rows with these values of dimensions.
    """
    of = _source({*by, *only}, measures, since, until)
    dimensions = [of.c[name] for name in by]
    query = (
        select(*dimensions, *(func.sum(of.c[name]).label(name) for name in measures))
        .where(*(of.c[name] == value for name, value in only.items()))
        .group_by(*dimensions)
        .order_by(*dimensions)
        .limit(limit)
    )
    # Plain tuples: the mapping of a row costs more than reading it, and three months have thousands.
    for row in tx.execute(query).all():
        sums = (int(value or 0) for value in row[len(by) :])
        yield {**dict(zip(by, row, strict=False)), **dict(zip(measures, sums, strict=True))}


def _source(wanted: Set[str], measures: Sequence[str], since: int, until: int) -> Subquery:
    """The fewest rows that have the sums of that time by the dimensions that are wanted."""
    if not wanted & {"country", "code"}:
        return _between(stats_hourly_totals, wanted, measures, since, until).subquery()
    first_day, last_day = since + -since % DAY_MS, until - until % DAY_MS
    if "hour" in wanted or first_day >= last_day:
        return _between(stats_hourly, wanted, measures, since, until).subquery()
    return union_all(
        _between(stats_hourly, wanted, measures, since, first_day),
        _between(stats_daily, wanted, measures, first_day, last_day),
        _between(stats_hourly, wanted, measures, last_day, until),
    ).subquery()


def _between(table: Table, wanted: Set[str], measures: Sequence[str], since: int, until: int) -> Select[Any]:
    at = table.primary_key.columns[0]
    columns = (table.c[name] for name in (*(name for name in DIMENSIONS if name in wanted), *measures))
    return select(*columns).where(at >= since, at < until)


def counted_until(tx: Connection) -> int:
    """Up to which start (ms) attempts are counted; 0 before the first run."""
    return int(installation.get(tx, _ATTEMPTS_MARK) or 0)
