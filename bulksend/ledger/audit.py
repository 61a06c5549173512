"""Prove the promises from the ledger alone: nothing lost, nothing POSTed twice without a reason on record.

Each check is one query that yields offenders; no offender, no breach.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from bulksend.ledger.database import unhurried
from bulksend.ledger.rowsets import now_sql, statement


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule: how many cases were looked at, how many break it, and the first of those."""

    rule: str
    promise: str
    checked: int
    broken: int
    offenders: list[str]


@dataclass(frozen=True, slots=True)
class Report:
    """What the audit found. ``holds`` is the verdict."""

    findings: list[Finding]
    counts: dict[str, int]

    @property
    def holds(self) -> bool:
        """Whether every rule holds."""
        return not any(f.broken for f in self.findings)


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    promise: str
    checked: str
    offenders: str


# {m}, {c}, {a} narrow to one campaign, or to nothing. {now} is the database's clock.
_RULES = (
    _Rule(
        "conservation",
        "rows read = messages + duplicates + refusals, for each campaign",
        "SELECT count(*) FROM campaigns c WHERE {c}",
        """SELECT CAST(c.id AS text) || ': ' || c.rows_read || ' rows, ' || c.messages || ' messages, '
                  || c.duplicates || ' duplicates, ' || c.refused || ' refused' AS offender
           FROM campaigns c WHERE {c} AND c.rows_read <> c.messages + c.duplicates + c.refused""",
    ),
    _Rule(
        "nothing lost",
        "every message that intake counted is in the ledger",
        "SELECT COALESCE(sum(c.messages), 0) FROM campaigns c WHERE {c}",
        """SELECT CAST(c.id AS text) || ': ' || c.messages || ' counted, ' || COALESCE(t.n, 0) || ' there' AS offender
           FROM campaigns c
           LEFT JOIN (SELECT campaign_id, count(*) AS n FROM messages m WHERE {m} GROUP BY campaign_id) t
             ON t.campaign_id = c.id
           WHERE {c} AND c.messages <> COALESCE(t.n, 0)""",
    ),
    _Rule(
        "refusals explained",
        "every refused row is on record with its reason",
        "SELECT COALESCE(sum(c.refused), 0) FROM campaigns c WHERE {c}",
        """SELECT CAST(c.id AS text) || ': ' || c.refused || ' counted, ' || COALESCE(t.n, 0) || ' there' AS offender
           FROM campaigns c
           LEFT JOIN (SELECT campaign_id, count(*) AS n FROM refusals GROUP BY campaign_id) t
             ON t.campaign_id = c.id
           WHERE {c} AND c.refused <> COALESCE(t.n, 0)""",
    ),
    _Rule(
        "attempts numbered",
        "a message's attempts are numbered 1 to n without a gap, and the message counts them",
        "SELECT count(*) FROM messages m WHERE {m} AND m.attempts > 0",
        """SELECT CAST(m.id AS text) AS offender FROM messages m
           LEFT JOIN (SELECT message_pk, count(*) AS n, max(n) AS top FROM attempts a WHERE {a} GROUP BY message_pk) t
             ON t.message_pk = m.id
           WHERE {m} AND (m.attempts <> COALESCE(t.n, 0) OR m.attempts <> COALESCE(t.top, 0))""",
    ),
    _Rule(
        "nothing doubled",
        "a message is POSTed again only after attempts that surely did not reach the vendor, or on request",
        "SELECT count(*) FROM messages m WHERE {m} AND m.attempts > 1",
        """SELECT CAST(m.id AS text) || ': attempt ' || a.n || ' was ' || COALESCE(a.outcome, 'left open')
                  || ' and another followed' AS offender
           FROM messages m JOIN attempts a ON a.message_pk = m.id
           JOIN attempts b ON b.message_pk = m.id AND b.n = a.n + 1
           JOIN campaigns c ON c.id = m.campaign_id
           WHERE {m} AND m.attempts > 1
             AND (a.outcome IS NULL OR a.outcome NOT IN ('refused', 'not_sent', 'throttled'))
             -- Unknown when the next one was opened; the vendor's answer may have come to light since.
             AND NOT (c.on_unknown = 'resend' AND m.kind <> 'otp'
                      AND (a.outcome = 'unknown' OR a.finished_at > b.started_at))
             AND NOT EXISTS (SELECT 1 FROM acts t WHERE t.scope = 'message'
                             AND t.act IN ('resolve as resend', 'resolve as failed')
                             AND t.subject = CAST(m.id AS text) AND t.at BETWEEN a.started_at AND b.started_at)""",
    ),
    _Rule(
        "attempts closed",
        "no attempt is open but the newest of a message being sent",
        "SELECT count(*) FROM attempts a WHERE {a}",
        """SELECT CAST(m.id AS text) || ': attempt ' || a.n || ' is open, the message is ' || m.status AS offender
           FROM attempts a JOIN messages m ON m.id = a.message_pk
           WHERE {a} AND a.outcome IS NULL AND NOT (m.status = 'sending' AND m.attempt_id = a.id)""",
    ),
    _Rule(
        "acceptance kept",
        "an accepted message has its MessageId and the attempt that brought it, or a person's word",
        "SELECT count(*) FROM messages m WHERE {m} AND m.status IN ('accepted', 'delivered', 'read')",
        """SELECT CAST(m.id AS text) AS offender FROM messages m
           WHERE {m} AND m.status IN ('accepted', 'delivered', 'read')
             AND NOT (m.message_id IS NOT NULL AND EXISTS
                      (SELECT 1 FROM attempts a WHERE a.message_pk = m.id AND a.outcome = 'accepted'))
             AND NOT EXISTS (SELECT 1 FROM acts t WHERE t.scope = 'message' AND t.act = 'resolve as accepted'
                             AND t.subject = CAST(m.id AS text))
             AND NOT EXISTS (SELECT 1 FROM receipts r WHERE r.message_pk = m.id)""",
    ),
    _Rule(
        "nothing rounded",
        "what the vendor took, or may have taken, is never said not to have been sent",
        "SELECT count(*) FROM messages m WHERE {m} AND m.attempts > 0",
        """SELECT CAST(m.id AS text) || ': ' || m.status || ', but attempt ' || a.n || ' was ' || a.outcome AS offender
           FROM messages m JOIN attempts a ON a.message_pk = m.id
           WHERE {m} AND m.attempts > 0
             AND ((a.outcome = 'unknown' AND m.status IN ('expired', 'cancelled', 'suppressed'))
                  OR (a.outcome = 'accepted'
                      AND m.status IN ('queued', 'retry', 'claimed', 'failed', 'expired', 'cancelled', 'suppressed')
                      AND NOT EXISTS (SELECT 1 FROM receipts r
                                      WHERE r.message_pk = m.id AND r.status = 'failed')))""",
    ),
    _Rule(
        "nothing forgotten",
        "no message waits in a campaign that has finished",
        "SELECT count(*) FROM campaigns c WHERE {c} AND c.status = 'finished'",
        """SELECT CAST(m.id AS text) || ': ' || m.status AS offender
           FROM campaigns c JOIN messages m ON m.campaign_id = c.id
           WHERE {c} AND c.status = 'finished' AND m.status IN ('queued', 'retry', 'claimed', 'sending')""",
    ),
    _Rule(
        "never late",
        "no POST was opened after its message's time to live",
        "SELECT count(*) FROM messages m WHERE {m} AND m.expires_at IS NOT NULL",
        """SELECT CAST(m.id AS text) || ': ' || (a.started_at - m.expires_at) || ' ms late' AS offender
           FROM messages m JOIN attempts a ON a.message_pk = m.id
           WHERE {m} AND m.expires_at IS NOT NULL AND a.started_at > m.expires_at""",
    ),
    _Rule(
        "codes wiped",
        "no one-time code rests in the ledger after its message's ending",
        "SELECT count(*) FROM messages m WHERE {m} AND m.kind = 'otp' AND m.ended_at IS NOT NULL",
        """SELECT CAST(m.id AS text) AS offender FROM messages m
           WHERE {m} AND m.kind = 'otp' AND m.ended_at IS NOT NULL AND m.payload IS NOT NULL""",
    ),
    _Rule(
        "nobody holds for ever",
        "what a lost worker held was rescued within a minute of its lease's end",
        "SELECT count(*) FROM messages m WHERE {m} AND m.status IN ('claimed', 'sending')",
        """SELECT CAST(m.id AS text) || ': ' || m.status || ' under a lapsed lease' AS offender
           FROM messages m LEFT JOIN workers w ON w.id = m.owner
           WHERE {m} AND m.status IN ('claimed', 'sending')
             AND (w.id IS NULL OR w.lease_until < {now} - 60000)""",
    ),
)


def audit(tx: Connection, *, campaign_id: str | None = None, show: int = 20) -> Report:
    """Check every rule, for all campaigns or one; at most ``show`` offenders of each rule are named."""
    one = ":campaign" if tx.dialect.name == "sqlite" else "CAST(:campaign AS uuid)"
    words = (
        {"c": "1 = 1", "m": "1 = 1", "a": "1 = 1"}
        if campaign_id is None
        else {
            "c": f"c.id = {one}",
            "m": f"m.campaign_id = {one}",
            "a": f"a.message_pk IN (SELECT id FROM messages WHERE campaign_id = {one})",  # noqa: S608
        }
    ) | {"now": now_sql(tx)}
    parameters = {} if campaign_id is None else {"campaign": campaign_id}
    unhurried(tx)
    findings = []
    for rule in _RULES:
        checked = tx.execute(statement(rule.checked.format(**words)), parameters).scalar_one()
        offenders = list(
            tx.execute(
                statement(rule.offenders.format(**words) + f" LIMIT {int(show) + 1}"), parameters
            ).scalars()
        )
        broken = len(offenders)
        if broken > show:
            counting = f"SELECT count(*) FROM ({rule.offenders.format(**words)}) AS o"  # noqa: S608
            broken = tx.execute(statement(counting), parameters).scalar_one()
        findings.append(Finding(rule.name, rule.promise, int(checked), int(broken), offenders[:show]))
    return Report(findings, _counts(tx, words["m"], parameters))


def _counts(tx: Connection, narrowed: str, parameters: dict[str, str]) -> dict[str, int]:
    sql = f"SELECT m.status, count(*) FROM messages m WHERE {narrowed} GROUP BY m.status ORDER BY m.status"  # noqa: S608
    return {status: int(n) for status, n in tx.execute(statement(sql), parameters)}
