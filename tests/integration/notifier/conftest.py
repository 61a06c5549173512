"""A notifier in this process, over a real ledger.

post_office          the ledger, its endpoints, and notifiers that run until the test ends
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bulksend.ledger import events
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.messaging.webhook_targets import read_networks
from bulksend.operations import webhooks
from notifier import Notifier
from notifier.deliveries import SendingRules

LOCAL = read_networks("127.0.0.0/8")
PATIENCE_S = 60.0


class PostOffice:
    """Short names for what a test does with webhooks."""

    def __init__(self, database: Database, cipher: Cipher | None = None) -> None:
        self.database = database
        self.cipher = cipher or Cipher([b"k" * 32])

    def add(self, url: str, *events: str, numbers: bool = False) -> dict[str, Any]:
        return webhooks.add(
            self.database, self.cipher, url, events=events, numbers=numbers, allowed=LOCAL, actor="ada"
        )

    def happen(self, n: int = 1, type: str = "sender.changed") -> None:
        """``n`` rare events, which go out one by one."""
        with self.database.write() as tx:
            for _ in range(n):
                events.add(tx, type, {"sender": "15550100100"})

    def notifier(self, **options: Any) -> Notifier:
        rules = SendingRules(allowed=LOCAL, **{"look_s": 0.05, **options.pop("rules", {})})
        return Notifier(self.database, self.cipher, rules, poll_s=0.02, **options)

    @contextmanager
    def notifying(self, count: int = 1, **options: Any) -> Iterator[None]:
        """So many notifiers run."""
        stop = threading.Event()
        threads = [
            threading.Thread(target=self.notifier(**dict(options)).run, args=(stop,)) for _ in range(count)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(PATIENCE_S)
                assert not thread.is_alive()

    def show(self, id: str) -> dict[str, Any]:
        with self.database.read() as tx:
            return webhooks.show(tx, id)

    def deliveries(self, id: str, status: str | None = None) -> list[dict[str, Any]]:
        """The oldest first."""
        with self.database.read() as tx:
            return webhooks.deliveries(tx, id, status=status, limit=1000).items[::-1]

    def until(self, id: str, status: str, count: int) -> list[dict[str, Any]]:
        """Its deliveries in that status, once there are at least ``count``."""
        looking = threading.Event()
        for _ in range(int(PATIENCE_S / 0.05)):
            found = self.deliveries(id, status)
            if len(found) >= count:
                return found
            looking.wait(0.05)
        raise AssertionError(f"{len(found)} are {status}: {self.deliveries(id)}")

    def until_tried(self, id: str, count: int) -> None:
        """Its only delivery has the results of ``count`` tries."""
        looking = threading.Event()
        for _ in range(int(PATIENCE_S / 0.05)):
            (found,) = self.deliveries(id) or [{"tries": []}]
            if len(found["tries"]) >= count:
                return
            looking.wait(0.05)
        raise AssertionError(found)

    def make_due(self) -> None:
        """What waits for its next try is due now."""
        with self.database.write() as tx:
            tx.exec_driver_sql(
                "UPDATE webhook_deliveries SET next_at = 0, tried_at = NULL WHERE status = 'pending'"
            )


@pytest.fixture
def post_office(ledger: Database) -> PostOffice:
    return PostOffice(ledger)
