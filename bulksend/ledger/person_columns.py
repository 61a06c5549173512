"""What each column of the ledger may hold about a person. ``erasure.py`` follows it; a test misses new columns here."""

from __future__ import annotations

from enum import StrEnum


class Holds(StrEnum):
    """What a column may hold about a person, and so what becomes of it when the person is forgotten."""

    NOTHING = "ids of ours, times, counts, words of ours, what belongs to the business; kept"
    NUMBER = "the person's number; emptied, or hashed where it must go on to work"
    KEY = "a key that a program chose or that is the number; replaced by a word and the row's id"
    CONTENT = "variables, content, what the person wrote; emptied in the person's rows"
    VENDOR_ID = "an id of the vendor, which may have the number in it; replaced by a keyed hash where it has"
    SAID = "what the vendor or a worker said of a message; emptied in the person's rows"
    TEXT = "words or JSON of people and programs; the number is masked in them wherever it stands"


def _table(**columns: str) -> dict[str, Holds]:
    return {name: Holds[holds] for holds, names in columns.items() for name in names.split()}


_SUMS = (
    "accepted delivered read failed unknown expired suppressed cancelled superseded attempts answered latency_ms "
    "delivery_timed delivery_ms"
)
COLUMNS: dict[str, dict[str, Holds]] = {
    "messages": _table(
        NUMBER="recipient",
        KEY="key",
        CONTENT="payload fingerprint",
        VENDOR_ID="message_id request_id",
        SAID="error",
        NOTHING="id campaign_id row kind sender type status due_at expires_at attempt_id attempts tries waits "
        "strikes gate gate_until ret_code purpose first_due_at superseded_by queued_at sent_at accepted_at "
        "delivered_at read_at ended_at undelivered_at",
    ),
    "in_flight": _table(NOTHING="message_pk owner attempt_id started_at"),
    "attempts": _table(
        VENDOR_ID="message_id request_id",
        SAID="vendor_message error",
        NOTHING="id message_pk n owner worker sender started_at finished_at outcome http_status ret_code "
        "whatsapp_code latency_ms bytes_sent reply_began",
    ),
    "receipts": _table(
        VENDOR_ID="message_id aliases",
        SAID="why",
        NOTHING="id message_pk status at received_at code acted_at",
    ),
    "inbound_messages": _table(
        NUMBER="recipient",
        CONTENT="body",
        VENDOR_ID="inbound_id",
        NOTHING="id received_at at sender type keyword message_pk campaign_id",
    ),
    # The callbacks in it that have the number are emptied.
    "raw_receipts": _table(CONTENT="data", NOTHING="id received_at bodies read_at"),
    "unreadable_receipts": _table(TEXT="why", NOTHING="id raw_id n received_at"),
    "suppressions": _table(NUMBER="subject", TEXT="reason source", NOTHING="scope added_at until"),
    "consents": _table(NUMBER="subject", TEXT="source", NOTHING="at campaign_id recorded_at"),
    # The subject of an act on a suppression is a number.
    "acts": _table(NUMBER="subject", TEXT="why before after", NOTHING="id at actor act scope ip request_id"),
    "legal_holds": _table(NUMBER="subject", TEXT="why", NOTHING="id scope placed_by placed_at"),
    "refusals": _table(TEXT="field value why", NOTHING="id campaign_id row"),
    "campaigns": _table(
        KEY="key",
        TEXT="name content source_name pause_why",
        NOTHING="id kind status sender type source_hash due_at ttl_ms rate on_unknown created_at created_by "
        "intake_done_at paused_at ended_at rows_read messages duplicates suppressed refused timezone moved_from "
        "exclusions local_time canary canary_state held_after max_failed weight "
        "retry_until retry_after",
    ),
    # Samples are rendered messages. Those of all plans are deleted, as they only show how a message looks.
    "plans": _table(
        CONTENT="samples",
        KEY="campaign_key",
        TEXT="facts outlook options file ended_why",
        NOTHING="id hash source_hash posted rows_planned messages_planned request_key created_at created_by expires_at "
        "campaign_id applied_at applied_by",
    ),
    "campaign_counts": _table(NOTHING="campaign_id status part messages attempts"),
    "campaign_minutes": _table(NOTHING="campaign_id minute statuses attempts"),
    "stats_hourly": _table(NOTHING=f"hour kind sender country code {_SUMS}"),
    "stats_daily": _table(NOTHING=f"day kind sender country code {_SUMS}"),
    "stats_hourly_totals": _table(NOTHING=f"hour kind sender {_SUMS}"),
    "events": _table(TEXT="data", NOTHING="id seq count type at campaign_id items"),
    "webhook_endpoints": _table(
        NOTHING="id url sealed events numbers status status_why cursor created_at created_by old_secret_until "
        "failing_since succeeded_at"
    ),
    # What it says of the person's messages is masked.
    "webhook_deliveries": _table(
        CONTENT="body",
        NOTHING="id endpoint_id type first_seq last_seq status attempts next_at created_at tried_at http_status error "
        "latency_ms ended_at earlier_tries",
    ),
    "idempotent_requests": _table(TEXT="answer location", NOTHING="id fingerprint owner at status"),
    "uploads": _table(
        KEY="campaign_key",
        TEXT="options file error report",
        NOTHING="id campaign_id state source_hash sha256 bytes created_at created_by owner lease_until failures "
        "error_code ended_at",
    ),
    "jobs": _table(
        TEXT="arguments result error",
        NOTHING="id kind status rows_done rows_total requested_by actor created_at ended_at expires_at owner "
        "lease_until runs",
    ),
    # Offenders are ids of ours and counts.
    "audits": _table(NOTHING="id campaign_id ended_at took_ms actor broken counts findings"),
    "senders": _table(
        NOTHING="phone name rate quota added_at paused_at pause_why status quality tier changed_at"
    ),
    "accounts": _table(NOTHING="id paused_at pause_why"),
    "templates": _table(
        NOTHING="name language status status_at category category_at quality quality_at rejected_reason changed_at "
        "shape shape_at synced_at"
    ),
    "template_uses": _table(NOTHING="sender name used_at"),
    "media": _table(
        TEXT="name", NOTHING="id sender sha256 media_id type mime bytes uploaded_at expires_at created_by"
    ),
    "api_keys": _table(
        NOTHING="id name hash role kinds senders created_at created_by expires_at revoked_at last_used_at last_ip"
    ),
    "users": _table(
        NOTHING="name role password_hash setup_hash setup_expires_at created_at created_by disabled_at failures "
        "locked_until signed_in_at kinds senders link_hash link_expires_at issuer subject"
    ),
    "sessions": _table(NOTHING="hash user_name created_at seen_at expires_at ip"),
    "receipt_tokens": _table(NOTHING="id name hash ips created_at created_by revoked_at"),
    "workers": _table(NOTHING="id name started_at lease_until ended_at"),
    "installation": _table(NOTHING="name value"),
}


def columns_with(*held: Holds) -> list[tuple[str, str]]:
    """Tables and columns that may hold one of these."""
    return [(table, name) for table, of in COLUMNS.items() for name, holds in of.items() if holds in held]
