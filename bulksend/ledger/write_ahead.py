"""Write ahead: the last check before a POST, and the attempt that is committed as open before it.

Every statement names the lease that must still hold the message. Every function may be repeated after a COMMIT whose
answer was lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from sqlalchemy import Connection

from bulksend.ledger import exclusions, superseding, suppressions
from bulksend.ledger.bulk_parameters import IDS, bound, statement, table
from bulksend.ledger.claim import Claimed
from bulksend.ledger.clock import now_sql, read_clock
from bulksend.ledger.endings import apply_evidence, listed
from bulksend.ledger.person_keys import person_key
from bulksend.ledger.release import EXPIRE, Release, end_claimed, expire_claimed, release
from bulksend.messaging.exclusions import Cap
from bulksend.messaging.number_forms import number_forms
from bulksend.messaging.states import SENT, Kind, Status

_ATTEMPT = {"id": "uuid", "attempt_id": "uuid"}


class Opening(NamedTuple):
    """An attempt to open: its message and its new id."""

    message: Claimed
    attempt_id: str


@dataclass(frozen=True, slots=True)
class Opened:
    """What the last check allowed. A message in none of these is no longer held by the lease."""

    attempts: frozenset[str]
    """Ids of attempts committed as open. Only these may be POSTed."""
    expired: list[str]
    suppressed: list[str]
    cancelled: list[str]
    held: list[str]
    """Released because the campaign, sender or account is paused, or because a newer code waits."""
    superseded: list[str] = field(default_factory=list)
    next: list[str] = field(default_factory=list)
    """Newer codes that wait, of held ones: theirs is the turn that the older ones do not take."""


# In all these statements ``IS TRUE`` keeps PostgreSQL from the index of owners, by which it would compare every message
# that a worker holds with every id: releasing 4,000 took 18 s.
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
#: An attempt starts at the instant at which its time to live was checked.
_WRITE_AHEAD = f"""
opened AS ({_OPEN}), written AS (
    INSERT INTO {_ATTEMPTS_INTO} SELECT opened.*, CAST(:lease AS uuid), :worker FROM opened
    ON CONFLICT (id) DO NOTHING)
SELECT CAST(attempt_id AS text) FROM opened
"""  # noqa: S608 - our own words
#: SQLite writes to one table in a statement.
_WRITE_SQLITE = f"INSERT INTO {_ATTEMPTS_INTO} VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"  # noqa: S608 - our own words


def open_attempts(
    tx: Connection,
    openings: Sequence[Opening],
    *,
    lease: str,
    worker: str,
    account: str,
    caps: Mapping[str, Cap] = MappingProxyType({}),
) -> Opened:
    """Check and open attempts in one transaction: those returned as open may be POSTed.

    Expiry, cancellation, suppression, the cap of its campaign in ``caps``, newer codes and pauses are checked again, by
    the ledger's clock.
    """
    blocked = _blocked(tx, openings, account, caps)
    for id in _open_already(tx, [o for o in openings if o.message.id in blocked]):
        del blocked[id]
    clear = [o for o in openings if o.message.id not in blocked]
    opened = _open(tx, clear, lease, worker)
    rest = [o for o in clear if o.attempt_id not in opened]
    by_status: dict[Status, list[str]] = {status: [] for status in (*_ENDINGS, Status.QUEUED)}
    for id, block in blocked.items():
        by_status[block.status].append(id)
    for status in _ENDINGS:
        end_claimed(tx, [(id, blocked[id].why) for id in by_status[status]], status, lease)
    superseding.mark_superseded(tx, [(id, blocked[id].newer or "") for id in by_status[Status.SUPERSEDED]])
    expiries = {o.message.id: o.message.expires_at for o in openings}
    release(
        tx, _releases(tx, {id: blocked[id].why for id in by_status[Status.QUEUED]}, expiries), lease=lease
    )
    return Opened(
        frozenset(opened),
        [*expire_claimed(tx, [o.message.id for o in rest], lease=lease), *_close_late(tx, rest, lease)],
        by_status[Status.SUPPRESSED],
        by_status[Status.CANCELLED],
        by_status[Status.QUEUED],
        by_status[Status.SUPERSEDED],
        [block.newer for block in blocked.values() if block.why == superseding.GATE and block.newer],
    )


def _releases(tx: Connection, gates: Mapping[str, str], expiries: Mapping[str, int | None]) -> list[Release]:
    """A pause lasts until it is resumed. A code that a newer one holds is due again when it is freed, or later."""
    if superseding.GATE not in gates.values():
        return [Release(id, 0, gate, None) for id, gate in gates.items()]
    until = read_clock(tx) + superseding.HELD_MS
    return [
        Release(id, 0, gate, None)
        if gate != superseding.GATE
        else Release(id, again := min(until, expiries[id] or until), gate, again)
        for id, gate in gates.items()
    ]


_OPEN_ALREADY = """
SELECT m.id FROM messages AS m JOIN {rows} ON p.id = m.id
WHERE m.status = 'sending' AND m.attempt_id = p.attempt_id
"""


def _open_already(tx: Connection, openings: Sequence[Opening]) -> list[str]:
    """Messages whose attempt an earlier COMMIT opened and whose answer was lost: they passed the check then."""
    if not openings:
        return []
    sql = _OPEN_ALREADY.format(rows=table(tx, _ATTEMPT))
    rows = bound(tx, _ATTEMPT, [(o.message.id, o.attempt_id) for o in openings])
    return [str(id) for id in tx.execute(statement(sql), rows).scalars()]


_OPENED = (
    "(messages.owner = :lease AND messages.status = 'sending') IS TRUE AND messages.attempt_id = p.attempt_id"
)
_CLOSE_LATE_ATTEMPTS = """
UPDATE attempts SET outcome = 'not_sent', finished_at = {now}, bytes_sent = {false}, reply_began = {false},
    error = 'its time to live passed before the POST'
FROM {rows} WHERE attempts.id = p.attempt_id AND attempts.outcome IS NULL
"""


def _close_late(tx: Connection, openings: Sequence[Opening], lease: str) -> list[str]:
    """End the messages whose attempt an earlier COMMIT opened, and whose time to live passed before its answer came."""
    if not openings:
        return []
    rows = table(tx, _ATTEMPT)
    named = bound(tx, _ATTEMPT, [(o.message.id, o.attempt_id) for o in openings])
    sql = EXPIRE.format(rows=rows, now=now_sql(tx), held=_OPENED)
    ended = {str(id) for id in tx.execute(statement(sql), named | {"lease": lease}).scalars()}
    if ended:
        sql = _CLOSE_LATE_ATTEMPTS.format(rows=rows, now=now_sql(tx), false="false")
        late = [(o.message.id, o.attempt_id) for o in openings if o.message.id in ended]
        tx.execute(statement(sql), bound(tx, _ATTEMPT, late))
        apply_evidence(tx, sorted(ended))
    return sorted(ended)


def open_in_one_statement(
    tx: Connection,
    openings: Sequence[Opening],
    *,
    lease: str,
    worker: str,
    account: str,
    caps: Mapping[str, Cap] = MappingProxyType({}),
) -> frozenset[str] | None:
    """``open_attempts`` as a single statement without a transaction: one round trip to PostgreSQL and not four.

    Returns the ids of the attempts that are open now; call ``open_attempts`` for the others. None says that a pause,
    cancellation, suppression or cap may concern one of the messages and that nothing was changed: ``open_attempts``
    for all. Not for SQLite, which writes to one table in a statement.
    """
    blockers, blocker_parameters = _blockers(tx, openings, account, caps)
    opening, parameters = _opening(tx, openings, lease, worker)
    opening = opening.format(unless="AND NOT EXISTS (SELECT 1 FROM blockers)")
    sql = f"WITH blockers AS MATERIALIZED ({blockers}), {opening} UNION ALL SELECT NULL FROM blockers"  # noqa: S608 - our own words
    found = list(tx.execute(statement(sql), blocker_parameters | parameters).scalars())
    return None if None in found else frozenset(found)


def _opening(
    tx: Connection, openings: Sequence[Opening], lease: str, worker: str
) -> tuple[str, dict[str, str]]:
    """The statement that opens, with ``{unless}`` left open and without WITH, and its parameters."""
    rows = bound(tx, _OPEN_COLUMNS, [(o.message.id, o.attempt_id, o.message.attempts + 1) for o in openings])
    sql = _OPEN if tx.dialect.name == "sqlite" else _WRITE_AHEAD
    sql = sql.format(rows=table(tx, _OPEN_COLUMNS), now=now_sql(tx), unless="{unless}")
    return sql, rows | {"lease": lease, "worker": worker[:100]}


def _open(tx: Connection, openings: Sequence[Opening], lease: str, worker: str) -> set[str]:
    """The ids of the attempts that are open now."""
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


#: Everything that may block a message of a batch, in one round trip.
_BLOCKERS = """
SELECT 'campaign' AS what, CAST(c.id AS text) AS id, c.status AS more FROM campaigns c JOIN {campaigns} ON p.id = c.id
    WHERE c.status NOT IN ('intake', 'running')
UNION ALL SELECT 'sender', s.phone, '' FROM senders s JOIN {senders} ON p.phone = s.phone
    WHERE s.paused_at IS NOT NULL
UNION ALL SELECT 'account', a.id, '' FROM accounts a WHERE a.id = :account AND a.paused_at IS NOT NULL
UNION ALL SELECT z.scope, z.subject, z.reason FROM ({suppressing}) AS z
"""


#: The messages whose persons have had as many as the cap of their campaign allows, without these messages. At intake
#: the times of sending were planned; a pause, a slow sender or a new due time moves them.
_OVER_CAP = f"""
UNION ALL SELECT 'cap', z.id, '' FROM (
    SELECT CAST(p.id AS text) AS id FROM {{sent}}
    WHERE m.id <> p.id AND m.kind = 'marketing' AND m.status IN ({listed(SENT | {Status.SENDING, Status.UNKNOWN})})
      AND m.sent_at > {{now}} - p.span_ms
    GROUP BY p.id, p.most HAVING count(*) >= p.most) AS z
"""  # noqa: S608 - our own words
_SENT_TO = {
    "sqlite": "{rows} CROSS JOIN messages AS m ON m.recipient = p.form",
    "postgresql": "{rows} CROSS JOIN LATERAL (SELECT * FROM messages AS x WHERE x.recipient = p.form OFFSET 0) AS m",
}
_CAPPED = {"id": "uuid", "form": "text", "most": "integer", "span_ms": "bigint"}

#: And where some are one-time codes, those with a newer code.
_NEWER = f"""UNION ALL SELECT 'newer', x.id, x.newer FROM ({superseding.NEWER}) AS x
"""  # noqa: S608 - our own words

_PHONES = {"phone": "text"}
#: What a block ends a message as; any other block lets it wait.
_ENDINGS = (Status.SUPPRESSED, Status.CANCELLED, Status.SUPERSEDED)


class _Block(NamedTuple):
    """The next status of a message that must not be sent now, and the reason or the name of the gate."""

    status: Status
    why: str
    newer: str | None = None
    """The newer code that was sent in its place, or goes first."""


def _blockers(
    tx: Connection, openings: Sequence[Opening], account: str, caps: Mapping[str, Cap]
) -> tuple[str, dict[str, str]]:
    """The query for what may block these messages, and its parameters."""
    messages_of = [o.message for o in openings]
    codes = [(m.id, m.recipient) for m in messages_of if m.kind is Kind.OTP]
    sql = (_BLOCKERS + _NEWER if codes else _BLOCKERS).format(
        codes=table(tx, superseding.CODES, "codes"),
        now=now_sql(tx),
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
            suppressions.subject_rows((m.recipient for m in messages_of), person_key(tx)),
            "recipients",
        )
    )
    if caps:
        sent = _SENT_TO[tx.dialect.name].format(rows=table(tx, _CAPPED, "capped"))
        sql += _OVER_CAP.format(sent=sent, now=now_sql(tx))
        capped = [
            (message.id, form, cap.most, cap.within_ms)
            for message in messages_of
            if (cap := caps.get(message.campaign_id)) is not None
            for form in number_forms(message.recipient)
        ]
        parameters |= bound(tx, _CAPPED, capped, "capped")
    if codes:
        parameters |= bound(tx, superseding.CODES, superseding.code_rows(codes), "codes")
    return sql, parameters | {"account": account}


def _blocked(
    tx: Connection, openings: Sequence[Opening], account: str, caps: Mapping[str, Cap]
) -> dict[str, _Block]:
    """Messages that must not be sent now, by id."""
    sql, parameters = _blockers(tx, openings, account, caps)
    rows = [(row.what, row.id, row.more) for row in tx.execute(statement(sql), parameters)]
    if not rows:
        return {}
    campaign_status = {id: status for what, id, status in rows if what == "campaign"}
    paused_senders = {id for what, id, _ in rows if what == "sender"}
    account_paused = any(what == "account" for what, _, _ in rows)
    over_cap = {id for what, id, _ in rows if what == "cap"}
    reasons = suppressions.SuppressionReasons(
        (row for row in rows if row[0] in suppressions.SCOPES), person_key(tx)
    )
    newer_codes = superseding.newer_codes((id, more) for what, id, more in rows if what == "newer")
    blocked: dict[str, _Block] = {}
    for message in (opening.message for opening in openings):
        reason = reasons.reason(message.recipient, message.kind)
        status = campaign_status.get(message.campaign_id)
        newer = newer_codes.get(message.id)
        if status == "cancelled":
            blocked[message.id] = _Block(Status.CANCELLED, "campaign cancelled")
        elif reason is not None:
            blocked[message.id] = _Block(Status.SUPPRESSED, suppressions.why(reason))
        elif message.id in over_cap:
            blocked[message.id] = _Block(Status.SUPPRESSED, exclusions.cap_error(caps[message.campaign_id]))
        elif newer is not None and newer.sent is not None:
            blocked[message.id] = _Block(Status.SUPERSEDED, superseding.REASON, newer.sent)
        elif account_paused:
            blocked[message.id] = _Block(Status.QUEUED, "account_paused")
        elif message.sender in paused_senders:
            blocked[message.id] = _Block(Status.QUEUED, "sender_paused")
        elif status is not None:
            blocked[message.id] = _Block(Status.QUEUED, "campaign_paused")
        elif newer is not None:
            blocked[message.id] = _Block(Status.QUEUED, superseding.GATE, newer.waiting)
    return blocked
