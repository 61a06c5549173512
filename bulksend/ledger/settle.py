"""Settle: end attempts and move their messages on, hundreds at a time.

A result is the truth about its attempt whenever it comes, also after a rescue took the message for unknown.
Every function may be repeated after a COMMIT whose answer was lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, update

from bulksend.ledger import in_flight
from bulksend.ledger.bulk_parameters import IDS, bound, named, statement, storable, table
from bulksend.ledger.campaigns import reopen
from bulksend.ledger.clock import now_sql
from bulksend.ledger.database import rows_changed
from bulksend.ledger.endings import WIPED_PAYLOAD, WORKER_LOST, apply_evidence
from bulksend.ledger.schema import messages
from bulksend.messaging.outcome import Accepted, Evidence, NotSent, Outcome, Refused, Throttled, Unknown
from bulksend.messaging.states import Status


class Settlement(NamedTuple):
    """How an attempt ended, and what follows for its message by ``decide``."""

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
    """The encrypted content of a code in flight. A message that waits again gets it back if a rescue wiped it."""


_COLUMNS = {
    "id": "uuid",
    "attempt_id": "uuid",
    "outcome": "text",
    "status": "text",
    "ended": "boolean",
    "due_at": "bigint",
    "tries": "integer",
    "waits": "integer",
    "error": "text",
    "message_id": "text",
    "request_id": "text",
    "ret_code": "integer",
    "attempt_error": "text",
    "http_status": "integer",
    "whatsapp_code": "integer",
    "vendor_message": "text",
    "latency_ms": "double precision",
    "bytes_sent": "boolean",
    "reply_began": "boolean",
}
# Of a message whose content a rescue has wiped, none can be sent again, unless its worker still has the content
# (``_restore_payloads``); a result from the spool does not bring it, since the spool holds no content.
_WIPED = "(NOT p.ended AND messages.payload IS NULL)"
_MOVED = f"""gate = NULL, gate_until = NULL,
    status = CASE WHEN {_WIPED} THEN 'failed' ELSE p.status END,
    due_at = COALESCE(p.due_at, messages.due_at), tries = p.tries, waits = p.waits,
    error = CASE WHEN {_WIPED} THEN 'its content was wiped when its worker was lost: ' ELSE '' END || p.error,
    message_id = COALESCE(p.message_id, messages.message_id),
    request_id = COALESCE(p.request_id, messages.request_id), ret_code = p.ret_code,
    accepted_at = CASE WHEN p.status = 'accepted' THEN {{now}} ELSE messages.accepted_at END,
    ended_at = CASE WHEN p.ended OR {_WIPED} THEN {{now}} ELSE NULL END,
    payload = CASE WHEN p.ended THEN {WIPED_PAYLOAD} ELSE messages.payload END"""
_COUNTED = "attempts = messages.attempts + 1, attempt_id = p.attempt_id, sent_at = f.started_at"
# The attempt of a message is counted once, whatever another transaction did to its row in flight meanwhile.
_IS_OPEN = """messages.id = p.id AND f.attempt_id = p.attempt_id
  AND messages.attempt_id IS DISTINCT FROM p.attempt_id"""
#: The attempt of a message that waits, as its worker left it, has ended.
_LAND = f"""
UPDATE messages SET {_COUNTED}, {_MOVED} FROM {{held}}
WHERE {_IS_OPEN} AND (messages.status IN ('queued', 'retry')) IS TRUE
"""  # noqa: S608 - our own words
#: The same of one that a person, its time to live or evidence moved meanwhile: ``apply_evidence`` says what follows.
_COUNT = f"UPDATE messages SET {_COUNTED} FROM {{held}} WHERE {_IS_OPEN}"  # noqa: S608 - our own words
_RESULTS = (
    *("outcome", "http_status", "ret_code", "whatsapp_code", "vendor_message", "request_id", "message_id"),
    *("latency_ms", "bytes_sent", "reply_began"),
)
_WRITE = f"""
INSERT INTO attempts (id, message_pk, n, sender, owner, started_at, worker, finished_at, error, {", ".join(_RESULTS)})
SELECT p.attempt_id, p.id, {{counted}}, COALESCE(w.name, ''), {{now}}, p.attempt_error,
    {", ".join(f"p.{name}" for name in _RESULTS)}
FROM {{landed}} LEFT JOIN workers w ON w.id = {{owner}}
"""  # noqa: S608 - our own words
_JUST_COUNTED = (
    "{held} JOIN messages m ON m.id = p.id AND m.attempt_id = p.attempt_id AND m.attempt_id = f.attempt_id"
)
_LAND_IN_ONE = """
WITH landed AS ({land} RETURNING p.*, messages.attempts AS n, messages.sender, f.owner, f.started_at),
    written AS ({write}),
    gone AS (DELETE FROM in_flight WHERE message_pk = ANY(ARRAY(SELECT id FROM landed)))
SELECT CAST(attempt_id AS text) FROM landed
"""

# A worker's result replaces a rescue's, also when both are unknown: ``leases.reap`` clears only attempts with the error
# of a lost worker.
_CLOSE = f"""
UPDATE attempts SET finished_at = {{now}}, error = p.attempt_error,
    {", ".join(f"{name} = p.{name}" for name in _RESULTS)}
FROM {{rows}} WHERE attempts.message_pk = p.id AND attempts.id = p.attempt_id AND attempts.outcome = 'unknown'
  AND (p.outcome <> 'unknown' OR attempts.error = '{WORKER_LOST}')
"""  # noqa: S608 - our own words
_SETTLE = f"""
UPDATE messages SET {_MOVED}
FROM {{rows}} WHERE messages.id = p.id AND messages.attempt_id = p.attempt_id AND messages.status = 'unknown'
"""  # noqa: S608 - our own words


#: An answer that names the message after a rescue has moved it on: receipts then find it.
_NAME = """
UPDATE messages SET message_id = p.message_id, request_id = COALESCE(p.request_id, messages.request_id)
FROM {rows} WHERE messages.id = p.id AND messages.attempt_id = p.attempt_id
  AND messages.message_id IS NULL AND p.message_id IS NOT NULL AND p.outcome = 'unknown'
"""


#: Marks the answer of an attempt whose message has the MessageId of another one, so that receipts find it by its own.
_MARK_EARLIER = """
UPDATE attempts SET error = 'its message has the MessageId of another attempt'
FROM {rows} WHERE attempts.message_pk = p.id AND attempts.id = p.attempt_id
  AND attempts.outcome = 'accepted' AND attempts.error IS NULL
  AND EXISTS (SELECT 1 FROM messages m WHERE m.id = p.id AND m.message_id <> attempts.message_id)
"""


_RESTORE_PAYLOAD = (
    update(messages)
    .where(
        messages.c.id == bindparam("of"),
        messages.c.attempt_id == bindparam("attempt"),
        messages.c.status == Status.UNKNOWN.value,
        messages.c.payload.is_(None),
        # A person who was forgotten meanwhile is not written to.
        messages.c.recipient != "",
    )
    .values(payload=bindparam("encrypted"))
)


def _restore_payloads(tx: Connection, settlements: Sequence[Settlement]) -> None:
    """Give messages that a rescue wiped, and that were surely not sent, their encrypted content back."""
    wiped = [
        {"of": s.message, "attempt": s.attempt_id, "encrypted": s.payload}
        for s in settlements
        if s.payload is not None and s.status not in _ENDING
    ]
    if wiped:
        tx.execute(_RESTORE_PAYLOAD, wiped)


def settle_in_one_statement(tx: Connection, settlements: Sequence[Settlement]) -> frozenset[str]:
    """``settle`` as one statement without a transaction, for accepted messages that are where their worker left them.

    Returns the ids of the attempts that are settled now; call ``settle`` for the others, of which nothing was changed.
    Settles none unless all were accepted. Not for SQLite, which writes to one table in a statement.
    """
    if any(s.status is not Status.ACCEPTED for s in settlements):
        return frozenset()
    now = now_sql(tx)
    sql = _LAND_IN_ONE.format(
        land=_LAND.format(now=now, held=in_flight.held(tx, table(tx, _COLUMNS))),
        write=_WRITE.format(
            now=now, counted="p.n, p.sender, p.owner, p.started_at", landed="landed p", owner="p.owner"
        ),
    )
    return frozenset(tx.execute(statement(sql), bound(tx, _COLUMNS, _rows(settlements))).scalars())


def settle(tx: Connection, settlements: Sequence[Settlement]) -> None:
    """End attempts and move their messages on, under any lease."""
    if not settlements:
        return
    rows, now = table(tx, _COLUMNS), now_sql(tx)
    held = in_flight.held(tx, rows)
    parameters = bound(tx, _COLUMNS, _rows(settlements))

    def run(sql: str, **parts: str) -> int:
        return rows_changed(tx, statement(sql.format(rows=rows, held=held, now=now, **parts)), parameters)

    landed = run(_LAND)
    is_all = landed == len(settlements)
    if not is_all:
        landed += run(_COUNT)
    if landed:
        run(
            _WRITE,
            counted="m.attempts, m.sender, f.owner, f.started_at",
            landed=_JUST_COUNTED.format(held=held),
            owner="f.owner",
        )
        in_flight.drop_attempts(tx, [s.message for s in settlements], [s.attempt_id for s in settlements])
    if not is_all:
        run(_CLOSE)
        _restore_payloads(tx, settlements)
        run(_SETTLE)
        run(_NAME)
    if not is_all or any(s.status is not Status.ACCEPTED for s in settlements):
        ids = [s.message for s in settlements]
        apply_evidence(tx, ids)
        run(_MARK_EARLIER)
        _reopen_campaigns(tx, ids)


_WAITING_AGAIN = """
SELECT DISTINCT CAST(m.campaign_id AS text) FROM {named}
WHERE m.status IN ('queued', 'retry')
"""


def _reopen_campaigns(tx: Connection, ids: Sequence[str]) -> None:
    """A finished campaign runs again when one of its unknown messages waits again."""
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
    """The outcome's name in the ledger and in the interface."""
    return _OUTCOME_NAMES[type(outcome)]


_ENDING = {Status.ACCEPTED, Status.FAILED, Status.EXPIRED, Status.UNKNOWN}


def _rows(settlements: Sequence[Settlement]) -> list[tuple[object, ...]]:
    """The rows of ``_COLUMNS``, in the order in which messages are locked."""
    return [_row(s) for s in sorted(settlements, key=attrgetter("message"))]


def _row(s: Settlement) -> tuple[object, ...]:
    """The values of ``_COLUMNS``."""
    e = s.evidence
    accepted = s.outcome if isinstance(s.outcome, Accepted) else None
    why = "" if isinstance(s.outcome, Accepted) else s.outcome.why
    return (
        s.message,
        s.attempt_id,
        outcome_name(s.outcome),
        s.status.value,
        s.status in _ENDING,
        s.due_at,
        s.tries,
        s.waits,
        storable(s.error, 500) or None,
        # An unclear answer may name a MessageId; a receipt for it then decides.
        (accepted.message_id if accepted else e.message_id)[:256] or None,
        (accepted.request_id if accepted else e.request_id)[:256] or None,
        e.ret_code,
        storable(f"{why} ({e.error})" if why and e.error not in why else why or e.error, 500) or None,
        e.http_status,
        e.whatsapp_code,
        storable(e.vendor_message, 500) or None,
        s.latency_ms,
        e.bytes_sent,
        e.reply_began,
    )
