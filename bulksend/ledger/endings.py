"""How messages end: the columns of every ending, and the status that the evidence of all attempts gives a message.

``final_status`` (messaging) ranks the attempts. ``ending_status`` is the same rule as SQL, for the statements that end
thousands at once; each of them ends messages by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Row, text, update

from bulksend.ledger.bulk_parameters import IDS, bound, named, statement, table
from bulksend.ledger.clock import current_ms, now_sql
from bulksend.ledger.database import among
from bulksend.ledger.in_flight import IS_OPEN, take_claims
from bulksend.ledger.schema import messages
from bulksend.messaging.final_status import EffectiveOutcome, effective_outcome, final_status
from bulksend.messaging.states import UNSENT, WAITING, Status

#: SQL about one ``{attempt}``: a person resolved its message as failed after it began; a receipt for its MessageId says
#: that it failed.
SAID_FAILED = (
    "EXISTS (SELECT 1 FROM acts w WHERE w.scope = 'message' AND w.subject = CAST({attempt}.message_pk AS text)"
    " AND w.act = 'resolve as failed' AND w.at >= {attempt}.started_at)"
)
UNDELIVERED = (
    "EXISTS (SELECT 1 FROM receipts r WHERE r.message_pk = {attempt}.message_pk AND r.status = 'failed'"
    " AND r.message_id = {attempt}.message_id)"
)
#: SQL: the vendor took one of the attempts, or may have, and no receipt says that it failed.
_MAYBE_TAKEN = (
    "EXISTS (SELECT 1 FROM attempts u WHERE u.message_pk = messages.id AND (u.outcome = 'accepted'"  # noqa: S608
    f" OR (u.outcome = 'unknown' AND NOT {SAID_FAILED.format(attempt='u')}))"
    f" AND NOT {UNDELIVERED.format(attempt='u')})"
)
#: SQL: the vendor took one of the attempts, and a receipt says that it failed.
_ONE_UNDELIVERED = (
    "EXISTS (SELECT 1 FROM attempts f WHERE f.message_pk = messages.id"  # noqa: S608
    f" AND f.message_id IS NOT NULL AND {UNDELIVERED.format(attempt='f')})"
)
#: SQL: the vendor took no attempt and can have taken none.
NEVER_TAKEN = f"(messages.attempts = 0 OR NOT ({_MAYBE_TAKEN} OR {_ONE_UNDELIVERED}))"
#: SQL: what the receipts of failure say, as ``receipts`` says it of one; one with a code says more than one without.
_FAILURE_TOLD = """(SELECT trim('receipt: ' || r.code || ' ' || r.why) FROM receipts r
    JOIN attempts f ON f.message_pk = r.message_pk AND f.message_id = r.message_id
    WHERE r.message_pk = {message}.id AND r.status = 'failed' ORDER BY r.code = '', r.at DESC, r.code DESC LIMIT 1)"""
#: The error of an attempt that was in flight when its worker's lease ended, until its result comes.
WORKER_LOST = "its worker was lost"
#: The error of an attempt that nothing is known of but that it may have been made.
RESTORED = "the ledger was restored from a backup, after which it may have been sent"
#: SQL: the payload of a message that ends. The content of an OTP is wiped; no other SQL may wipe it.
WIPED_PAYLOAD = "CASE WHEN messages.kind = 'otp' THEN NULL ELSE messages.payload END"
#: SQL: what every ending sets, besides the status and the error.
ENDED = f"gate = NULL, gate_until = NULL, ended_at = {{now}}, payload = {WIPED_PAYLOAD}"
#: The same as values of an UPDATE.
ENDED_VALUES = {"gate": None, "gate_until": None, "ended_at": current_ms(), "payload": text(WIPED_PAYLOAD)}
#: Precedes the reason of a message that is unknown because of an earlier attempt.
NOT_SENT_AGAIN = "it may have gone out, and was not sent again: "
#: Stands between what a receipt says of an earlier attempt and the reason of a message that failed by it.
AND_NOT_AGAIN = "; not sent again: "


def listed(statuses: Sequence[Status] | frozenset[Status]) -> str:
    """SQL: the statuses as a list of literals."""
    return ", ".join(f"'{status}'" for status in sorted(statuses))


def ending_status(unsent: str) -> str:
    """SQL: the final status of a message that gets no further POST; ``unsent``, SQL, where no attempt gives it one.

    UNKNOWN also for an accepted attempt: ``apply_evidence`` must follow.
    """
    return (
        f"CASE WHEN messages.attempts = 0 THEN {unsent} WHEN {_MAYBE_TAKEN} THEN '{Status.UNKNOWN}'"
        f" WHEN {_ONE_UNDELIVERED} THEN '{Status.FAILED}' ELSE {unsent} END"
    )


def ending_error(why: str) -> str:
    """SQL: the error that goes with ``ending_status``; ``why``, SQL: why there is no further POST."""
    failure = f"{_FAILURE_TOLD.format(message='messages')} || '{AND_NOT_AGAIN}' || {why}"
    return (
        f"substr(CASE WHEN messages.attempts = 0 THEN {why} WHEN {_MAYBE_TAKEN} THEN '{NOT_SENT_AGAIN}' || {why}"
        f" ELSE COALESCE({failure}, {why}) END, 1, 500)"
    )


def end_unsent(tx: Connection, ids: Sequence[str], status: Status, why: str) -> int:
    """End those of ``ids`` that wait and have no open attempt, as ``status``, or as ``ending_status`` says.

    Returns how many. They are taken from the workers that have claimed them: an attempt that is being opened is open
    now, or will not be opened.
    """
    if not ids:
        return 0
    take_claims(tx, ids)
    # IS TRUE: PostgreSQL then looks the rows up by key and not among all that wait.
    still = text(f"(messages.status IN ({listed(WAITING)})) IS TRUE"), ~IS_OPEN
    ended = update(messages).where(among(tx, messages.c.id, ids), *still)
    ended = ended.values(
        status=text(ending_status("CAST(:unsent AS text)")).bindparams(unsent=status.value),
        error=text(ending_error("CAST(:why AS text)")).bindparams(why=why),
        **ENDED_VALUES,
    )
    return tx.execute(ended).rowcount


# -- late evidence ----------------------------------------------------------------------------------

#: A row for each attempt that was accepted, may have been sent or has a MessageId; one row without an attempt for an
#: unknown message that has none. Messages that were delivered are left out.
_EVIDENCE = """
SELECT CAST(m.id AS text) AS id, m.status, m.message_id AS named, c.status = 'cancelled' AS cancelled,
    COALESCE(m.expires_at <= {now}, false) AS late,
    a.id AS attempt, a.outcome, a.message_id, a.request_id, a.ret_code,
    {undelivered} AS undelivered, {said_failed} AS said_failed, {failure} AS failure
FROM {named} JOIN campaigns c ON c.id = m.campaign_id
LEFT JOIN attempts a ON a.message_pk = m.id
    AND (a.outcome IN ('accepted', 'unknown') OR a.message_id IS NOT NULL)
WHERE m.status NOT IN ('delivered', 'read') AND (a.id IS NOT NULL OR m.status = 'unknown')
ORDER BY m.id, a.n
"""
_RAISE_COLUMNS = {"id": "uuid", "message_id": "text", "request_id": "text", "ret_code": "integer"}
_RAISE = f"""
UPDATE messages SET status = 'accepted', gate = NULL, gate_until = NULL, error = NULL,
    message_id = p.message_id, request_id = COALESCE(p.request_id, messages.request_id), ret_code = p.ret_code,
    accepted_at = COALESCE(messages.accepted_at, {{now}}), ended_at = COALESCE(messages.ended_at, {{now}}),
    payload = {WIPED_PAYLOAD}
FROM {{rows}} WHERE messages.id = p.id
  AND messages.status IN ({listed(WAITING | UNSENT | {Status.UNKNOWN, Status.ACCEPTED})})
"""  # noqa: S608 - our own words
#: Precede the reason of a message whose status is corrected.
MAY_HAVE = "an attempt of it may have gone out: "
CLEARED = "no attempt of it was sent: "
_CORRECT_COLUMNS = {"id": "uuid", "before": "text", "status": "text", "prefix": "text"}
_CORRECT = """
UPDATE messages SET status = p.status, error = substr(p.prefix || COALESCE(messages.error, ''), 1, 500)
FROM {rows} WHERE messages.id = p.id AND messages.status = p.before
"""


def apply_evidence(tx: Connection, ids: Sequence[str]) -> None:
    """Give these messages the status that all their attempts together say.

    The result of an earlier attempt may come last: after a second attempt, or after the message ended as not sent. A
    message that a person resolved as accepted gets its MessageId, so that receipts find it.
    """
    raised: list[tuple[object, ...]] = []
    corrected: list[tuple[object, ...]] = []
    for rows in _evidence(tx, ids):
        _add_correction(rows, raised, corrected)
    if raised:
        sql = _RAISE.format(now=now_sql(tx), rows=table(tx, _RAISE_COLUMNS))
        tx.execute(statement(sql), bound(tx, _RAISE_COLUMNS, raised))
    if corrected:
        sql = _CORRECT.format(rows=table(tx, _CORRECT_COLUMNS))
        tx.execute(statement(sql), bound(tx, _CORRECT_COLUMNS, corrected))


def undelivered_status(tx: Connection, ids: Sequence[str]) -> dict[str, Status]:
    """The status of messages of which an attempt was not delivered: FAILED unless another one outranks it.

    Those whose status no failure changes are left out.
    """
    return {rows[0].id: final_status(_effective_outcomes(rows), Status.FAILED) for rows in _evidence(tx, ids)}


def _evidence(tx: Connection, ids: Sequence[str]) -> list[list[Row[Any]]]:
    """The rows of ``_EVIDENCE`` of each message that has any."""
    sql = _EVIDENCE.format(
        now=now_sql(tx),
        named=named(tx),
        undelivered=UNDELIVERED.format(attempt="a"),
        said_failed=SAID_FAILED.format(attempt="a"),
        failure=_FAILURE_TOLD.format(message="m"),
    )
    found = tx.execute(statement(sql), bound(tx, IDS, [(id,) for id in ids])).all()
    return [[*rows] for _, rows in groupby(found, key=lambda row: row.id)]


def _effective_outcomes(rows: Sequence[Row[Any]]) -> dict[EffectiveOutcome, Row[Any]]:
    """What the attempts of one message come to, each with the newest attempt of which it is true."""
    return {
        effective_outcome(
            row.outcome, undelivered=bool(row.undelivered), said_failed=bool(row.said_failed)
        ): row
        for row in rows
        if row.attempt is not None
    }


def _add_correction(
    rows: Sequence[Row[Any]], raised: list[tuple[object, ...]], corrected: list[tuple[object, ...]]
) -> None:
    """Add what ``rows``, of one message, ask for: it is accepted, or another status corrects it."""
    message, now = rows[0], Status(rows[0].status)
    outcomes = _effective_outcomes(rows)
    target = final_status(outcomes, _status_if_unsent(message) if now is Status.UNKNOWN else now)
    has_its_name = message.named is not None and not any(
        row.undelivered and row.message_id == message.named for row in rows
    )
    if target is Status.ACCEPTED and (now is not target or not has_its_name):
        taken = outcomes.get(EffectiveOutcome.ACCEPTED)
        if taken is not None:
            raised.append((taken.id, taken.message_id, taken.request_id, taken.ret_code))
    elif target is not now and now in UNSENT | {Status.UNKNOWN}:
        corrected.append((message.id, now.value, target.value, _prefix(target, message.failure)))


def _prefix(target: Status, failure: str | None) -> str:
    """What precedes the error of a message that is corrected to ``target``."""
    if target is Status.UNKNOWN:
        return MAY_HAVE
    return CLEARED if failure is None else failure + AND_NOT_AGAIN


def _status_if_unsent(message: Row[Any]) -> Status:
    """The ending of an unknown message of which no attempt was sent."""
    if message.cancelled:
        return Status.CANCELLED
    return Status.EXPIRED if message.late else Status.FAILED
