"""Receipts: what the vendor reports later about a message. They only raise a status.

A receipt may come before the reply to its own POST, twice, out of order, or for a message that is not in the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, select

from bulksend.ledger.bulk_parameters import bound, statement, storable, table
from bulksend.ledger.clock import now_sql, read_clock
from bulksend.ledger.database import among, newest_first
from bulksend.ledger.endings import MAY_HAVE, WIPED_PAYLOAD, apply_evidence, listed, undelivered_status
from bulksend.ledger.ids import new_id
from bulksend.ledger.receipt_matching import Match, find_messages
from bulksend.ledger.schema import messages, receipts
from bulksend.messaging.states import UNSENT, WAITING, Status

STATUSES = ("sent", "delivered", "read", "failed")


@dataclass(frozen=True, slots=True)
class Receipt:
    """One status callback: the vendor's MessageId, one of STATUSES, when by the vendor's clock (ms).

    ``aliases``: other ids that it names, of which one may be the RequestId or MessageId of the message.
    """

    message_id: str
    status: str
    at: int
    code: str = ""
    why: str = ""
    aliases: tuple[str, ...] = ()


class Delay(NamedTuple):
    """From the POST of a message to its delivery, ms."""

    kind: str
    ms: int


class Taken(NamedTuple):
    """``added``: receipts that say something new. ``matched``: messages that they were applied to.

    ``delays``: one of each message that they are the first to call delivered.
    """

    added: int
    matched: int
    delays: Sequence[Delay] = ()


_STORE_COLUMNS = {
    "id": "uuid",
    "message_id": "text",
    "message_pk": "uuid",
    "status": "text",
    "at": "bigint",
    "received_at": "bigint",
    "code": "text",
    "why": "text",
    "aliases": "text",
}
# A failure with a code says more than one without, also at the same instant; of two codes always the same one stays.
_STORE = """
INSERT INTO receipts (id, message_id, message_pk, status, at, received_at, code, why, aliases)
SELECT p.id, p.message_id, p.message_pk, p.status, p.at, p.received_at, p.code, p.why, p.aliases FROM {rows} WHERE true
ON CONFLICT (message_id, status, at) DO UPDATE SET
    code = CASE WHEN excluded.code > receipts.code THEN excluded.code ELSE receipts.code END,
    why = CASE WHEN excluded.code > receipts.code THEN excluded.why ELSE receipts.why END,
    message_pk = COALESCE(receipts.message_pk, excluded.message_pk)
  WHERE excluded.code > receipts.code OR (receipts.message_pk IS NULL AND excluded.message_pk IS NOT NULL)
RETURNING CAST(message_pk AS text) AS message
"""


def take(tx: Connection, incoming: Sequence[Receipt]) -> Taken:
    """Store each receipt once and apply it to its message.

    Each statement is about all of them, thousands, and a message is written once.
    """
    if not incoming:
        return Taken(0, 0)
    each = _cleaned(incoming)
    matches = find_messages(tx, [(r.message_id, *r.aliases) for r in each])
    now = read_clock(tx)
    best: dict[tuple[str, str, int], Receipt] = {}
    pks: dict[str, str | None] = {}
    for receipt, match in zip(each, matches, strict=True):
        message_id = receipt.message_id if match is None else match.message_id
        key = message_id, receipt.status, receipt.at
        if key not in best or receipt.code > best[key].code:
            best[key] = receipt
        pks[message_id] = None if match is None else match.message
    rows = [
        (
            new_id(), message_id, pks[message_id], status, at, now, receipt.code, receipt.why,
            "\n".join(receipt.aliases) or None,
        )
        for (message_id, status, at), receipt in best.items()
    ]  # fmt: skip
    sql = _STORE.format(rows=table(tx, _STORE_COLUMNS))
    stored = tx.execute(statement(sql), bound(tx, _STORE_COLUMNS, rows)).all()
    touched = {row.message for row in stored if row.message is not None}
    newest = {m.message: m.newest_id for m in matches if m is not None and m.message in touched}
    delays = _apply(tx, newest) if newest else ()
    return Taken(len(stored), len(newest), delays)


def _cleaned(incoming: Iterable[Receipt]) -> list[Receipt]:
    return [
        Receipt(
            storable(r.message_id, 256),
            r.status,
            r.at,
            storable(r.code, 20),
            storable(r.why, 500),
            tuple(storable(alias, 256) for alias in r.aliases),
        )
        for r in incoming
    ]


_SHOWN = [receipts.c[name] for name in _STORE_COLUMNS]


def newest(tx: Connection, *, orphans: bool, limit: int, before: str | None = None) -> list[RowMapping]:
    """The newest receipts, or those whose message is not known; ``before`` is the id of the last one seen."""
    rows = newest_first(select(*_SHOWN), receipts.c.id, limit, before)
    if orphans:
        rows = rows.where(receipts.c.message_pk.is_(None))
    return list(tx.execute(rows).mappings())


_LINK_COLUMNS = {"id": "uuid", "message": "uuid", "message_id": "text"}
# One that is stored under the message's own id already says the same, and stands for it.
_LINK = """
UPDATE receipts SET message_pk = p.message,
    message_id = CASE WHEN EXISTS (SELECT 1 FROM receipts s WHERE s.message_id = p.message_id
                                   AND s.status = receipts.status AND s.at = receipts.at)
                 THEN receipts.message_id ELSE p.message_id END
FROM {rows} WHERE receipts.id = p.id AND receipts.message_pk IS NULL
"""


_ORPHAN = [receipts.c[name] for name in ("id", "message_id", "aliases", "status", "at", "code")]


@dataclass(slots=True)
class Orphans:
    """A walk through the receipts that have no message yet: those that came before the id of their message was stored.

    The newest are looked at each time, the others in turn: those of messages that another program sent stay for ever.
    """

    after: str | None = None

    def match(self, tx: Connection, limit: int = 1000) -> Taken:
        """Apply those of them whose message is known by now."""
        orphans = select(*_ORPHAN).where(receipts.c.message_pk.is_(None)).limit(limit)
        newest = tx.execute(orphans.order_by(receipts.c.id.desc())).all()
        if len(newest) < limit:
            return _link(tx, newest)
        here = orphans if self.after is None else orphans.where(receipts.c.id > self.after)
        walked = tx.execute(here.order_by(receipts.c.id)).all()
        self.after = str(walked[-1].id) if len(walked) == limit else None
        return _link(tx, {row.id: row for row in (*newest, *walked)}.values())


def _link(tx: Connection, orphans: Iterable[Any]) -> Taken:
    rows = list(orphans)
    matches = find_messages(tx, [(row.message_id, *(row.aliases or "").split("\n")) for row in rows])
    found: list[tuple[Any, Match]] = [(row, m) for row, m in zip(rows, matches, strict=True) if m is not None]
    if not found:
        return Taken(0, 0)
    sql = _LINK.format(rows=table(tx, _LINK_COLUMNS))
    tx.execute(statement(sql), bound(tx, _LINK_COLUMNS, _links(found)))
    delays = _apply(tx, {m.message: m.newest_id for _, m in found})
    return Taken(0, len({m.message for _, m in found}), delays)


def _links(found: Sequence[tuple[Any, Match]]) -> list[tuple[str, str, str]]:
    """Orphan, message, MessageId. Of two that say the same under different ids, the second keeps its own."""
    taken: set[tuple[str, str, int]] = set()
    links = []
    for row, match in sorted(
        found, key=lambda each: (each[0].message_id != each[1].message_id, each[0].code == "")
    ):
        key = match.message_id, row.status, row.at
        links.append((str(row.id), match.message, row.message_id if key in taken else match.message_id))
        taken.add(key)
    return links


#: The statuses that each one may raise: evidence outranks every earlier status. A failure concerns only
#: its own attempt, so a message that waits for the next one goes on waiting. UNKNOWN: another one may have gone out.
_BY_EVIDENCE = WAITING | UNSENT | {Status.UNKNOWN}
_RAISES: dict[Status, frozenset[Status]] = {
    Status.ACCEPTED: _BY_EVIDENCE,
    Status.UNKNOWN: frozenset({Status.ACCEPTED}),
    Status.FAILED: UNSENT - {Status.FAILED} | {Status.UNKNOWN, Status.ACCEPTED},
    Status.DELIVERED: _BY_EVIDENCE | {Status.ACCEPTED},
    Status.READ: _BY_EVIDENCE | {Status.ACCEPTED, Status.DELIVERED},
}


def _raised(target: Status) -> str:
    return f"(p.target = '{target}' AND messages.status IN ({listed(_RAISES[target])}))"


_APPLY_COLUMNS = {
    "id": "uuid",
    "target": "text",
    "delivered_at": "bigint",
    "read_at": "bigint",
    "error": "text",
}
_RAISED = f"({' OR '.join(_raised(target) for target in _RAISES)})"
#: The earliest times of its receipts, also where a later receipt has raised it higher.
_NOTED = "p.target IN ('delivered', 'read')"
_APPLY = f"""
UPDATE messages SET
    delivered_at = CASE WHEN {_NOTED} THEN p.delivered_at ELSE messages.delivered_at END,
    read_at = CASE WHEN {_NOTED} THEN COALESCE(p.read_at, messages.read_at) ELSE messages.read_at END,
    status = CASE WHEN {_RAISED} THEN p.target ELSE messages.status END,
    payload = CASE WHEN {_RAISED} THEN {WIPED_PAYLOAD} ELSE messages.payload END,
    gate = CASE WHEN {_RAISED} THEN NULL ELSE messages.gate END,
    gate_until = CASE WHEN {_RAISED} THEN NULL ELSE messages.gate_until END,
    accepted_at = CASE WHEN {_RAISED} THEN COALESCE(messages.accepted_at, {{now}}) ELSE messages.accepted_at END,
    ended_at = CASE WHEN {_RAISED} THEN COALESCE(messages.ended_at, {{now}}) ELSE messages.ended_at END,
    error = CASE WHEN {_RAISED} OR (p.target = 'failed' AND messages.status = 'failed') THEN p.error
                 ELSE messages.error END
FROM {{rows}} WHERE messages.id = p.id
  AND ({_RAISED} OR ({_NOTED} AND (messages.delivered_at IS DISTINCT FROM p.delivered_at
       OR (p.read_at IS NOT NULL AND messages.read_at IS DISTINCT FROM p.read_at)))
       OR (p.target = 'failed' AND messages.status = 'failed' AND messages.error IS DISTINCT FROM p.error))
"""  # noqa: S608 - our own words


#: A row of _APPLY_COLUMNS.
_Said = tuple[str, str | None, int | None, int | None, str | None]


def _apply(tx: Connection, newest: Mapping[str, str | None]) -> list[Delay]:
    """Raise messages, id -> newest MessageId, to the status that all their receipts give them.

    Returns the delays of those that were not delivered before.
    """
    theirs = select(*_SHOWN).where(among(tx, receipts.c.message_pk, list(newest)))
    rows = tx.execute(theirs.order_by(receipts.c.at.desc())).all()
    told: dict[str, list[Any]] = {id: [] for id in newest}
    for row in rows:
        told[str(row.message_pk)].append(row)
    sql = _APPLY.format(rows=table(tx, _APPLY_COLUMNS), now=now_sql(tx))
    says = [(id, *_together(told[id], message_id)) for id, message_id in sorted(newest.items())]
    failed = [id for id, target, *_ in says if target in (Status.FAILED.value, None)]
    if failed:
        # In one update, so that no event tells of a failure that another attempt contradicts.
        ends = undelivered_status(tx, failed)
        says = [_unless_another(each, ends.get(each[0], Status.FAILED)) for each in says]
    delays = _delays(tx, {id: at for id, _, at, *_ in says if at is not None})
    tx.execute(statement(sql), bound(tx, _APPLY_COLUMNS, says))
    if failed:
        apply_evidence(tx, failed)
    return delays


def _unless_another(said: _Said, status: Status) -> _Said:
    """What receipts say of a message, where it fails; ``status``: what all its attempts say then."""
    id, target, delivered_at, read_at, error = said
    if target != Status.FAILED or status is Status.FAILED:
        return said
    if status is Status.UNKNOWN:
        return id, status.value, delivered_at, read_at, f"{MAY_HAVE}{error}"[:500]
    return id, None, delivered_at, read_at, None


def _delays(tx: Connection, delivered_at: Mapping[str, int]) -> list[Delay]:
    """Of those of these messages that no receipt called delivered before; none is negative."""
    if not delivered_at:
        return []
    rows = tx.execute(
        select(messages.c.id, messages.c.kind, messages.c.sent_at).where(
            among(tx, messages.c.id, list(delivered_at)),
            messages.c.delivered_at.is_(None),
            messages.c.sent_at.is_not(None),
        )
    )
    return [Delay(row.kind, max(0, delivered_at[str(row.id)] - row.sent_at)) for row in rows]


def _together(
    rows: Sequence[Any], message_id: str | None
) -> tuple[str | None, int | None, int | None, str | None]:
    """Status, earliest times of delivery and reading, and error by receipts, the latest first.

    Read outranks delivered, which outranks failed, which outranks accepted. No status where they only say that earlier
    attempts failed: those count among all attempts, see ``apply_evidence``.
    """
    first = {row.status: row.at for row in rows}
    delivered_at, read_at = first.get("delivered", first.get("read")), first.get("read")
    # A failure of an earlier attempt does not concern the newest one; a reading does.
    failures = [row for row in rows if row.status == "failed" and row.message_id == message_id]
    # One with a code says more than a later one without.
    failure = max(failures, key=lambda row: (row.code != "", row.at, row.code), default=None)
    if read_at is not None:
        return Status.READ.value, delivered_at, read_at, None
    if delivered_at is not None:
        return Status.DELIVERED.value, delivered_at, read_at, None
    if failure is not None:
        return Status.FAILED.value, None, None, f"receipt: {failure.code} {failure.why}".strip()[:500]
    failed = {row.message_id for row in rows if row.status == "failed"}
    was_taken = any(row.message_id not in failed for row in rows)
    return (Status.ACCEPTED.value if was_taken else None), None, None, None
