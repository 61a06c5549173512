"""What the audit asks, as data. How it is asked in one pass over the ledger: audit.py.

SQL that SQLite and PostgreSQL both speak. ``m`` is a message, ``c`` a campaign, ``t`` the message's attempts
brought to one row (``ATTEMPTS``; nulls where it has none), ``h`` the message's campaign.
"""

from __future__ import annotations

from dataclasses import dataclass

#: An outcome after which nothing can have reached the vendor's customer: the only ones to send again after.
_UNSENT = "('refused', 'not_sent', 'throttled')"
_TAKEN = "('accepted', 'delivered', 'read')"

#: A message's attempts in one row. {a} narrows to one campaign.
ATTEMPTS = f"""SELECT a.message_pk, count(*) AS n, min(a.n) AS first, max(a.n) AS last,
    count(*) - count(a.outcome) AS open,
    count(*) FILTER (WHERE a.outcome = 'accepted') AS accepted,
    count(*) FILTER (WHERE a.outcome = 'unknown') AS unknown,
    min(a.n) FILTER (WHERE a.outcome IS NULL OR a.outcome NOT IN {_UNSENT}) AS doubtful,
    max(a.started_at) AS newest
    FROM attempts a WHERE {{a}} GROUP BY a.message_pk"""  # noqa: S608 - our own words

#: Two attempts of which the second ought not to have been: the first may have got through.
_DOUBLED = f"""FROM attempts a JOIN attempts b ON b.message_pk = a.message_pk AND b.n = a.n + 1
    WHERE a.message_pk = m.id AND (a.outcome IS NULL OR a.outcome NOT IN {_UNSENT})
      -- Unknown when the next one was opened; the vendor's answer may have come to light since.
      AND NOT (h.on_unknown = 'resend' AND m.kind <> 'otp' AND (a.outcome = 'unknown' OR a.finished_at > b.started_at))
      AND NOT EXISTS (SELECT 1 FROM acts w WHERE w.scope = 'message' AND w.subject = CAST(m.id AS text)
                      AND w.act IN ('resolve as resend', 'resolve as failed')
                      AND w.at BETWEEN a.started_at AND b.started_at)"""  # noqa: S608

_OPEN = """FROM attempts a WHERE a.message_pk = m.id AND a.outcome IS NULL
    AND NOT (m.status = 'sending' AND m.attempt_id = a.id)"""


@dataclass(frozen=True, slots=True)
class OfMessages:
    """A rule that each message keeps or breaks by itself.

    ``concerns`` and ``breach`` are conditions on m, t and h, ``breach`` without ``concerns``; cheap parts first.
    ``told`` is what is said of an offender after its id. ``sums`` counts something else than messages as checked.
    """

    name: str
    promise: str
    concerns: str
    breach: str
    told: str = "''"
    sums: str | None = None


@dataclass(frozen=True, slots=True)
class OfCampaigns:
    """A rule about sums: one query for what was checked and one whose rows are the offenders.

    {c}, {m} narrow to one campaign; ``there`` is a campaign's messages by status: campaign_id, status, n.
    """

    name: str
    promise: str
    checked: str
    offenders: str


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
        "every message that intake counted is in the ledger",
        "SELECT COALESCE(sum(c.messages), 0) FROM campaigns c WHERE {c}",
        """SELECT CAST(c.id AS text) || ': ' || c.messages || ' counted, ' || COALESCE(t.n, 0) || ' there' AS offender
           FROM campaigns c
           LEFT JOIN (SELECT campaign_id, sum(n) AS n FROM {there} GROUP BY campaign_id) t ON t.campaign_id = c.id
           WHERE {c} AND c.messages <> COALESCE(t.n, 0)""",
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
    OfMessages(
        "one ending",
        "a message that ended says when, and one that has not ended does not",
        "1 = 1",
        "(m.ended_at IS NULL) <> (m.status IN ('queued', 'retry', 'claimed', 'sending'))",
        told="': ' || m.status || CASE WHEN m.ended_at IS NULL THEN ' without' ELSE ' with' END || ' an end'",
    ),
    OfMessages(
        "attempts numbered",
        "a message's attempts are numbered 1 to n without a gap, and the message counts them",
        "(m.attempts > 0 OR t.n > 0)",
        "(m.attempts <> COALESCE(t.n, 0) OR m.attempts <> COALESCE(t.last, 0) OR t.first < 1)",
        told="': counts ' || m.attempts || ', there are ' || COALESCE(t.n, 0)",
    ),
    OfMessages(
        "nothing doubled",
        "a message is POSTed again only after attempts that surely did not reach the vendor, or on request",
        "t.n > 1",
        f"(t.doubtful < t.last AND EXISTS (SELECT 1 {_DOUBLED}))",
        told=f"""(SELECT ': attempt ' || a.n || ' was ' || COALESCE(a.outcome, 'left open') || ' and another followed'
                  {_DOUBLED} ORDER BY a.n LIMIT 1)""",
    ),
    OfMessages(
        "attempts closed",
        "no attempt is open but the newest of a message being sent",
        "t.n > 0",
        f"(t.open > 0 AND EXISTS (SELECT 1 {_OPEN}))",
        told=f"(SELECT ': attempt ' || min(a.n) || ' is open, the message is ' || m.status {_OPEN})",
        sums="t.n",
    ),
    OfMessages(
        "acceptance kept",
        "an accepted message has its MessageId and the attempt that brought it, or a person's word",
        f"m.status IN {_TAKEN}",
        """((m.message_id IS NULL OR COALESCE(t.accepted, 0) = 0)
            AND NOT EXISTS (SELECT 1 FROM acts w WHERE w.scope = 'message' AND w.act = 'resolve as accepted'
                            AND w.subject = CAST(m.id AS text))
            AND NOT EXISTS (SELECT 1 FROM receipts r WHERE r.message_pk = m.id))""",
    ),
    OfMessages(
        "nothing rounded",
        "what the vendor took, or may have taken, is never said not to have been sent",
        "m.attempts > 0",
        """((t.unknown > 0 AND m.status IN ('expired', 'cancelled', 'suppressed'))
            OR (t.accepted > 0
                AND m.status IN ('queued', 'retry', 'claimed', 'failed', 'expired', 'cancelled', 'suppressed')
                AND NOT EXISTS (SELECT 1 FROM receipts r WHERE r.message_pk = m.id AND r.status = 'failed')))""",
        told="""': ' || m.status || ', but an attempt was '
                || CASE WHEN t.accepted > 0 THEN 'accepted' ELSE 'unknown' END""",
    ),
    OfCampaigns(
        "nothing forgotten",
        "no message waits in a campaign that has finished",
        "SELECT count(*) FROM campaigns c WHERE {c} AND c.status = 'finished'",
        """SELECT CAST(m.id AS text) || ': ' || m.status AS offender
           FROM campaigns c JOIN messages m ON m.campaign_id = c.id
           WHERE {c} AND c.status = 'finished' AND m.status IN ('queued', 'retry', 'claimed', 'sending')""",
    ),
    OfMessages(
        "never late",
        "no POST was opened after its message's time to live",
        "m.expires_at IS NOT NULL",
        "t.newest > m.expires_at",
        told="': ' || (t.newest - m.expires_at) || ' ms late'",
    ),
    OfMessages(
        "codes wiped",
        "no one-time code rests in the ledger after its message's ending",
        "m.kind = 'otp' AND m.ended_at IS NOT NULL",
        "m.payload IS NOT NULL",
    ),
    OfCampaigns(
        "nobody holds for ever",
        "what a lost worker held was rescued within a minute of its lease's end",
        "SELECT COALESCE(sum(n), 0) FROM {there} WHERE status IN ('claimed', 'sending')",
        """SELECT CAST(m.id AS text) || ': ' || m.status || ' under a lapsed lease' AS offender
           FROM messages m LEFT JOIN workers w ON w.id = m.owner
           WHERE {m} AND m.status IN ('claimed', 'sending')
             AND (w.id IS NULL OR w.lease_until < {now} - 60000)""",
    ),
)
