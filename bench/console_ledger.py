"""A ledger with one large installation's rows in every table that a page of the console reads, for bench/pages.py.

    python -m bench.console_ledger URL [--messages 10000000]

Half of the messages are of one campaign that has sent for 16 hours and goes on; a tenth are single codes of ten days,
a twentieth other single messages; the rest are of three campaigns, one of them cancelled, and of small ones over 90
days. Beside them attempts, receipts and events as in bench/large_ledger.py; replies, acts, refused rows and webhook
deliveries, one for a hundred messages each; suppressions and consents, one for ten; the roll-up of 92 days, minutes,
templates, files, keys and users. PostgreSQL gets no ANALYZE: who measures with one asks for it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, text, update

from bench.large_ledger import analyze, put, put_campaign, without_indexes
from bulksend.ledger import counters, installation
from bulksend.ledger.database import Database, set_statement_timeout
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.event_numbers import number_committed
from bulksend.ledger.ids import new_id
from bulksend.ledger.migrate import migrate
from bulksend.ledger.schema import campaigns, events, media, refusals, senders, workers
from bulksend.ledger.schema import templates as templates_table
from bulksend.ledger.stats import MEASURES
from bulksend.messaging.exclusions import Cap, Exclusions
from bulksend.messaging.template_shape import read_shape
from bulksend.operations import api_keys, receipt_tokens, users, webhooks
from bulksend.operations.access import Role

DAY_MS = 86_400_000
SENDERS = ("8615000579987", "447700900001", "15550100100")
SMALL, OF_SMALL = 300, 100
#: Of everything that is made by the person: keys, users, tokens, templates, files, endpoints.
MADE = {"keys": 100, "users": 100, "tokens": 20, "templates": 300, "media": 300, "webhooks": 5}
TEMPLATE = "spring"
_CONTENT = json.dumps(
    {
        "name": TEMPLATE,
        "language": {"code": "en", "policy": "deterministic"},
        "components": [
            {
                "type": "body",
                "parameters": [{"type": "text", "text": "{{name}}"}, {"type": "text", "text": "{{code}}"}],
            }
        ],
    }
)
_EXCLUSIONS = Exclusions(cap=Cap(2, 7 * DAY_MS)).to_json()
#: Statuses beside those of every large ledger.
_MORE = {
    "suppressed": "{fate} BETWEEN 380 AND 389",
    "read": "{fate} BETWEEN 700 AND 899",
}


@dataclass(frozen=True, slots=True)
class Made:
    """What pages are asked about."""

    large: str
    cancelled: str
    codes: str


def make(database: Database, many: int, cipher: Cipher) -> Made:
    """Fill an empty ledger."""
    with without_indexes(database):
        made = _campaigns(database, many)
    with database.write() as tx:
        set_statement_timeout(tx, 0)
        _others(tx, many, made.large)
        _people_made(tx)
        counters.merge_parts(tx)
    for n in range(MADE["webhooks"]):
        webhooks.add(database, cipher, f"https://hooks.example.com/{n}", allowed=(), actor="bench")
    for n in range(MADE["users"]):
        users.add_user(database, name=f"ann-{n}", role=Role.VIEWER, actor="bench")
    with database.write() as tx:
        set_statement_timeout(tx, 0)
        _deliveries(tx, max(1, many // 100))
    with database.write() as tx:
        set_statement_timeout(tx, 0)
        while number_committed(tx):
            pass
        # All of it is counted: the hours were put in.
        newest = select(func.max(events.c.id if database.is_sqlite else events.c.seq))
        installation.put(tx, "stats_events", str(tx.execute(newest).scalar_one()).encode())
        installation.put(tx, "stats_attempts", str(_now_ms()).encode())
    return made


def _campaigns(database: Database, many: int) -> Made:
    large, codes, single = many // 2, many // 10, many // 20
    small = min(SMALL, many // 10 // OF_SMALL)
    middle = (many - large - codes - single - small * OF_SMALL) // 3
    first = 0
    known = {"kind": "marketing", "type": "template", "content": _CONTENT, "exclusions": _EXCLUSIONS}
    direct = {"sender": "", "type": "", "content": "", "status": "running"}

    def campaign(size: int, days: float, span_days: float, **columns: object) -> str:
        nonlocal first
        newest = bool(columns.pop("newest", False))
        with database.write() as tx:
            set_statement_timeout(tx, 0)
            id = put_campaign(
                tx,
                first,
                size,
                newest=newest,
                age_days=days,
                span_ms=int(span_days * DAY_MS),
                waiting=min(50_000, size // 20),
                in_flight=min(2_000, size // 500),
                more=_MORE,
                **columns,
            )
            if not newest:
                ended = {"ended_at": _now_ms(), "lease_until": _now_ms()}
                tx.execute(update(workers).where(workers.c.ended_at.is_(None)).values(**ended))
        first += size
        return id

    for n in range(small):
        age = 90 - n * 89 / small
        campaign(OF_SMALL, age, 0.01, name=f"small {n}", sender=SENDERS[n % 3], ended_at=_ago(age), **known)
    for n, status in enumerate(("finished", "finished", "cancelled")):
        age = 30.0 - n * 9
        named = {"name": f"middle {n}", "sender": SENDERS[n], "status": status, "ended_at": _ago(age - 1)}
        cancelled = campaign(middle, age, 1, **named, **known)
    campaign(single, 60, 60, key="direct:utility", name="direct:utility", kind="utility", **direct)
    of_codes = campaign(codes, 10, 10, key="direct:otp", name="direct:otp", kind="otp", **direct)
    of_large = campaign(large, 16 / 24, 16 / 24, newest=True, name="spring sale", sender=SENDERS[0], **known)
    with database.write() as tx:
        for phone in SENDERS:
            row = {"phone": phone, "name": f"shop {phone[-3:]}", "rate": 80.0, "added_at": _ago(91)}
            tx.execute(senders.insert(), row)
    return Made(of_large, cancelled, of_codes)


def _now_ms() -> int:
    return int(time.time() * 1000)


def _ago(days: float) -> int:
    return _now_ms() - int(days * DAY_MS)


# -- rows beside the messages ------------------------------------------------------------------------

_ACTS = """
    INSERT INTO acts (id, at, actor, act, scope, subject, why, ip, request_id, before, after)
    SELECT {id}, {at}, CASE WHEN s.n % 3 = 0 THEN 'ann-1 (user)' ELSE 'key k1 (shop)' END,
        CASE WHEN s.n % 4 = 0 THEN 'find messages' WHEN s.n % 4 = 1 THEN 'pause' ELSE 'set' END,
        CASE WHEN s.n % 4 = 0 THEN 'read' WHEN s.n % 400 = 1 THEN 'campaign' WHEN s.n % 4 = 1 THEN 'sender'
             ELSE 'user' END,
        CASE WHEN s.n % 4 = 0 THEN '' WHEN s.n % 400 = 1 THEN CAST(:text AS text) WHEN s.n % 4 = 1
             THEN CAST(:sender AS text) ELSE 'ann-1' END,
        'as it was asked', '127.0.0.1', 'r-1', '{{"rate": 80}}', '{{"rate": 40}}'
    FROM {series}"""
_REFUSALS = """
    INSERT INTO refusals (campaign_id, row, field, value, why)
    SELECT {campaign}, s.n * 100, 'to', '+4477***', 'is no number' FROM {series}"""
_SUPPRESSIONS = """
    INSERT INTO suppressions (subject, scope, reason, source, added_at, until)
    SELECT CAST(447300000000 + s.n AS text), CASE WHEN s.n % 3 = 0 THEN 'all' ELSE 'marketing' END, 'asked',
        'import', {at}, CASE WHEN s.n % 10 = 0 THEN {at} + 86400000 END
    FROM {series}"""
_CONSENTS = """
    INSERT INTO consents (subject, at, source, campaign_id, recorded_at)
    SELECT CAST(447300000000 + s.n AS text), {at}, 'the form of the shop', {campaign}, {at} FROM {series}"""
_REPLIES = """
    INSERT INTO inbound_messages (id, received_at, at, inbound_id, sender, recipient, type, body, keyword, campaign_id)
    SELECT {id}, {at}, {at}, 'in-' || CAST(s.n AS text), {sender}, CAST(447700000000 + s.n * 10 AS text), 'text',
        :payload, CASE WHEN s.n % 10 = 0 THEN 'stop' END, CASE WHEN s.n % 2 = 0 THEN {campaign} END
    FROM {series}"""
_RAW = """
    INSERT INTO raw_receipts (id, received_at, bodies, data, read_at)
    SELECT {id}, {at}, 20, :payload, {at} FROM {series}"""
_UPLOADS = """
    INSERT INTO uploads (id, campaign_id, state, options, campaign_key, source_hash, file, sha256, bytes, created_at,
        created_by, failures, ended_at)
    SELECT {id}, {campaign}, 'done', '{{}}', 'k', 'h', 'list.csv', 'h', 1000000, {at}, 'bench', 0, {at} FROM {series}"""
_MINUTES = """
    INSERT INTO campaign_minutes (campaign_id, minute, statuses, attempts)
    SELECT {campaign}, {at} - {at} % 60000, '{{"accepted": ' || CAST(s.n * 1200 AS text) || ', "delivered": '
        || CAST(s.n * 3500 AS text) || ', "failed": ' || CAST(s.n * 90 AS text) || '}}', s.n * 4800
    FROM {series}"""
_HOURS = """
    INSERT INTO stats_hourly (hour, kind, sender, country, code, accepted, delivered, read, failed, unknown, expired,
        suppressed, cancelled, superseded, attempts, answered, latency_ms, delivery_timed, delivery_ms)
    SELECT {at} - {at} % 3600000, k.kind, d.sender, c.country, f.code, 900, 700, 300, CASE WHEN f.code = '' THEN 0
        ELSE 20 END, 1, 2, 3, 0, 0, 1000, 990, 178200, 700, 1260000
    FROM {series}, (SELECT 'marketing' AS kind UNION ALL SELECT 'otp') AS k,
        (SELECT phone AS sender FROM senders) AS d,
        (SELECT 'GB' AS country UNION ALL SELECT 'CN' UNION ALL SELECT 'US' UNION ALL SELECT 'DE' UNION ALL SELECT 'BR'
         UNION ALL SELECT 'IN' UNION ALL SELECT 'ID' UNION ALL SELECT 'MX') AS c,
        (SELECT '' AS code UNION ALL SELECT '131026' UNION ALL SELECT '131049') AS f"""
_MEASURES = ", ".join(MEASURES)
_SUMS = ", ".join(f"sum({name})" for name in MEASURES)
_DAYS = f"""
    INSERT INTO stats_daily (day, kind, sender, country, code, {_MEASURES})
    SELECT hour - hour % 86400000, kind, sender, country, code, {_SUMS} FROM stats_hourly
    GROUP BY hour - hour % 86400000, kind, sender, country, code"""
_TOTALS = f"""
    INSERT INTO stats_hourly_totals (hour, kind, sender, {_MEASURES})
    SELECT hour, kind, sender, {_SUMS} FROM stats_hourly GROUP BY hour, kind, sender"""
_DELIVERIES = """
    INSERT INTO webhook_deliveries (id, endpoint_id, type, first_seq, last_seq, body, status, attempts, next_at,
        created_at, tried_at, http_status, latency_ms, ended_at)
    SELECT {id}, e.id, 'message.delivered', s.n, s.n, :payload,
        CASE WHEN s.n % 1000 = 0 THEN 'dead' ELSE 'delivered' END, 1, {at}, {at}, {at}, 200, 20.5, {at}
    FROM {series}, (SELECT id FROM webhook_endpoints ORDER BY id LIMIT 1) AS e"""


def _others(tx: Connection, many: int, large: str) -> None:
    """One row for a hundred messages of most, one for ten of what there is of a person."""
    some, each_person = max(10, many // 100), max(10, many // 10)
    _put(tx, _ACTS, some, 90)
    _put(tx, _ACTS, 200, 0.5, text=large)
    _put(tx, _REFUSALS, some, 1, campaign=large)
    _put(tx, _SUPPRESSIONS, each_person, 90)
    _put(tx, _CONSENTS, each_person, 90, campaign=large)
    body = b"\0" + json.dumps({"text": "when does the sale end?", "payload": ""}).encode()
    _put(tx, _REPLIES, some, 20, campaign=large, payload=body)
    _put(tx, _RAW, some, 2, payload=b"read already")
    _put(tx, _UPLOADS, 200, 90, campaign=large)
    _put(tx, _MINUTES, 16 * 60 - 2, 16 / 24, campaign=large)
    _put(tx, _HOURS, 92 * 24 - 1, 92)
    for sums in (_DAYS, _TOTALS):
        put(tx, sums, {})


def _deliveries(tx: Connection, many: int) -> None:
    _put(tx, _DELIVERIES, many, 2, payload=b'{"type": "message.delivered"}')


def _put(tx: Connection, sql: str, many: int, days: float, **values: object) -> None:
    """``many`` rows, spread over the last days."""
    usual: dict[str, object] = {"text": "", "sender": SENDERS[0], "campaign": new_id(), "payload": b""}
    span: Mapping[str, object] = {"many": many, "began": _ago(days), "span": int(days * DAY_MS)}
    put(tx, sql, {**usual, **values, **span})


def _people_made(tx: Connection) -> None:
    """Keys, tokens, templates and files."""
    for n in range(MADE["keys"]):
        api_keys.add(tx, name=f"shop {n}", role=Role.VIEWER, actor="bench")
    for n in range(MADE["tokens"]):
        receipt_tokens.add(tx, name=f"vendor {n}", actor="bench")
    shape = read_shape(
        [
            {"type": "BODY", "text": "Hi {{1}}, your code is {{2}}."},
            {"type": "FOOTER", "text": "Reply STOP to opt out"},
        ]
    )
    told = {"status": "APPROVED", "category": "MARKETING", "quality": "GREEN", "changed_at": _ago(30)}
    names = [TEMPLATE, *(f"template_{n}" for n in range(MADE["templates"] - 1))]
    tx.execute(
        templates_table.insert(),
        [
            {"name": name, "language": "en", "shape": None if shape is None else shape.to_json(), **told}
            for name in names
        ],
    )
    kept = {"type": "image", "mime": "image/jpeg", "bytes": 100_000, "created_by": "bench"}
    tx.execute(
        media.insert(),
        [
            {
                **{"id": new_id(), "sender": SENDERS[n % 3], "sha256": f"{n:064x}", "media_id": str(n)},
                **{"name": f"photo-{n}.jpg", "uploaded_at": _ago(20), "expires_at": _ago(-10), **kept},
            }
            for n in range(MADE["media"])
        ],
    )


#: A small campaign; the file that was uploaded first.
SMALL_ONES = select(campaigns.c.id).where(campaigns.c.name == "small 1")
LAST_MEDIA = (
    select(media.c.uploaded_at, media.c.id)
    .order_by(media.c.uploaded_at, media.c.id.desc())
    .limit(1)
    .offset(5)
)


def last_refused(database: Database, campaign: str) -> int:
    """The last row that was refused of a campaign."""
    with database.read() as tx:
        query = select(func.max(refusals.c.row)).where(refusals.c.campaign_id == campaign)
        return int(tx.execute(query).scalar_one())


def found(tx: Connection) -> Made:
    """The campaigns of a ledger that ``make`` filled."""
    ids = dict(
        tx.execute(
            text("SELECT name, id FROM campaigns WHERE name IN ('spring sale', 'middle 2', 'direct:otp')")
        )
        .tuples()
        .all()
    )
    return Made(str(ids["spring sale"]), str(ids["middle 2"]), str(ids["direct:otp"]))


def main() -> None:
    """Fill the database that is named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("--messages", type=int, default=10_000_000)
    parser.add_argument("--key", default="", help="as BULKSEND_ENCRYPTION_KEY")
    parser.add_argument("--analyze", action="store_true", help="VACUUM (ANALYZE) afterwards")
    options = parser.parse_args()
    began = time.perf_counter()
    database = Database(options.url)
    migrate(database)
    make(database, options.messages, Cipher.from_text(options.key))
    if options.analyze and not database.is_sqlite:
        analyze(database)
    sys.stdout.write(f"{options.messages:,} messages in {time.perf_counter() - began:.0f} s\n")
    database.close()


if __name__ == "__main__":
    main()
