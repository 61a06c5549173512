"""``events --follow`` shows each event once, in order, also those that came while the ledger was away."""

from __future__ import annotations

import threading

from bulksend.ledger import events
from bulksend.ledger.database import Database
from bulksend.operations.events import Wanted
from ops.cli.events import pages


def test_events_come_as_they_happen_until_a_stop(ledger: Database) -> None:
    def add(type: str, n: int) -> None:
        with ledger.write() as tx:
            events.add(tx, type, {"name": str(n)})

    stop = threading.Event()
    found = pages(ledger, Wanted(frozenset({"template.changed"})), 0, stop, look_s=0.01)
    add("template.changed", 1)
    add("webhook.disabled", 2)
    add("template.changed", 3)
    assert [event["data"]["name"] for event in next(found)] == ["1", "3"]
    add("template.changed", 4)
    assert [event["id"] for event in next(found)] == ["4"]
    threading.Timer(0.05, stop.set).start()
    assert next(found, None) is None
