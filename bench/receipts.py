"""Callbacks in: a real ``serve``, relay and PostgreSQL, and a load of shuffled and doubled callbacks.

    python -m bench.receipts [--callbacks 50000] [--rate 5000] [--connections 64]

Of each message its sent, delivered and read, each twice, in a random order. At the end every message must be read, with
the times of its receipts. Lag is from the last answer until the last receipt is applied.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

from sqlalchemy import text

from bench.machine import cost, described
from bench.receipt_load import BEGAN, ordered
from bench.stand import CLI, ROOT, Stand, stand
from bulksend.ledger import raw_receipts
from bulksend.ledger.campaign_creation import standing_campaign
from bulksend.ledger.database import Database, set_statement_timeout
from bulksend.messaging.states import Kind
from bulksend.operations import receipt_tokens
from ops.local.ports import free_port

_MESSAGES = """
INSERT INTO messages (id, campaign_id, key, row, kind, sender, recipient, type, payload, fingerprint, status, due_at,
    attempts, tries, waits, strikes, message_id, request_id, ret_code, queued_at, sent_at, accepted_at, ended_at)
SELECT gen_random_uuid(), CAST(:campaign AS uuid), CAST(n AS text), n, 'marketing', '8615000579987',
    CAST(447400000000 + n AS text), 'template', '\\x00', '\\x00', 'accepted', :at, 1, 1, 0, 0,
    'mid-' || lpad(CAST(n AS text), 9, '0'), 'rid-' || n, 0, :at, :at, :at, :at
FROM generate_series(0, :many - 1) AS s(n)
"""
_ATTEMPTS = """
INSERT INTO attempts (id, message_pk, n, owner, worker, sender, started_at, finished_at, outcome, http_status, ret_code,
    request_id, message_id, latency_ms, bytes_sent, reply_began)
SELECT gen_random_uuid(), id, 1, id, 'bench', sender, sent_at, sent_at, 'accepted', 200, 0, request_id, message_id, 50,
    true, true FROM messages
"""
_RIGHT = """
SELECT count(*) FROM messages WHERE status = 'read' AND delivered_at = :delivered AND read_at = :read
"""


def accepted(database: Database, many: int) -> None:
    """That many accepted messages."""
    at = int(time.time() * 1000)
    with database.write() as tx:
        set_statement_timeout(tx, 0)
        campaign = standing_campaign(tx, Kind.MARKETING)
        tx.execute(text(_MESSAGES), {"campaign": campaign.id, "many": many, "at": at})
        tx.execute(text(_ATTEMPTS))
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE)"))


def measured(at: Stand, callbacks: int, rate: float, connections: int) -> dict[str, object]:
    """One run."""
    order, messages = ordered(callbacks)
    with at.ledger() as ledger:
        accepted(ledger, messages)
        with ledger.write() as tx:
            token = receipt_tokens.add(tx, name="bench", actor="bench").token
        port = free_port()
        serve = at.start("serve", *CLI, "serve", "--port", str(port))
        relay = at.relay()
        at.wait("the relay leads", at.relay_leads)
        at.wait("serve listens", lambda: _listens(port))
        before, began = cost(at.parts), time.monotonic()
        load = subprocess.Popen(  # noqa: S603
            [
                *(sys.executable, "-m", "bench.receipt_load", "--port", str(port), "--rate", str(rate)),
                *("--callbacks", str(callbacks), "--connections", str(connections)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        at.parts["load"] = [load.pid]
        assert load.stdin is not None
        load.stdin.write(token + "\n")
        load.stdin.flush()
        used_by_load = 0.0
        while load.poll() is None:
            used_by_load = cost({"load": [load.pid]}).seconds["load"] or used_by_load
            time.sleep(0.1)
        assert load.stdout is not None
        told = json.loads(load.stdout.read())
        answered = time.monotonic()
        at.wait("all are applied", lambda: _is_read(ledger), 600)
        applied = time.monotonic()
        used = cost(at.parts).since(before).each_us(len(order))
        with ledger.read() as tx:
            right = tx.execute(
                text(_RIGHT), {"delivered": (BEGAN + 1) * 1000, "read": (BEGAN + 2) * 1000}
            ).scalar_one()
    return {
        "callbacks": len(order),
        "messages": messages,
        "read with the right times": right,
        **told,
        "answered a second": round(len(order) / told["seconds"]),
        "applied a second": round(len(order) / (applied - began)),
        "lag, s": round(applied - answered, 2),
        "us of CPU a callback": {part: round(each) for part, each in used.items() if part != "load"}
        | {"load": round(used_by_load / len(order) * 1e6)},
        "peak MB": {part: round(mb) for part, mb in at.peaks_mb().items()},
        "ended well": serve.running and relay.running,
    }


def _is_read(ledger: Database) -> bool:
    with ledger.read() as tx:
        return raw_receipts.waiting(tx).bodies == 0


def _listens(port: int) -> bool:
    import httpx

    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).is_success
    except httpx.HTTPError:
        return False


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--callbacks", type=int, default=50_000)
    parser.add_argument("--rate", type=float, default=5_000)
    parser.add_argument("--connections", type=int, default=64)
    given = parser.parse_args()
    with stand() as at:
        found = measured(at, given.callbacks, given.rate, given.connections)
    sys.stdout.write(json.dumps({"machine": described(), **found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
