"""The vendor's callbacks come to a real ``serve``, and the relay applies them: also when both are killed in between."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bulksend.ledger import raw_receipts
from bulksend.messaging.secret_text import base62, compose
from bulksend.operations import receipt_tokens
from ops.local.ports import free_port
from tests.acceptance.serving import Serving

#: Known before the ledger has it: the simulator is told its address when it starts.
TOKEN = compose("bsr", base62(b"\x01" * 6, 9), b"\x01" * 32)
TROUBLED = {
    "sent": {"kind": "constant", "ms": 20},
    "delivered": {"kind": "uniform", "low_ms": 100, "high_ms": 1500},
    "read": {"kind": "uniform", "low_ms": 200, "high_ms": 2500},
    "read_share": 1.0,
    "duplicate_share": 0.3,
    "out_of_order_share": 0.3,
    "before_answer_share": 0.2,
    "tries": 20,
    "retry_ms": 100,
    "timeout_seconds": 3,
}


def people(count: int) -> list[str]:
    """Numbers reserved for fiction."""
    return [f"1{212 + n // 100}55501{n % 100:02d}" for n in range(count)]


def test_every_message_is_read_though_serve_and_relay_are_killed_in_mid_flow(
    make_site: Any, tmp_path: Path
) -> None:
    port = free_port()
    receipts = TROUBLED | {"url": f"http://127.0.0.1:{port}/v1/receipts/{TOKEN}"}
    with make_site(vendor={"receipts": receipts}) as site:
        with site.ledger.write() as tx:
            made = receipt_tokens.add(tx, name="vendor", actor="test", random=lambda n: b"\x01" * n)
        assert made.token == TOKEN
        api = Serving(site.shell, site.environ, tmp_path, port=port)
        with api.running() as serving:
            blast = site.send("blast", people(120))
            site.wait("some are delivered", lambda: site.statuses(blast)["delivered"] >= 10)
            serving.kill()
            site.stack.member("relay").child.kill()
        written = api.said()
        with api.running() as serving:
            site.stack.add("relay2", "relay")
            site.wait("all are read", lambda: site.statuses(blast) == {"read": 120}, 60)
            with site.ledger.read() as tx:
                assert raw_receipts.aside(tx, limit=10) == []
            site.agrees()
            serving.terminate()
            assert serving.wait(60) == 0
        written += api.said()
    assert TOKEN not in written
    assert not [line for line in written.splitlines() if json.loads(line).get("level") == "error"]
    assert list(tmp_path.rglob("*.receipts")) == []
