"""Callbacks in: a real ``serve``, relay and PostgreSQL, and a load of shuffled and doubled callbacks.

    ./run bench receipts [--callbacks 50000] [--rate 100000] [--connections 64] [--write]

Of each message its sent, delivered and read, each twice, in a random order; as fast as they are answered where
``--rate`` is more. At the end every message must be read, with the times of its receipts. Lag is from the last answer
until the last receipt is applied. Then the same load on a bare endpoint (bench/bare_endpoint.py) beside the same
PostgreSQL.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text

from bench.bare_endpoint import start_bare_endpoint
from bench.figures import Figure, Part, at_least
from bench.machine import cost, described
from bench.receipt_load import BEGAN, ordered
from bench.stand import CLI, ROOT, Stand, listens, stand
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


def load(at: Stand, port: int, token: str, given: argparse.Namespace) -> dict[str, Any]:
    """Callbacks for whatever listens there: what the load says of them, and the CPU seconds that it used."""
    process = subprocess.Popen(  # noqa: S603
        [
            *(sys.executable, "-m", "bench.receipt_load", "--port", str(port), "--rate", str(given.rate)),
            *("--callbacks", str(given.callbacks), "--connections", str(given.connections)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(token + "\n")
    process.stdin.flush()
    used = 0.0
    while process.poll() is None:
        used = cost({"load": [process.pid]}).seconds["load"] or used
        time.sleep(0.1)
    if process.returncode:
        raise RuntimeError(at.logs())
    return {**json.loads(process.stdout.read()), "CPU": used}


def bare(at: Stand, given: argparse.Namespace) -> dict[str, Any]:
    """The same load on a bare endpoint."""
    port = start_bare_endpoint(at)
    before = cost(at.parts)
    told = load(at, port, "bare", given)
    if told["refused"]:
        raise RuntimeError(f"the bare endpoint refused {told['refused']} requests\n{at.logs()}")
    return {
        "answered a second": round(told["answered"] / told["seconds"]),
        "us of CPU a callback": round(cost(at.parts).since(before).each_us(told["answered"])["bare"]),
    }


def measured(at: Stand, given: argparse.Namespace) -> dict[str, Any]:
    """One run."""
    order, messages = ordered(given.callbacks)
    with at.ledger() as ledger:
        accepted(ledger, messages)
        with ledger.write() as tx:
            token = receipt_tokens.add(tx, name="bench", actor="bench").token
        port = free_port()
        serve = at.start("serve", *CLI, "serve", "--port", str(port))
        relay = at.relay()
        at.wait("the relay leads", at.relay_leads)
        at.wait("serve listens", lambda: listens(port))
        before, began = cost(at.parts), time.monotonic()
        told = load(at, port, token, given)
        used_by_load = told.pop("CPU")
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
        "us of CPU a callback": {part: round(each) for part, each in used.items()}
        | {"load": round(used_by_load / len(order) * 1e6)},
        "peak MB": {part: round(mb) for part, mb in at.peaks_mb().items()},
        "ended well": serve.running and relay.running,
    }


def _is_read(ledger: Database) -> bool:
    with ledger.read() as tx:
        return raw_receipts.waiting(tx).bodies == 0


def part(ours: Mapping[str, Any], bare: Mapping[str, Any]) -> Part:
    """For the page."""
    answered, cpu = "answered a second", "us of CPU a callback"
    times = ours[answered] / bare[answered]
    return Part(
        [
            Figure(f"callbacks {answered}", f"{ours[answered]:,}", f"bare endpoint {bare[answered]:,}"),
            Figure(f"callbacks {answered}, ours / bare endpoint", f"{times:.2f}"),
            Figure("callbacks applied a second", f"{ours['applied a second']:,}", f"lag {ours['lag, s']} s"),
            Figure(
                "CPU a callback of `serve`", f"{ours[cpu]['serve']:,} µs", f"bare endpoint {bare[cpu]:,} µs"
            ),
            at_least(
                "messages read, with the times of their receipts",
                ours["read with the right times"],
                ours["messages"],
            ),
        ]
    )


def main(arguments: Sequence[str] | None = None) -> Part:
    """Run it."""
    parser = argparse.ArgumentParser(
        prog="./run bench receipts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--callbacks", type=int, default=50_000)
    parser.add_argument("--rate", type=float, default=100_000)
    parser.add_argument("--connections", type=int, default=64)
    given = parser.parse_args(arguments)
    with stand() as at:
        found = measured(at, given)
        at.stop_all()
        peer = bare(at, given)
    sys.stdout.write(json.dumps({"machine": described(), **found, "bare endpoint": peer}, indent=2) + "\n")
    return part(found, peer)


if __name__ == "__main__":
    main()
