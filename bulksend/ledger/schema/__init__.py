"""The tables of the ledger. Alembic reads them; ``migrations/`` brings a database to them.

Instants are integers, milliseconds since the Unix epoch, by the database's clock where a decision hangs on
them: the same on SQLite and PostgreSQL, and free of time zones. Keys are UUIDv7, so they sort by time.
``message_id`` is always the vendor's MessageId; our own key of a message is ``messages.id``, and tables that
point to it call it ``message_pk``.
"""

from __future__ import annotations

from bulksend.ledger.schema.access import (
    READ_ACTS_SQL,
    acts,
    api_keys,
    idempotent_requests,
    receipt_tokens,
    sessions,
    users,
)
from bulksend.ledger.schema.audits import audits
from bulksend.ledger.schema.base import Id, Instant, installation, metadata
from bulksend.ledger.schema.campaigns import (
    campaign_counts,
    campaign_minutes,
    campaigns,
    plans,
    refusals,
    stats_daily,
    stats_hourly,
    stats_hourly_totals,
)
from bulksend.ledger.schema.events import events
from bulksend.ledger.schema.jobs import LIVE_UPLOADS_SQL, OPEN_JOBS_SQL, jobs, uploads
from bulksend.ledger.schema.messages import (
    EARLIER_ID_SQL,
    HELD_CODES_SQL,
    LATE_CODES_SQL,
    SCHEDULED_CODES_SQL,
    UNKNOWN_SQL,
    WAITING_CODES_SQL,
    WAITING_SQL,
    attempts,
    in_flight,
    messages,
    workers,
)
from bulksend.ledger.schema.receipts import (
    NOT_ACTED_SQL,
    inbound_messages,
    raw_receipts,
    receipts,
    unreadable_receipts,
)
from bulksend.ledger.schema.senders import (
    COUNTRIES_SQL,
    HASHED_SQL,
    accounts,
    consents,
    legal_holds,
    media,
    senders,
    suppressions,
    template_uses,
    templates,
)
from bulksend.ledger.schema.webhooks import webhook_deliveries, webhook_endpoints
