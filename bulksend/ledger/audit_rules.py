"""The rules of the audit, as data; audit.py checks them in few passes over the ledger.

The SQL is valid on SQLite and PostgreSQL. ``m`` is a message, ``h`` its campaign, ``a`` one of its attempts,
``c`` a campaign.
"""

from __future__ import annotations

from dataclasses import dataclass

from bulksend.ledger.endings import SAID_FAILED, UNDELIVERED, listed
from bulksend.messaging.states import UNSENT

#: Outcomes that say that nothing reached the vendor: only after these a message may be sent again.
_UNSENT = "('refused', 'not_sent', 'throttled')"
_TAKEN = "('accepted', 'delivered', 'read')"
_NOT_SENT = f"({listed(UNSENT)})"
_MOVING = "('queued', 'retry')"
_NOT_DELETED = "('queued', 'retry', 'unknown')"

#: An attempt that may have reached the vendor, followed by another one without a right to it.
_DOUBLED = f"""FROM attempts a JOIN attempts b ON b.message_pk = a.message_pk AND b.n = a.n + 1
    WHERE a.message_pk = m.id AND (a.outcome IS NULL OR a.outcome NOT IN {_UNSENT})
      -- Unknown when the next one was opened; the vendor's answer may have arrived since, or in that millisecond.
      AND NOT (h.on_unknown = 'resend' AND m.kind <> 'otp' AND (a.outcome = 'unknown' OR a.finished_at >= b.started_at))
      AND NOT EXISTS (SELECT 1 FROM acts w WHERE w.scope = 'message' AND w.subject = CAST(m.id AS text)
                      AND w.act IN ('resolve as resend', 'resolve as failed')
                      AND w.at BETWEEN a.started_at AND b.started_at)"""

_OPEN = "FROM attempts a WHERE a.message_pk = m.id AND a.outcome IS NULL"

_ROUNDED = f"""FROM attempts a WHERE a.message_pk = m.id
    AND ((a.outcome = 'unknown' AND m.status IN {_NOT_SENT}
          AND NOT {SAID_FAILED.format(attempt="a")} AND NOT {UNDELIVERED.format(attempt="a")})
         OR (a.outcome = 'accepted' AND (m.status IN {_MOVING} OR m.status IN {_NOT_SENT})
             AND NOT EXISTS (SELECT 1 FROM receipts r WHERE r.message_pk = m.id AND r.status = 'failed'))
         -- What the vendor took and could not deliver has failed, whatever kept it from being sent again.
         OR (m.status IN {_NOT_SENT} AND m.status <> 'failed' AND {UNDELIVERED.format(attempt="a")}))"""


#: A campaign that was continued has other rows as well.
_PLANNED = """plans p JOIN campaigns c ON c.id = p.campaign_id
    WHERE {c} AND c.source_hash = p.source_hash AND c.intake_done_at IS NOT NULL"""
_ENDED_AT_DIFFERS = f"((m.ended_at IS NULL) <> (m.status IN {_MOVING}))"
_ENDED_CODE = "(m.kind = 'otp' AND m.ended_at IS NOT NULL)"
_LEFT_BEHIND = f"({_ENDED_CODE} AND m.payload IS NOT NULL)"
#: ``erasure.py`` leaves no number and no content, and ends what waited.
_FORGOTTEN = "m.recipient = ''"
_NOT_FORGOTTEN = f"({_FORGOTTEN} AND (m.payload IS NOT NULL OR m.status IN {_MOVING}))"
#: Since when nothing of a campaign may be sent. A pause that takes some seconds to commit is not known before that.
_STOPPED = "CASE c.status WHEN 'paused' THEN c.paused_at WHEN 'cancelled' THEN c.ended_at END + 10000"
_IN_FLIGHT = """FROM in_flight f JOIN messages m ON m.id = f.message_pk LEFT JOIN workers w ON w.id = f.owner
    WHERE {m}"""
_NEWEST_POST = "(SELECT max(a.started_at) FROM attempts a WHERE a.message_pk = m.id)"


@dataclass(frozen=True, slots=True)
class OfMessages:
    """A rule about single messages.

    ``concerns``: the messages it is about, by columns of m. ``suspect``: true for each message that breaks it and for
    few others, by columns of m and of one of its attempts (nulls if it has none), without a subquery. ``breach``: true
    exactly where it is broken, by m and h. ``told``: the text after the id of an offender. ``each``: what a checked
    message counts.
    """

    name: str
    promise: str
    concerns: str
    suspect: str
    breach: str
    told: str = "''"
    each: str = "1"


@dataclass(frozen=True, slots=True)
class OfCampaigns:
    """A rule about sums: a query for the number of checked cases, and one whose rows are the offenders.

    {c} and {m} restrict to one campaign; {there} is a campaign's messages by status: campaign_id, status, n, attempts.
    """

    name: str
    promise: str
    checked: str
    offenders: str


NUMBERED = OfMessages(
    # No gap: none has a number above m.attempts here, and in all there are as many as messages count (audit.py).
    "attempts numbered",
    "a message's attempts are numbered 1 to n without a gap, and the message counts them",
    concerns="m.attempts > 0",
    suspect="a.n < 1 OR a.n > m.attempts OR (a.n IS NULL AND m.attempts > 0)",
    breach="""(m.attempts <> (SELECT count(*) FROM attempts a WHERE a.message_pk = m.id)
               OR EXISTS (SELECT 1 FROM attempts a WHERE a.message_pk = m.id AND (a.n < 1 OR a.n > m.attempts)))""",
    told="': counts ' || m.attempts || ', there are '"
    " || (SELECT count(*) || ', the last is number ' || COALESCE(max(a.n), 0) FROM attempts a"
    " WHERE a.message_pk = m.id)",
)

RULES: tuple[OfCampaigns | OfMessages, ...] = (
    OfCampaigns(
        "conservation",
        "rows read = messages + duplicates + refusals, for each campaign",
        "SELECT count(*) FROM campaigns c WHERE {c}",
        """SELECT CAST(c.id AS text) || ': ' || c.rows_read || ' rows, ' || c.messages || ' messages, '
                  || c.duplicates || ' duplicates, ' || c.refused || ' refused' AS offender
           FROM campaigns c WHERE {c} AND c.rows_read <> c.messages + c.duplicates + c.refused""",
    ),
    OfCampaigns(
        "nothing lost",
        "every message that intake counted is in the ledger, or was deleted by its age",
        "SELECT COALESCE(sum(c.messages), 0) FROM campaigns c WHERE {c}",
        """SELECT CAST(c.id AS text) || ': ' || c.messages || ' counted, ' || COALESCE(t.n, 0) || ' there, '
                  || COALESCE(d.n, 0) || ' deleted' AS offender
           FROM campaigns c
           LEFT JOIN (SELECT campaign_id, sum(n) AS n FROM {there} GROUP BY campaign_id) t ON t.campaign_id = c.id
           LEFT JOIN (SELECT campaign_id, sum(messages) AS n FROM campaign_counts WHERE part = -1
                      GROUP BY campaign_id) d ON d.campaign_id = c.id
           WHERE {c} AND c.messages <> COALESCE(t.n, 0) + COALESCE(d.n, 0)""",
    ),
    OfCampaigns(
        "counts kept",
        "the counters of a campaign equal its messages in each status",
        "SELECT COALESCE(sum(n), 0) FROM {there}",
        """SELECT CAST(x.campaign_id AS text) || ': ' || x.status || ' ' || x.messages || ' counted and ' || x.n
                  || ' there, POSTs ' || x.posts || ' and ' || x.attempts AS offender
           FROM (SELECT u.campaign_id, u.status, sum(u.messages) AS messages, sum(u.posts) AS posts, sum(u.n) AS n,
                        sum(u.attempts) AS attempts
                 FROM (SELECT k.campaign_id, k.status, k.messages, k.attempts AS posts, 0 AS n, 0 AS attempts
                       FROM campaign_counts k JOIN campaigns c ON c.id = k.campaign_id WHERE {c} AND k.part >= 0
                       UNION ALL SELECT campaign_id, status, 0, 0, n, attempts FROM {there}) u
                 GROUP BY u.campaign_id, u.status) x
           WHERE x.messages <> x.n OR x.posts <> x.attempts""",
    ),
    OfCampaigns(
        "only ended deleted",
        "a message is deleted by its age only after it has ended, and never while it is unknown",
        "SELECT COALESCE(sum(k.messages), 0) FROM campaign_counts k JOIN campaigns c ON c.id = k.campaign_id"
        " WHERE {c} AND k.part = -1",
        f"""SELECT CAST(c.id AS text) || ': ' || k.messages || ' ' || k.status || ' deleted' AS offender
            FROM campaign_counts k JOIN campaigns c ON c.id = k.campaign_id
            WHERE {{c}} AND k.part = -1 AND k.messages <> 0 AND k.status IN {_NOT_DELETED}""",
    ),
    OfCampaigns(
        "refusals explained",
        "every refused row is on record with its reason",
        "SELECT COALESCE(sum(c.refused), 0) FROM campaigns c WHERE {c}",
        """SELECT CAST(c.id AS text) || ': ' || c.refused || ' counted, ' || COALESCE(t.n, 0) || ' there' AS offender
           FROM campaigns c
           LEFT JOIN (SELECT campaign_id, count(*) AS n FROM refusals GROUP BY campaign_id) t
             ON t.campaign_id = c.id
           WHERE {c} AND c.refused <> COALESCE(t.n, 0)""",
    ),
    OfCampaigns(
        "plans kept",
        "a campaign that a plan became has the plan's rows, and no message more than the plan said",
        f"SELECT count(*) FROM {_PLANNED}",
        f"""SELECT CAST(c.id AS text) || ': ' || c.rows_read || ' rows and ' || c.messages || ' messages, the plan: '
                   || p.rows_planned || ' and ' || p.messages_planned AS offender
            FROM {_PLANNED} AND (c.rows_read <> p.rows_planned OR c.messages > p.messages_planned)""",
    ),
    OfMessages(
        "one ending",
        "a message has an end time exactly if it has ended",
        concerns="1 = 1",
        suspect=_ENDED_AT_DIFFERS,
        breach=_ENDED_AT_DIFFERS,
        told="': ' || m.status || CASE WHEN m.ended_at IS NULL THEN ' without' ELSE ' with' END || ' an end'",
    ),
    NUMBERED,
    OfMessages(
        "nothing doubled",
        "a message is POSTed again only after attempts that surely did not reach the vendor, or on request",
        concerns="m.attempts > 1",
        suspect=f"a.n < m.attempts AND (a.outcome IS NULL OR a.outcome NOT IN {_UNSENT})",
        breach=f"EXISTS (SELECT 1 {_DOUBLED})",
        told=f"""(SELECT ': attempt ' || a.n || ' was ' || COALESCE(a.outcome, 'left open') || ' and another followed'
                  {_DOUBLED} ORDER BY a.n LIMIT 1)""",
    ),
    OfMessages(
        "attempts closed",
        "an attempt on record has its outcome; one that is open is in flight",
        concerns="m.attempts > 0",
        suspect="a.n > 0 AND a.outcome IS NULL",
        breach=f"EXISTS (SELECT 1 {_OPEN})",
        told=f"(SELECT ': attempt ' || min(a.n) || ' is open, the message is ' || m.status {_OPEN})",
        each="m.attempts",
    ),
    OfMessages(
        "acceptance kept",
        "an accepted message has its MessageId and the attempt that brought it, or a person's word",
        concerns=f"m.status IN {_TAKEN}",
        suspect=f"""m.status IN {_TAKEN} AND (m.message_id IS NULL OR a.n IS NULL
                    OR (a.n = m.attempts AND (a.outcome IS NULL OR a.outcome <> 'accepted')))""",
        breach=f"""(m.status IN {_TAKEN}
            AND (m.message_id IS NULL
                 OR NOT EXISTS (SELECT 1 FROM attempts a WHERE a.message_pk = m.id AND a.outcome = 'accepted'))
            AND NOT EXISTS (SELECT 1 FROM acts w WHERE w.scope = 'message' AND w.act = 'resolve as accepted'
                            AND w.subject = CAST(m.id AS text))
            AND NOT EXISTS (SELECT 1 FROM receipts r WHERE r.message_pk = m.id))""",
        told="': ' || m.status || ', without evidence on record'",
    ),
    OfMessages(
        "nothing rounded",
        "a message that the vendor took, or may have taken, is never reported as not sent",
        concerns="m.attempts > 0",
        suspect=f"""((a.outcome IN ('unknown', 'accepted') OR a.message_id IS NOT NULL) AND m.status IN {_NOT_SENT})
            OR (a.outcome = 'accepted' AND m.status IN {_MOVING})""",
        breach=f"EXISTS (SELECT 1 {_ROUNDED})",
        told=f"(SELECT ': ' || m.status || ', but attempt ' || min(a.n) || ' was ' || min(a.outcome) {_ROUNDED})",
    ),
    OfCampaigns(
        "nothing forgotten",
        "no message waits in a campaign that has finished",
        "SELECT count(*) FROM campaigns c WHERE {c} AND c.status = 'finished'",
        f"""SELECT CAST(m.id AS text) || ': ' || m.status AS offender
           FROM campaigns c JOIN messages m ON m.campaign_id = c.id
           WHERE {{c}} AND c.status = 'finished' AND m.status IN {_MOVING}""",
    ),
    OfMessages(
        "never late",
        "no POST began after its message's time to live",
        concerns="m.expires_at IS NOT NULL",
        suspect="a.started_at > m.expires_at",
        breach=f"m.expires_at < {_NEWEST_POST}",
        told=f"': ' || ({_NEWEST_POST} - m.expires_at) || ' ms late'",
    ),
    OfCampaigns(
        "canary first",
        "until a canary has passed, no other message of its campaign is POSTed",
        "SELECT count(*) FROM campaigns c WHERE {c} AND c.held_after IS NOT NULL",
        """SELECT CAST(m.id AS text) || ': POSTed, and the canary is ' || c.canary_state AS offender
           FROM campaigns c JOIN messages m ON m.campaign_id = c.id
           WHERE {c} AND c.held_after IS NOT NULL AND m.id > c.held_after AND m.attempts > 0
             -- The attempts that a restore supposes are none of before the backup.
             AND EXISTS (SELECT 1 FROM attempts a WHERE a.message_pk = m.id AND a.worker <> 'restored')""",
    ),
    OfCampaigns(
        "pauses kept",
        "of a campaign that is paused or cancelled no POST begins more than some seconds afterwards",
        "SELECT count(*) FROM campaigns c WHERE {c} AND c.status IN ('paused', 'cancelled')",
        f"""SELECT CAST(m.id AS text) || ': POSTed ' || (m.sent_at - ({_STOPPED}) + 10000) || ' ms after it was '
                   || c.status AS offender
            FROM campaigns c JOIN messages m ON m.campaign_id = c.id
            WHERE {{c}} AND c.status IN ('paused', 'cancelled') AND m.sent_at > {_STOPPED}
              AND EXISTS (SELECT 1 FROM attempts a WHERE a.message_pk = m.id AND a.started_at > {_STOPPED}
                          AND a.worker <> 'restored')""",
    ),
    OfMessages(
        "codes wiped",
        "no one-time code stays in the ledger after its message has ended",
        concerns=_ENDED_CODE,
        suspect=_LEFT_BEHIND,
        breach=_LEFT_BEHIND,
    ),
    OfMessages(
        "persons forgotten",
        "of a person who was forgotten no content is left, and nothing waits to be sent",
        concerns=_FORGOTTEN,
        suspect=_NOT_FORGOTTEN,
        breach=_NOT_FORGOTTEN,
        told="': ' || m.status || CASE WHEN m.payload IS NULL THEN '' ELSE ', with its content' END",
    ),
    OfMessages(
        "superseded by a newer",
        "a superseded code has a newer one for the same purpose that was POSTed, or had until that was deleted by age",
        concerns="m.status = 'superseded'",
        suspect="m.status = 'superseded'",
        # The newer one may be deleted by its age before: it has ended first, and is not under the same legal hold.
        breach="""(m.status = 'superseded' AND (m.superseded_by IS NULL
            OR EXISTS (SELECT 1 FROM messages g WHERE g.id = m.superseded_by))
            AND NOT EXISTS (SELECT 1 FROM messages n WHERE n.id = m.superseded_by
            AND COALESCE(n.first_due_at, n.queued_at) >= COALESCE(m.first_due_at, m.queued_at) AND n.id <> m.id
            AND n.kind = 'otp' AND m.kind = 'otp' AND n.attempts > 0
            AND COALESCE(n.purpose, n.sender) = COALESCE(m.purpose, m.sender)))""",
        told="': no newer code was sent in its place'",
    ),
    OfCampaigns(
        "lapsed leases rescued",
        "messages of a lost worker are rescued within a minute after its lease ends",
        f"SELECT count(*) {_IN_FLIGHT}",
        f"""SELECT CAST(m.id AS text) || ': ' || CASE WHEN f.attempt_id IS NULL THEN 'claimed' ELSE 'sending' END
                   || ' under a lapsed lease' AS offender
            {_IN_FLIGHT} AND (w.id IS NULL OR w.lease_until < {{now}} - 60000)""",
    ),
)
