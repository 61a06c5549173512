"""Superseding: of two one-time codes for the same person and purpose that wait, only the newer one is sent.

The write-ahead of a code looks for newer ones. Once one of them has gone out, or may have, the older code ends as
superseded. While one of them can still be sent, the older one is held; it is sent when all newer ones ended unsent.
So intake marks nothing and nothing is taken back: a code that is stored when the write-ahead of an older one begins
holds it, whatever the processes are. The relay walks through the codes that wait, as a gate may keep one from its
write-ahead for long.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, TextClause, case, select, text, update

from bulksend.ledger.bulk_parameters import bound, statement, table
from bulksend.ledger.clock import now_sql, read_clock
from bulksend.ledger.database import among, prefer_indexes
from bulksend.ledger.endings import end_unsent, listed
from bulksend.ledger.ids import NEAR_MS, instant_of, lowest_at
from bulksend.ledger.in_flight import IS_IN_FLIGHT, OPEN
from bulksend.ledger.schema import (
    HELD_CODES_SQL,
    SCHEDULED_CODES_SQL,
    WAITING_CODES_SQL,
    WAITING_SQL,
    messages,
)
from bulksend.messaging.number_forms import number_forms
from bulksend.messaging.states import SENT, Status

#: The gate of a code that a newer one holds.
GATE = "newer_code"
#: The gate of a code whose person got too many messages. Each code that asks there makes all others wait for longer.
PAIR_RATE = "pair_rate"
#: A held code is looked at again after this long, also without a relay.
HELD_MS = 60_000
#: How many codes a walk looks at in a turn. The relay gives each walk a turn a second.
AT_ONCE = 2_000

#: Codes, all forms of their recipients' numbers, and an id below which no code that was stored later has its own.
CODES = {"id": "uuid", "form": "text", "low": "uuid"}
#: SQL: since when a code {code} waits for its POST, by the ledger's clock. Of two codes the newer one is that of the
#: later time, and not that of the greater id: hosts' clocks differ.
SINCE = "COALESCE({code}.first_due_at, {code}.queued_at)"
_O_SINCE, _N_SINCE = SINCE.format(code="o"), SINCE.format(code="n")
_NEWER_THAN = f"({_N_SINCE} > {_O_SINCE} OR ({_N_SINCE} = {_O_SINCE} AND n.id > o.id))"
#: The marks, the stronger one the greater.
_WAITS, _SENT = "a", "s"
#: A newer code that has gone out, or may have.
_GONE = f"n.status IN ({listed(SENT | {Status.UNKNOWN})})"
#: A newer code that can still be sent. One that is scheduled for later holds nothing before its time.
_LIVE = f"""(n.status IN ('queued', 'retry') AND ({OPEN.format(message="n")}
    OR ({_N_SINCE} <= {{now}} AND (n.expires_at IS NULL OR n.expires_at > {{now}}))))"""
#: The mark of the newest code and its id, of those that {which} names. Subqueries with their own maximum, so that each
#: is one lookup in an index, with any statistics.
_NEWEST = f"""
    SELECT p.id, (SELECT max(CASE WHEN {_GONE} THEN '{_SENT}' || CAST(n.id AS text)
                                  WHEN {_LIVE} THEN '{_WAITS}' || CAST(n.id AS text) END)
        FROM messages o, messages n
        WHERE o.id = p.id AND n.recipient = p.form AND {{which}} AND n.kind = 'otp' AND {_NEWER_THAN}
          AND COALESCE(n.purpose, n.sender) = COALESCE(o.purpose, o.sender)
          AND (o.expires_at IS NULL OR o.expires_at > {{now}})) AS newer
    FROM {{codes}}
"""  # noqa: S608 - our own words
_STORED_LATER, _SCHEDULED = "n.id >= p.low", f"n.{SCHEDULED_CODES_SQL}"
#: Rows for each of ``{codes}`` that a newer code concerns: what was stored later, and what was scheduled before.
NEWER = f"""
SELECT CAST(z.id AS text) AS id, z.newer FROM ({_NEWEST.replace("{which}", _STORED_LATER)}
    UNION ALL {_NEWEST.replace("{which}", _SCHEDULED)}) AS z
WHERE z.newer IS NOT NULL
"""  # noqa: S608 - our own words


class Newer(NamedTuple):
    """What a newer code means for an older one: the id of one that went out, else of one that may still go out."""

    sent: str | None
    waiting: str | None


def code_rows(codes: Iterable[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """The rows of ``CODES`` for codes by id and recipient."""
    return [
        (id, form, lowest_at(instant_of(id) - 2 * NEAR_MS))
        for id, recipient in codes
        for form in number_forms(recipient)
    ]


#: The error of a code that ended as superseded.
REASON = "a newer code for the same person and purpose was sent in its place"


def newer_codes(found: Iterable[tuple[str, str]]) -> dict[str, Newer]:
    """The rows of ``NEWER`` by code. One that went out under any form of the number decides."""
    strongest: dict[str, str] = {}
    for id, newer in found:
        strongest[id] = max(newer, strongest.get(id, ""))
    return {
        id: Newer(newer[1:], None) if newer[0] == _SENT else Newer(None, newer[1:])
        for id, newer in strongest.items()
    }


_MARK_COLUMNS = {"id": "uuid", "newer": "uuid"}
_MARK = """
UPDATE messages SET superseded_by = p.newer FROM {rows} WHERE messages.id = p.id AND messages.status = 'superseded'
"""


def mark_superseded(tx: Connection, replaced: Sequence[tuple[str, str]]) -> None:
    """Note the newer code of each code that ended as superseded: (code, newer code)."""
    if replaced:
        sql = _MARK.format(rows=table(tx, _MARK_COLUMNS))
        tx.execute(statement(sql), bound(tx, _MARK_COLUMNS, replaced))


#: Which codes a walk looks at: those that a newer one holds, so that they are soon free; and all that wait.
HELD, WAITING = text(f"{HELD_CODES_SQL} AND {WAITING_SQL}"), text(WAITING_CODES_SQL)


class Walk:
    """A walk through codes, ``which``: ends those that a newer one replaced.

    One that a newer code holds is freed when its newer ones ended unsent. One behind its pair rate is held by a newer
    one that waits, too: the newer one is the next that asks. Other gates stay as they are.
    """

    def __init__(self, which: TextClause) -> None:
        self._which = which
        self._after: str | None = None

    def settle(self, tx: Connection, limit: int = AT_ONCE) -> dict[str, int]:
        """Look at the next of them; the numbers of ended, held and freed ones."""
        prefer_indexes(tx)
        columns = messages.c.id, messages.c.recipient, messages.c.gate
        wanted = select(*columns).where(self._which, ~IS_IN_FLIGHT).order_by(messages.c.id).limit(limit)
        if self._after is not None:
            wanted = wanted.where(messages.c.id > self._after)
        found = [(str(id), recipient, gate) for id, recipient, gate in tx.execute(wanted)]
        self._after = found[-1][0] if len(found) == limit else None
        if not found:
            return {}
        newer = _read_newer(tx, ((id, recipient) for id, recipient, _ in found))
        replaced = [(id, of.sent) for id, of in newer.items() if of.sent is not None]
        ended = end_unsent(tx, [id for id, _ in replaced], Status.SUPERSEDED, REASON)
        mark_superseded(tx, replaced)
        hold = [id for id, _, gate in found if gate == PAIR_RATE and id in newer]
        free = [id for id, _, gate in found if gate == GATE and id not in newer]
        return {"superseded": ended, "held": _hold(tx, hold), "freed": _free(tx, free)}


def _read_newer(tx: Connection, codes: Iterable[tuple[str, str]]) -> dict[str, Newer]:
    sql = NEWER.format(codes=table(tx, CODES), now=now_sql(tx))
    found = tx.execute(statement(sql), bound(tx, CODES, code_rows(codes)))
    return newer_codes((row.id, row.newer) for row in found)


def _hold(tx: Connection, ids: Sequence[str]) -> int:
    if not ids:
        return 0
    again = read_clock(tx) + HELD_MS
    until = case((messages.c.expires_at < again, messages.c.expires_at), else_=again)
    held = update(messages).where(among(tx, messages.c.id, ids), WAITING, messages.c.gate == PAIR_RATE)
    return tx.execute(held.values(due_at=until, gate=GATE, gate_until=until)).rowcount


def _free(tx: Connection, ids: Sequence[str]) -> int:
    """Make them due now: the relay publishes them."""
    if not ids:
        return 0
    freed = update(messages).where(among(tx, messages.c.id, ids), HELD)
    return tx.execute(freed.values(due_at=read_clock(tx), gate=None, gate_until=None)).rowcount
