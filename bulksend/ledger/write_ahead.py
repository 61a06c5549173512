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
from bulksend.ledger.endings import listed
from bulksend.ledger.in_flight import OPEN, drop_ended, held, lock
from bulksend.ledger.person_keys import person_key
from bulksend.ledger.release import Release, end_claimed, expire_unposted, release
from bulksend.messaging.exclusions import Cap
from bulksend.messaging.number_forms import number_forms
from bulksend.messaging.states import SENT, WAITING, Kind, Status

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


#: An attempt starts at the instant at which its time to live was checked.
_OPEN = """
UPDATE in_flight SET attempt_id = {attempt}, started_at = {now} {source}
WHERE in_flight.message_pk = {id} AND in_flight.owner = :lease
  AND (in_flight.attempt_id IS NULL OR in_flight.attempt_id = {attempt})
  AND (SELECT m.status IN ('queued', 'retry') AND (m.expires_at IS NULL OR m.expires_at > {now})
       FROM messages m WHERE m.id = in_flight.message_pk)
  AND EXISTS (SELECT 1 FROM workers w WHERE w.id = :lease AND w.lease_until > {now} AND w.ended_at IS NULL)
  {unless}
RETURNING CAST(in_flight.attempt_id AS text) AS attempt_id
"""
# A join with the batch may read all rows in flight for each of its messages, by what the statistics say; an array is
# looked up by the key.
_OF_BATCH = {
    "sqlite": {"source": "FROM {rows}", "id": "p.id", "attempt": "p.attempt_id"},
    "postgresql": {
        "source": "",
        "id": "ANY(CAST(:rows_0 AS uuid[]))",
        "attempt": "(CAST(:rows_1 AS uuid[]))[array_position(CAST(:rows_0 AS uuid[]), in_flight.message_pk)]",
    },
}


def open_attempts(
    tx: Connection,
    openings: Sequence[Opening],
    *,
    lease: str,
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
    lock(tx, [*blocked])
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
    clear = [o for o in openings if o.message.id not in blocked]
    expired = expire_unposted(tx, [o.message.id for o in clear], lease=lease)
    # Last, as a transaction changes the rows of messages before those in flight.
    opened = _open(tx, clear, lease)
    rest = [o.message.id for o in clear if o.attempt_id not in opened]
    expired += expire_unposted(tx, rest, lease=lease)
    drop_ended(tx, lease, rest)
    return Opened(
        opened,
        expired,
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


_OPEN_ALREADY = "SELECT f.message_pk FROM {held} WHERE f.attempt_id = p.attempt_id"


def _open_already(tx: Connection, openings: Sequence[Opening]) -> list[str]:
    """Messages whose attempt an earlier COMMIT opened and whose answer was lost: they passed the check then."""
    if not openings:
        return []
    sql = _OPEN_ALREADY.format(held=held(tx, table(tx, _ATTEMPT)))
    return [str(id) for id in tx.execute(statement(sql), _attempt_rows(tx, openings)).scalars()]


def open_in_one_statement(
    tx: Connection,
    openings: Sequence[Opening],
    *,
    lease: str,
    account: str,
    caps: Mapping[str, Cap] = MappingProxyType({}),
) -> frozenset[str] | None:
    """``open_attempts`` as a single statement without a transaction: one round trip to PostgreSQL and not four.

    Returns the ids of the attempts that are open now; call ``open_attempts`` for the others. None says that a pause,
    cancellation, suppression or cap may concern one of the messages and that nothing was changed: ``open_attempts``
    for all. Not for SQLite, which has no UPDATE in WITH.
    """
    blockers, parameters = _blockers(tx, openings, account, caps)
    opened = _opening(tx, "AND NOT EXISTS (SELECT 1 FROM blockers)")
    sql = f"""WITH blockers AS MATERIALIZED ({blockers}), opened AS ({opened})
        SELECT attempt_id FROM opened UNION ALL SELECT NULL FROM blockers"""  # noqa: S608 - our own words
    found = list(
        tx.execute(statement(sql), parameters | _attempt_rows(tx, openings) | {"lease": lease}).scalars()
    )
    return None if None in found else frozenset(found)


def _open(tx: Connection, openings: Sequence[Opening], lease: str) -> frozenset[str]:
    """The ids of the attempts that are open now."""
    if not openings:
        return frozenset()
    rows = _attempt_rows(tx, openings) | {"lease": lease}
    return frozenset(tx.execute(statement(_opening(tx, "")), rows).scalars())


def _opening(tx: Connection, unless: str) -> str:
    of_batch = _OF_BATCH[tx.dialect.name]
    source = of_batch["source"].format(rows=table(tx, _ATTEMPT))
    return _OPEN.format(**of_batch | {"source": source}, now=now_sql(tx), unless=unless)


def _attempt_rows(tx: Connection, openings: Sequence[Opening]) -> dict[str, str]:
    """The parameters of a table of ``_ATTEMPT``."""
    return bound(tx, _ATTEMPT, [(o.message.id, o.attempt_id) for o in openings])


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
    WHERE m.id <> p.id AND m.kind = 'marketing'
      AND (m.status IN ({listed(SENT | {Status.UNKNOWN})}) AND m.sent_at > {{now}} - p.span_ms
           OR m.status IN ({listed(WAITING)}) AND {OPEN.format(message="m")})
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
