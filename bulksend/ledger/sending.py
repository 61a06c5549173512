"""The hot path: claim, write ahead, settle, give back. Hundreds of messages a transaction.

Every move names the lease that must still hold the message, so a duplicate job, a second worker and a zombie
all find nothing to move. Each function may be repeated after a COMMIT whose answer was lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, update
from sqlalchemy.exc import DataError

from bulksend.ledger import suppressions
from bulksend.ledger.bulk_parameters import IDS, bound, named, now_sql, statement, storable, table
from bulksend.ledger.campaigns import reopen
from bulksend.ledger.database import rows_changed
from bulksend.ledger.endings import MAYBE_SENT, NOT_SENT_AGAIN, WORKER_LOST, heed_evidence
from bulksend.ledger.schema import HELD_SQL, messages
from bulksend.messaging.outcome import Accepted, Evidence, NotSent, Outcome, Refused, Throttled, Unknown
from bulksend.messaging.states import Kind, Status


class Claimed(NamedTuple):
    """A message in a worker's hands, with all that its sending needs. ``payload`` is as stored, maybe encrypted."""

    id: str
    campaign_id: str
    kind: Kind
    sender: str
    recipient: str
    type: str
    payload: bytes | None
    due_at: int
    expires_at: int | None
    queued_at: int
    attempts: int
    tries: int
    waits: int
    left_ms: int | None
    """Its time to live when it was claimed, by the database's clock."""


_ATTEMPT = {"id": "uuid", "attempt_id": "uuid"}

# Ids come back as text: hundreds at a time, a UUID object each would cost as much as all the rest of its row.
_CLAIM = """
UPDATE messages SET status = 'claimed', owner = :lease, gate = NULL, gate_until = NULL
WHERE {picked}
    SELECT m.id FROM {named}
    WHERE ((m.status IN ('queued', 'retry') AND m.due_at <= {now})
           OR (m.status = 'claimed' AND m.owner = :lease))
      AND EXISTS (SELECT 1 FROM campaigns c WHERE c.id = m.campaign_id AND c.status IN ('intake', 'running'))
      AND NOT EXISTS (SELECT 1 FROM senders s WHERE s.phone = m.sender AND s.paused_at IS NOT NULL)
      AND NOT EXISTS (SELECT 1 FROM accounts a WHERE a.id = :account AND a.paused_at IS NOT NULL)
    {end}
AND (status IN ('queued', 'retry') OR (status = 'claimed' AND owner = :lease)) IS TRUE
AND EXISTS (SELECT 1 FROM workers w WHERE w.id = :lease AND w.lease_until > {now} AND w.ended_at IS NULL)
RETURNING CAST(id AS text), CAST(campaign_id AS text), kind, sender, recipient, type, payload, due_at, expires_at,
          queued_at, attempts, tries, waits, expires_at - {now} AS left_ms
"""
#: What the ids are looked up by, and its end. PostgreSQL makes a join of IN, and where it believes that no rows wait it
#: looks all of them up again for each of them: 30 s for 1,100. An array is made once.
_PICKED = {
    "sqlite": ("id IN (", ")"),
    "postgresql": ("id = ANY(ARRAY(", "FOR UPDATE OF m SKIP LOCKED))"),
}


def claim(tx: Connection, ids: Sequence[str], *, lease: str, account: str) -> list[Claimed]:
    """Take those of ``ids`` that still wait, are due and not paused; duplicates of a job stop here.

    Nothing is claimed under a lease that has lapsed. What the lease holds already is returned again, so that a
    COMMIT whose answer was lost can be repeated: leave out ids that are in hand.
    """
    if not ids:
        return []
    picked, end = _PICKED[tx.dialect.name]
    sql = _CLAIM.format(picked=picked, named=named(tx), now=now_sql(tx), end=end)
    rows = tx.execute(
        statement(sql), bound(tx, IDS, [(id,) for id in ids]) | {"lease": lease, "account": account}
    )
    claimed = [
        Claimed(
            id,
            campaign,
            Kind(kind),
            sender,
            recipient,
            type,
            None if payload is None else bytes(payload),
            *rest,
        )
        for id, campaign, kind, sender, recipient, type, payload, *rest in rows
    ]
    claimed.sort(key=lambda m: (m.due_at, m.id))
    return claimed


_CLAIMED_UNDER = f"SELECT id FROM messages WHERE owner = :lease AND status = 'claimed' AND {HELD_SQL}"  # noqa: S608


def claimed_under(tx: Connection, lease: str) -> set[str]:
    """What this lease has claimed and not begun to send: what its worker ought to have in hand."""
    return {str(id) for id in tx.execute(statement(_CLAIMED_UNDER), {"lease": lease}).scalars()}


class Opening(NamedTuple):
    """An attempt about to be opened: the message in hand and the attempt's own new id."""

    message: Claimed
    attempt_id: str


@dataclass(frozen=True, slots=True)
class Opened:
    """What the last look at the ledger allowed. Whoever is in none of these belongs to somebody else now."""

    attempts: frozenset[str]
    """Ids of attempts that are committed as open: these, and only these, may be POSTed."""
    expired: list[str]
    suppressed: list[str]
    cancelled: list[str]
    held: list[str]
    """Given back because campaign, sender or account is paused."""


# Here and below: ``IS TRUE`` keeps PostgreSQL from going through all that a worker holds by the owner's index, and
# comparing each with each of the ids: 4,000 given back at a stop took 18 s.
_OPEN = """
UPDATE messages SET status = 'sending', attempt_id = p.attempt_id, attempts = p.n, sent_at = {now}
FROM {rows}
WHERE messages.id = p.id AND (messages.owner = :lease) IS TRUE
  AND (messages.status = 'claimed' OR (messages.status = 'sending' AND messages.attempt_id = p.attempt_id)) IS TRUE
  AND (messages.expires_at IS NULL OR messages.expires_at > {now})
  AND EXISTS (SELECT 1 FROM workers w WHERE w.id = :lease AND w.lease_until > {now} AND w.ended_at IS NULL)
  {unless}
RETURNING messages.id, messages.attempt_id, messages.attempts, messages.sender, messages.sent_at
"""
_OPEN_COLUMNS = {"id": "uuid", "attempt_id": "uuid", "n": "integer"}
_ATTEMPTS_INTO = "attempts (message_pk, id, n, sender, started_at, owner, worker)"
#: An attempt begins at the instant at which its time to live was asked, not at a later one.
_WRITE_AHEAD = f"""
opened AS ({_OPEN}), written AS (
    INSERT INTO {_ATTEMPTS_INTO} SELECT opened.*, CAST(:lease AS uuid), :worker FROM opened
    ON CONFLICT (id) DO NOTHING)
SELECT CAST(attempt_id AS text) FROM opened
"""  # noqa: S608 - our own words
#: SQLite writes to one table a statement.
_WRITE_SQLITE = f"INSERT INTO {_ATTEMPTS_INTO} VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"  # noqa: S608 - our own words


def open_attempts(
    tx: Connection, openings: Sequence[Opening], *, lease: str, worker: str, account: str
) -> Opened:
    """The last-moment check and the write-ahead, in one commit: what it returns as open may be POSTed.

    Expiry, cancelling, suppression and pauses are asked again here, by the ledger and its clock.
    """
    blocked = _blocked(tx, openings, account)
    for id in _open_already(tx, [o for o in openings if o.message.id in blocked]):
        del blocked[id]
    clear = [o for o in openings if o.message.id not in blocked]
    opened = _open(tx, clear, lease, worker)
    rest = [o for o in clear if o.attempt_id not in opened]
    by_status: dict[Status, list[str]] = {Status.SUPPRESSED: [], Status.CANCELLED: [], Status.QUEUED: []}
    for id, (status, _) in blocked.items():
        by_status[status].append(id)
    for status in (Status.SUPPRESSED, Status.CANCELLED):
        _end_claimed(tx, [(id, blocked[id][1]) for id in by_status[status]], status, lease)
    give_back(tx, [Release(id, 0, blocked[id][1], None) for id in by_status[Status.QUEUED]], lease=lease)
    return Opened(
        frozenset(opened),
        [*expire_claimed(tx, [o.message.id for o in rest], lease=lease), *_close_late(tx, rest, lease)],
        by_status[Status.SUPPRESSED],
        by_status[Status.CANCELLED],
        by_status[Status.QUEUED],
    )


_OPEN_ALREADY = """
SELECT m.id FROM messages AS m JOIN {rows} ON p.id = m.id
WHERE m.status = 'sending' AND m.attempt_id = p.attempt_id
"""


def _open_already(tx: Connection, openings: Sequence[Opening]) -> list[str]:
    """Those that an earlier COMMIT opened, whose answer was lost: they were free to go then."""
    if not openings:
        return []
    sql = _OPEN_ALREADY.format(rows=table(tx, _ATTEMPT))
    rows = bound(tx, _ATTEMPT, [(o.message.id, o.attempt_id) for o in openings])
    return [str(id) for id in tx.execute(statement(sql), rows).scalars()]


_CLOSE_LATE = """
UPDATE messages SET status = CASE WHEN {maybe_sent} THEN 'unknown' ELSE 'expired' END, owner = NULL,
    ended_at = {now}, error = 'its time to live passed before it could be sent',
    payload = CASE WHEN kind = 'otp' THEN NULL ELSE payload END
FROM {rows} WHERE messages.id = p.id AND (messages.owner = :lease AND messages.status = 'sending') IS TRUE
  AND messages.attempt_id = p.attempt_id AND messages.expires_at <= {now}
RETURNING messages.id
"""
_CLOSE_LATE_ATTEMPTS = """
UPDATE attempts SET outcome = 'not_sent', finished_at = {now}, bytes_sent = {false}, reply_began = {false},
    error = 'its time to live passed before the POST'
FROM {rows} WHERE attempts.id = p.attempt_id AND attempts.outcome IS NULL
"""


def _close_late(tx: Connection, openings: Sequence[Opening], lease: str) -> list[str]:
    """End those that an earlier COMMIT opened, whose answer came so late that they must not be POSTed now."""
    if not openings:
        return []
    rows = table(tx, _ATTEMPT)
    named = bound(tx, _ATTEMPT, [(o.message.id, o.attempt_id) for o in openings])
    sql = _CLOSE_LATE.format(rows=rows, now=now_sql(tx), maybe_sent=MAYBE_SENT)
    found = tx.execute(statement(sql), named | {"lease": lease})
    ended = {str(id) for id in found.scalars()}
    if ended:
        sql = _CLOSE_LATE_ATTEMPTS.format(rows=rows, now=now_sql(tx), false="false")
        late = [(o.message.id, o.attempt_id) for o in openings if o.message.id in ended]
        tx.execute(statement(sql), bound(tx, _ATTEMPT, late))
    return sorted(ended)


def open_at_once(
    tx: Connection, openings: Sequence[Opening], *, lease: str, worker: str, account: str
) -> frozenset[str] | None:
    """``open_attempts`` as a single statement, which needs no transaction: one way to PostgreSQL and back, not four.

    The ids of the attempts that are open now. Who is not among them is to be asked for once more with
    ``open_attempts``, and everybody where None is returned: then something may stand in somebody's way, and nothing
    was changed. Not for SQLite, which writes to one table a statement.
    """
    way, way_parameters = _in_the_way(tx, openings, account)
    opening, parameters = _opening(tx, openings, lease, worker)
    opening = opening.format(unless="AND NOT EXISTS (SELECT 1 FROM way)")
    sql = f"WITH way AS MATERIALIZED ({way}), {opening} UNION ALL SELECT NULL FROM way"  # noqa: S608 - our own words
    found = list(tx.execute(statement(sql), way_parameters | parameters).scalars())
    return None if None in found else frozenset(found)


def _opening(
    tx: Connection, openings: Sequence[Opening], lease: str, worker: str
) -> tuple[str, dict[str, str]]:
    """The statement, but for ``{unless}`` and on PostgreSQL for its WITH, and its parameters."""
    rows = bound(tx, _OPEN_COLUMNS, [(o.message.id, o.attempt_id, o.message.attempts + 1) for o in openings])
    sql = _OPEN if tx.dialect.name == "sqlite" else _WRITE_AHEAD
    sql = sql.format(rows=table(tx, _OPEN_COLUMNS), now=now_sql(tx), unless="{unless}")
    return sql, rows | {"lease": lease, "worker": worker[:100]}


def _open(tx: Connection, openings: Sequence[Opening], lease: str, worker: str) -> set[str]:
    """Ids of the attempts that are open now."""
    if not openings:
        return set()
    sql, parameters = _opening(tx, openings, lease, worker)
    sql = sql.format(unless="")
    found = tx.execute(statement(sql if tx.dialect.name == "sqlite" else f"WITH {sql}"), parameters)
    if tx.dialect.name != "sqlite":
        return set(found.scalars())
    opened = [(*row, lease, worker[:100]) for row in found]
    if opened:
        tx.exec_driver_sql(_WRITE_SQLITE, opened)
    return {row[1] for row in opened}


#: All that may stand in the way of a batch now, in one round trip: it is asked before each POST.
_IN_THE_WAY = """
SELECT 'campaign' AS what, CAST(c.id AS text) AS id, c.status AS more FROM campaigns c JOIN {campaigns} ON p.id = c.id
    WHERE c.status NOT IN ('intake', 'running')
UNION ALL SELECT 'sender', s.phone, '' FROM senders s JOIN {senders} ON p.phone = s.phone
    WHERE s.paused_at IS NOT NULL
UNION ALL SELECT 'account', a.id, '' FROM accounts a WHERE a.id = :account AND a.paused_at IS NOT NULL
UNION ALL SELECT z.scope, z.subject, z.reason FROM ({suppressing}) AS z
"""


_PHONES = {"phone": "text"}


def _in_the_way(tx: Connection, openings: Sequence[Opening], account: str) -> tuple[str, dict[str, str]]:
    """The question, and its parameters."""
    messages_of = [o.message for o in openings]
    sql = _IN_THE_WAY.format(
        campaigns=table(tx, IDS, "campaigns"),
        senders=table(tx, _PHONES, "senders"),
        suppressing=suppressions.SUPPRESSING.format(
            recipients=table(tx, suppressions.RECIPIENTS, "recipients"), now=now_sql(tx)
        ),
    )
    parameters = (
        bound(tx, IDS, [(id,) for id in {m.campaign_id for m in messages_of}], "campaigns")
        | bound(tx, _PHONES, [(phone,) for phone in {m.sender for m in messages_of}], "senders")
        | bound(
            tx,
            suppressions.RECIPIENTS,
            suppressions.subject_rows(m.recipient for m in messages_of),
            "recipients",
        )
    )
    return sql, parameters | {"account": account}


def _blocked(tx: Connection, openings: Sequence[Opening], account: str) -> dict[str, tuple[Status, str]]:
    """Which messages must not go now: id -> (where it goes, why: a reason or the name of a gate)."""
    sql, parameters = _in_the_way(tx, openings, account)
    rows = [(row.what, row.id, row.more) for row in tx.execute(statement(sql), parameters)]
    if not rows:
        return {}
    campaign_status = {id: status for what, id, status in rows if what == "campaign"}
    paused_senders = {id for what, id, _ in rows if what == "sender"}
    account_paused = any(what == "account" for what, _, _ in rows)
    reasons = suppressions.SuppressionReasons(row for row in rows if row[0] in suppressions.SCOPES)
    blocked: dict[str, tuple[Status, str]] = {}
    for message in (opening.message for opening in openings):
        reason = reasons.reason(message.recipient, message.kind)
        status = campaign_status.get(message.campaign_id)
        if status == "cancelled":
            blocked[message.id] = (Status.CANCELLED, "campaign cancelled")
        elif reason is not None:
            blocked[message.id] = (Status.SUPPRESSED, f"suppressed: {reason}")
        elif account_paused:
            blocked[message.id] = (Status.QUEUED, "account_paused")
        elif message.sender in paused_senders:
            blocked[message.id] = (Status.QUEUED, "sender_paused")
        elif status is not None:
            blocked[message.id] = (Status.QUEUED, "campaign_paused")
    return blocked


_END = """
UPDATE messages SET status = CASE WHEN {maybe_sent} THEN 'unknown' ELSE :status END,
    owner = NULL, gate = NULL, gate_until = NULL, error = CASE WHEN {maybe_sent} THEN :doubt ELSE '' END || p.error,
    ended_at = {now}, payload = CASE WHEN kind = 'otp' THEN NULL ELSE payload END
FROM {rows} WHERE messages.id = p.id AND (messages.owner = :lease AND messages.status = 'claimed') IS TRUE
"""


def _end_claimed(tx: Connection, ended: Sequence[tuple[str, str]], status: Status, lease: str) -> None:
    if ended:
        columns = {"id": "uuid", "error": "text"}
        sql = _END.format(now=now_sql(tx), rows=table(tx, columns), maybe_sent=MAYBE_SENT)
        rows = bound(tx, columns, [(id, storable(why, 500 - len(NOT_SENT_AGAIN))) for id, why in ended])
        tx.execute(statement(sql), rows | {"status": status.value, "lease": lease, "doubt": NOT_SENT_AGAIN})


def fail_claimed(tx: Connection, failures: Sequence[tuple[str, str]], *, lease: str) -> None:
    """Messages that cannot be rendered or decrypted end as failed without a POST: (id, why)."""
    _end_claimed(tx, failures, Status.FAILED, lease)


_EXPIRE_CLAIMED = """
UPDATE messages SET status = CASE WHEN {maybe_sent} THEN 'unknown' ELSE 'expired' END,
    owner = NULL, gate = NULL, gate_until = NULL, ended_at = {now},
    error = 'its time to live passed before it could be sent',
    payload = CASE WHEN kind = 'otp' THEN NULL ELSE payload END
FROM {rows} WHERE messages.id = p.id AND (messages.owner = :lease AND messages.status = 'claimed') IS TRUE
  AND messages.expires_at <= {now}
RETURNING messages.id
"""


def expire_claimed(tx: Connection, ids: Sequence[str], *, lease: str) -> list[str]:
    """End those of the claimed messages whose time to live has passed by the database's clock."""
    if not ids:
        return []
    sql = _EXPIRE_CLAIMED.format(now=now_sql(tx), rows=table(tx, IDS), maybe_sent=MAYBE_SENT)
    rows = tx.execute(statement(sql), bound(tx, IDS, [(id,) for id in ids]) | {"lease": lease})
    return [str(id) for id in rows.scalars()]


class Release(NamedTuple):
    """A claimed message given back unsent. ``due_at`` 0 leaves its due time; the gate tells ``why`` it waits."""

    id: str
    due_at: int
    gate: str | None
    gate_until: int | None


_GIVE_BACK = """
UPDATE messages SET status = CASE WHEN attempts > 0 THEN 'retry' ELSE 'queued' END, owner = NULL,
    -- A millisecond later: for the relay that is a job anew, and it need not take the earlier one for lost first.
    due_at = CASE WHEN p.due_at > messages.due_at THEN p.due_at ELSE messages.due_at + 1 END,
    gate = p.gate, gate_until = p.gate_until
FROM {rows} WHERE messages.id = p.id AND (messages.owner = :lease AND messages.status = 'claimed') IS TRUE
"""


def give_back(tx: Connection, releases: Sequence[Release], *, lease: str) -> None:
    """Back to the queue without a POST: it waits for a gate, or its worker stops. Costs no try."""
    if releases:
        columns = {"id": "uuid", "due_at": "bigint", "gate": "text", "gate_until": "bigint"}
        sql = _GIVE_BACK.format(rows=table(tx, columns))
        rows = [(r.id, r.due_at, r.gate, r.gate_until) for r in releases]
        tx.execute(statement(sql), bound(tx, columns, rows) | {"lease": lease})


class Settlement(NamedTuple):
    """How an attempt ended and what follows for its message, as ``decide`` said."""

    message: str
    attempt_id: str
    outcome: Outcome
    evidence: Evidence
    latency_ms: float | None
    status: Status
    due_at: int | None
    tries: int
    waits: int
    error: str
    payload: bytes | None = None
    """A code's encrypted content, still in hand: what waits again has it back, where a rescue wiped it meanwhile."""


_CLOSE_COLUMNS = {
    "attempt_id": "uuid",
    "outcome": "text",
    "http_status": "integer",
    "ret_code": "integer",
    "whatsapp_code": "integer",
    "vendor_message": "text",
    "request_id": "text",
    "message_id": "text",
    "latency_ms": "double precision",
    "bytes_sent": "boolean",
    "reply_began": "boolean",
    "error": "text",
}
# A worker's own word replaces a rescue's, also where both are in doubt: the record of a dead worker clears what says
# no more than that its worker was lost (leases.reap).
_CLOSE = f"""
UPDATE attempts SET outcome = p.outcome, finished_at = {{now}}, http_status = p.http_status,
    ret_code = p.ret_code, whatsapp_code = p.whatsapp_code, vendor_message = p.vendor_message,
    request_id = p.request_id, message_id = p.message_id, latency_ms = p.latency_ms,
    bytes_sent = p.bytes_sent, reply_began = p.reply_began, error = p.error
FROM {{rows}} WHERE attempts.id = p.attempt_id AND (attempts.outcome IS NULL
  OR (attempts.outcome = 'unknown' AND (p.outcome <> 'unknown' OR attempts.error = '{WORKER_LOST}')))
"""  # noqa: S608 - our own words
_SETTLE_COLUMNS = {
    "id": "uuid",
    "attempt_id": "uuid",
    "status": "text",
    "ended": "boolean",
    "due_at": "bigint",
    "tries": "integer",
    "waits": "integer",
    "error": "text",
    "message_id": "text",
    "request_id": "text",
    "ret_code": "integer",
}
# A result is the truth of its attempt whenever it comes: also after a rescue took the message for unknown.
# A code that a rescue has wiped meanwhile cannot be sent again, however surely it was not sent, unless whoever says so
# brings it back (a result from the spool does not: no content rests there).
_WIPED = "(NOT p.ended AND messages.payload IS NULL)"
_SETTLE = """
UPDATE messages SET owner = NULL, gate = NULL, gate_until = NULL,
    status = CASE WHEN {wiped} THEN 'failed' ELSE p.status END,
    due_at = COALESCE(p.due_at, messages.due_at), tries = p.tries, waits = p.waits,
    error = CASE WHEN {wiped} THEN 'its content was wiped when its worker was lost: ' ELSE '' END || p.error,
    message_id = COALESCE(p.message_id, messages.message_id),
    request_id = COALESCE(p.request_id, messages.request_id), ret_code = p.ret_code,
    accepted_at = CASE WHEN p.status = 'accepted' THEN {now} ELSE messages.accepted_at END,
    ended_at = CASE WHEN p.ended OR {wiped} THEN {now} ELSE NULL END,
    payload = CASE WHEN p.ended AND messages.kind = 'otp' THEN NULL ELSE messages.payload END
FROM {rows} WHERE messages.id = p.id AND messages.attempt_id = p.attempt_id
  AND messages.status IN ('sending', 'unknown')
"""


_BRING_BACK = (
    update(messages)
    .where(
        messages.c.id == bindparam("of"),
        messages.c.attempt_id == bindparam("attempt"),
        messages.c.status == Status.UNKNOWN.value,
        messages.c.payload.is_(None),
    )
    .values(payload=bindparam("encrypted"))
)


def _bring_back(tx: Connection, settlements: Sequence[Settlement]) -> None:
    """What a rescue took for unknown and wiped, and what was surely not sent, gets its encrypted content back."""
    wiped = [
        {"of": s.message, "attempt": s.attempt_id, "encrypted": s.payload}
        for s in settlements
        if s.payload is not None and s.status not in _ENDING
    ]
    if wiped:
        tx.execute(_BRING_BACK, wiped)


_SETTLE_AT_ONCE = """
WITH closed AS ({close}), settled AS ({settle} RETURNING messages.id)
SELECT CASE WHEN count(*) = :many THEN 0 ELSE CAST('only ' || count(*) || ' were moved' AS integer) END FROM settled
"""


def settle_at_once(tx: Connection, settlements: Sequence[Settlement]) -> bool:
    """``settle`` as a single statement, which needs no transaction, where all is as it nearly always is: everybody was
    accepted, and is where its worker left it. False, and nothing is changed, where it is not: then ``settle``.

    So many as were moved must be all: the statement fails otherwise, by a cast that cannot be made. Not for SQLite.
    """
    if any(s.status is not Status.ACCEPTED for s in settlements):
        return False
    now = now_sql(tx)
    close = _CLOSE.format(now=now, rows=table(tx, _CLOSE_COLUMNS, "closing"))
    settling = _SETTLE.format(now=now, rows=table(tx, _SETTLE_COLUMNS), wiped=_WIPED)
    parameters = (
        bound(tx, _CLOSE_COLUMNS, [_closing(s) for s in settlements], "closing")
        | bound(tx, _SETTLE_COLUMNS, [_settling(s) for s in settlements])
        | {"many": len(settlements)}
    )
    try:
        tx.execute(statement(_SETTLE_AT_ONCE.format(close=close, settle=settling)), parameters)
    except DataError:
        return False
    return True


def settle(tx: Connection, settlements: Sequence[Settlement]) -> None:
    """Close attempts and move their messages on, whoever holds them by now."""
    if not settlements:
        return
    now = now_sql(tx)
    tx.execute(
        statement(_CLOSE.format(now=now, rows=table(tx, _CLOSE_COLUMNS))),
        bound(tx, _CLOSE_COLUMNS, [_closing(s) for s in settlements]),
    )
    _bring_back(tx, settlements)
    moved = rows_changed(
        tx,
        statement(_SETTLE.format(now=now, rows=table(tx, _SETTLE_COLUMNS), wiped=_WIPED)),
        bound(tx, _SETTLE_COLUMNS, [_settling(s) for s in settlements]),
    )
    if moved < len(settlements) or any(s.status is not Status.ACCEPTED for s in settlements):
        ids = [s.message for s in settlements]
        heed_evidence(tx, ids)
        _reopen_campaigns(tx, ids)


_WAITING_AGAIN = """
SELECT DISTINCT CAST(m.campaign_id AS text) FROM {named}
WHERE m.status IN ('queued', 'retry')
"""


def _reopen_campaigns(tx: Connection, ids: Sequence[str]) -> None:
    """A campaign that finished while one of its messages was unknown runs again when that one waits again."""
    sql = _WAITING_AGAIN.format(named=named(tx))
    found = tx.execute(statement(sql), bound(tx, IDS, [(id,) for id in ids])).scalars().all()
    if found:
        reopen(tx, found)


_OUTCOME_NAMES: dict[type, str] = {
    Accepted: "accepted",
    Refused: "refused",
    NotSent: "not_sent",
    Throttled: "throttled",
    Unknown: "unknown",
}


def outcome_name(outcome: Outcome) -> str:
    """The outcome as the ledger and the interface write it."""
    return _OUTCOME_NAMES[type(outcome)]


def _closing(s: Settlement) -> tuple[object, ...]:
    e = s.evidence
    accepted = s.outcome if isinstance(s.outcome, Accepted) else None
    error = "" if isinstance(s.outcome, Accepted) else s.outcome.why
    return (
        s.attempt_id,
        outcome_name(s.outcome),
        e.http_status,
        e.ret_code,
        e.whatsapp_code,
        storable(e.vendor_message, 500) or None,
        (accepted.request_id if accepted else e.request_id)[:256] or None,
        (accepted.message_id if accepted else e.message_id)[:256] or None,
        s.latency_ms,
        e.bytes_sent,
        e.reply_began,
        storable(f"{error} ({e.error})" if e.error and error else error or e.error, 500) or None,
    )


_ENDING = {Status.ACCEPTED, Status.FAILED, Status.EXPIRED, Status.UNKNOWN}


def _settling(s: Settlement) -> tuple[object, ...]:
    accepted = s.outcome if isinstance(s.outcome, Accepted) else None
    return (
        s.message,
        s.attempt_id,
        s.status.value,
        s.status in _ENDING,
        s.due_at,
        s.tries,
        s.waits,
        storable(s.error, 500) or None,
        # An answer that is not clearly a success may name a MessageId all the same: a receipt for it decides.
        (accepted.message_id if accepted else s.evidence.message_id)[:256] or None,
        s.evidence.request_id[:256] or None,
        s.evidence.ret_code,
    )
