"""Deletes by age, in small steps: contents before rows, rows before the totals of a campaign.

One walk over the messages by their ids, which sort by time, does the first two; ``messaging/retention.py`` decides
about each. What is deleted goes on in the campaign's counts. A step is one transaction. It looks at so few rows, and
deletes so few, that it ends within a fraction of 200 ms; the next one does more or less by how long this one took.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Row,
    Select,
    Table,
    Text,
    cast,
    delete,
    exists,
    select,
    tuple_,
    update,
)

from bulksend.ledger import counters, legal_holds
from bulksend.ledger.campaigns import IS_DIRECT
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import among, prefer_indexes, rows_changed
from bulksend.ledger.ids import lowest_at
from bulksend.ledger.schema import attempts, campaigns, inbound_messages, messages, metadata
from bulksend.messaging.retention import DAY_MS, Due, Retention
from bulksend.messaging.states import CampaignStatus, Kind, Status

#: A step looks at this many rows, deletes as many of them at most, and aims to take about this long.
FEWEST, MOST, FIRST = 50, 2_000, 200
AIM_S = 0.05
#: A run of the maintenance works for at most this long; a walk that has reached its end begins again after a while.
RUN_S, REST_S = 0.2, 600.0
#: What its transactions are called at PostgreSQL.
APPLICATION = "bulksend deletion"
_ENDED = (CampaignStatus.FINISHED.value, CampaignStatus.CANCELLED.value)

#: Runs a step in a transaction of its own.
InTransaction = Callable[[Callable[[Connection], dict[str, int]]], dict[str, int]]


class _Walk:
    """Where a walk is. ``after`` is the id of the last row that it looked at."""

    def __init__(self, step: Callable[[Connection, _Walk], dict[str, int]]) -> None:
        self.step = step
        self.after = lowest_at(0)
        self.size = FIRST
        self.most = FEWEST
        """Rows of messages that may be deleted at once. Rows that stay are looked at quickly and prove nothing here."""
        self.rests_until = float("-inf")

    def measured(self, seconds: float, deleted: int) -> None:
        """Look at more rows, or fewer, the next time; delete more only if as many as may be were deleted quickly."""
        if seconds > 2 * AIM_S:
            self.size, self.most = max(FEWEST, self.size // 2), max(FEWEST, self.most // 2)
        elif seconds < AIM_S / 2:
            self.size = min(MOST, self.size * 2)
            if deleted >= self.most:
                self.most = min(MOST, self.most * 2)

    def went_to(self, last: str | None, now: float) -> None:
        """Go on after that row; None: there is none left, begin again after a rest."""
        if last is None:
            self.after, self.rests_until = lowest_at(0), now + REST_S
        else:
            self.after, self.rests_until = last, float("-inf")

    def first_of(self, due: Sequence[Row[Any]]) -> Sequence[Row[Any]]:
        """As many of the rows as may be deleted at once; the next step begins behind them."""
        if len(due) <= self.most:
            return due
        self.after, self.rests_until = str(due[self.most - 1].id), float("-inf")
        return due[: self.most]


class Deletion:
    """Deletes what ``retention`` says. ``clock`` is steady, in seconds; ``now`` reads the ledger's, in ms."""

    def __init__(
        self,
        retention: Retention,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[Connection], int] = read_clock,
    ) -> None:
        self._retention = retention
        self._clock = clock
        self._now = now
        self._walks = [_Walk(step) for step in self._steps()]

    def _steps(self) -> Iterator[Callable[[Connection, _Walk], dict[str, int]]]:
        if self._retention.youngest_ms is not None:
            yield self._messages
        if self._retention.inbound is not None:
            yield self._inbound
        if self._retention.totals:
            yield self._totals

    def run(self, in_transaction: InTransaction) -> dict[str, int]:
        """Do steps for at most RUN_S; returns what was deleted."""
        done: Counter[str] = Counter()
        until = self._clock() + RUN_S
        for walk in self._walks:
            while walk.rests_until <= (now := self._clock()) < until:
                found = in_transaction(lambda tx, walk=walk: self._step(tx, walk))  # type: ignore[misc]
                done.update(found)
                walk.measured(self._clock() - now, sum(found.values()))
        return dict(done)

    # -- contents and rows of messages ---------------------------------------------------------------------------

    def _messages(self, tx: Connection, walk: _Walk) -> dict[str, int]:
        now = self._now(tx)
        youngest = self._retention.youngest_ms or 0
        m = messages.c
        columns = (
            *(cast(m.id, Text).label("id"), cast(m.campaign_id, Text).label("campaign_id"), m.kind, m.status),
            *(m.ended_at, m.recipient, m.payload.is_not(None).label("has_content")),
        )
        rows = self._page(tx, select(*columns).where(m.id < lowest_at(now - youngest)), m.id, walk)
        kept = self._kept(tx, rows)

        def what(row: Row[Any]) -> Due:
            of = self._retention.of_message(Kind(row.kind), Status(row.status), row.ended_at, now)
            return of if of is Due.ROW or row.has_content else Due.NOTHING

        due = walk.first_of([row for row in rows if not kept(row) and what(row) is not Due.NOTHING])
        contents, gone = ([row.id for row in due if what(row) is each] for each in (Due.CONTENT, Due.ROW))
        return {"contents": _wipe(tx, contents), "messages": _delete_messages(tx, gone)}

    def _step(self, tx: Connection, walk: _Walk) -> dict[str, int]:
        if tx.dialect.name == "postgresql":
            # For those who look at pg_stat_activity.
            tx.exec_driver_sql(f"SET LOCAL application_name = '{APPLICATION}'")
        return walk.step(tx, walk)

    def _page(self, tx: Connection, wanted: Select[Any], key: Column[str], walk: _Walk) -> Sequence[Row[Any]]:
        prefer_indexes(tx)
        rows = tx.execute(wanted.where(key > walk.after).order_by(key).limit(walk.size)).all()
        walk.went_to(str(rows[-1].id) if len(rows) == walk.size else None, self._clock())
        return rows

    def _kept(self, tx: Connection, rows: Sequence[Row[Any]]) -> Callable[[Row[Any]], bool]:
        """Whether a row is under legal hold, or its campaign has not ended."""
        held = legal_holds.held(tx)
        ids = {str(row.campaign_id) for row in rows if row.campaign_id is not None}
        has_ended = campaigns.c.status.in_(_ENDED) | IS_DIRECT
        found = tx.execute(select(campaigns.c.id).where(among(tx, campaigns.c.id, sorted(ids)), has_ended))
        ended = {str(id) for id in found.scalars()} - held.campaigns

        def kept(row: Row[Any]) -> bool:
            return str(row.campaign_id) not in ended or row.recipient in held.numbers

        return kept

    # -- what people wrote ---------------------------------------------------------------------------------------

    def _inbound(self, tx: Connection, walk: _Walk) -> dict[str, int]:
        before = self._now(tx) - int((self._retention.inbound or 0) * DAY_MS)
        i = inbound_messages.c
        columns = cast(i.id, Text).label("id"), cast(i.campaign_id, Text).label("campaign_id"), i.recipient
        rows = self._page(tx, select(*columns).where(i.id < lowest_at(before)), i.id, walk)
        held = legal_holds.held(tx)
        free = [r for r in rows if r.campaign_id not in held.campaigns and r.recipient not in held.numbers]
        ids = [row.id for row in walk.first_of(free)]
        gone = among(tx, i.id, ids)
        return {"inbound": rows_changed(tx, delete(inbound_messages).where(gone)) if ids else 0}

    # -- totals --------------------------------------------------------------------------------------------------

    def _totals(self, tx: Connection, walk: _Walk) -> dict[str, int]:
        """Delete a part of what the next campaign left that has no message any more, the campaign itself last."""
        now = self._now(tx)
        held = legal_holds.held(tx)
        for kind in Kind:
            before = self._retention.totals_end_before(kind, now)
            if before is None:
                continue
            has_rows = exists().where(messages.c.campaign_id == campaigns.c.id)
            due = select(campaigns.c.id).where(
                *(campaigns.c.kind == kind.value, campaigns.c.status.in_(_ENDED), ~has_rows),
                *(campaigns.c.ended_at < before, ~IS_DIRECT),
                campaigns.c.id.not_in(sorted(held.campaigns)),
            )
            id = tx.execute(due.order_by(campaigns.c.id).limit(1)).scalar()
            if id is not None:
                return {"campaigns": _delete_campaign(tx, str(id), walk.size)}
        walk.went_to(None, self._clock())
        return {}


def _wipe(tx: Connection, ids: Sequence[str]) -> int:
    if not ids:
        return 0
    own = among(tx, messages.c.id, ids), messages.c.ended_at.is_not(None)
    return rows_changed(tx, update(messages).where(*own).values(payload=None))


def _delete_messages(tx: Connection, ids: Sequence[str]) -> int:
    """Delete rows with all that belongs to them; their counts stay with the campaign."""
    if not ids:
        return 0
    # Locked, and looked at again: late evidence may have moved one since it was read.
    still = select(cast(messages.c.id, Text)).where(
        *(among(tx, messages.c.id, ids), messages.c.ended_at.is_not(None)),
        messages.c.status != Status.UNKNOWN.value,
    )
    locked = list(tx.execute(still.order_by(messages.c.id).with_for_update()).scalars())
    if not locked:
        return 0
    for table, column in _belonging_to(messages):
        tx.execute(delete(table).where(among(tx, column, locked)))
    gone = tx.execute(
        delete(messages)
        .where(among(tx, messages.c.id, locked))
        .returning(messages.c.campaign_id, messages.c.status, messages.c.attempts)
    ).all()
    counters.keep_deleted(tx, ((str(campaign), status, posts) for campaign, status, posts in gone))
    return len(gone)


def _delete_campaign(tx: Connection, id: str, most: int) -> int:
    """Delete at most ``most`` rows of each table that belong to a campaign, and the campaign once none is left."""
    left = False
    for table, column in _belonging_to(campaigns):
        keys = list(table.primary_key.columns)
        some = select(*keys).where(column == id).limit(most)
        left |= rows_changed(tx, delete(table).where(tuple_(*keys).in_(some))) == most
    return 0 if left else rows_changed(tx, delete(campaigns).where(campaigns.c.id == id))


def _belonging_to(parent: Table) -> list[tuple[Table, Column[str]]]:
    """The tables, each with its column, whose rows point to rows of ``parent``."""
    pointing = [
        (table, key.parent)
        for table in metadata.sorted_tables
        for key in table.foreign_keys
        if key.column.table is parent
    ]
    return [*pointing, (attempts, attempts.c.message_pk)] if parent is messages else pointing
