"""A real ``bulksend notifier`` is killed or stopped: every event arrives, a repeated one with its webhook-id."""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bulksend.ledger.database import Database
from tests.integration.notifier.conftest import PATIENCE_S, PostOffice
from tests.receiver import Receiver, Request, receiving

KEY = base64.urlsafe_b64encode(b"k" * 32).decode()
EVENTS = 60


@contextmanager
def notifier(ledger_url: str, failpoints: str = "") -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "ops.cli.main", "notifier"],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "DATABASE_URL": ledger_url,
            "BULKSEND_ENCRYPTION_KEY": KEY,
            "BULKSEND_WEBHOOKS_ALLOW_PRIVATE": "127.0.0.0/8",
            "BULKSEND_FAILPOINTS": failpoints,
        },
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE_S)


def seqs(receiver: Receiver) -> Counter[int]:
    return Counter(request.content["data"]["seq"] for request in receiver.requests)


@pytest.mark.parametrize(
    ("ledger_url", "failpoint"),
    [
        ("postgresql", "fanning_out:kill:1"),
        ("sqlite", "webhooks_claimed:kill:2"),
        ("sqlite", "webhooks_sent:kill:2"),
        ("postgresql", "webhooks_sent:kill:2"),
    ],
    indirect=["ledger_url"],
)
def test_a_kill_at_any_step_loses_no_event(ledger_url: str, failpoint: str) -> None:
    database = Database(ledger_url)
    office = PostOffice(database)
    with receiving() as receiver:
        made = office.add(receiver.url)
        office.happen(EVENTS)
        with notifier(ledger_url, failpoint) as process:
            assert process.wait(PATIENCE_S) == -signal.SIGKILL
        # As if the leases of the dead notifier had ended.
        office.make_due()
        with office.notifying():
            done = office.until(made["id"], "delivered", EVENTS)
    database.close()
    assert len(done) == EVENTS
    assert len(seqs(receiver)) == EVENTS
    # What was answered and not recorded comes twice, under the same id.
    ids = {request.id: request.content["data"]["seq"] for request in receiver.requests}
    assert len(ids) == EVENTS
    assert set(ids) == {each["id"] for each in done}
    repeated = len(receiver.requests) - EVENTS
    if failpoint.startswith("webhooks_sent"):
        assert repeated > 0
    if failpoint.startswith("fanning_out"):
        assert repeated == 0


@pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)
def test_a_stop_ends_after_the_request_that_is_under_way(ledger_url: str) -> None:
    database = Database(ledger_url)
    office = PostOffice(database)
    stopped = threading.Event()

    def answer(request: Request, connection: socket.socket) -> int:
        assert stopped.wait(PATIENCE_S)
        return 200

    with receiving(answer) as receiver:
        made = office.add(receiver.url)
        office.happen()
        with notifier(ledger_url) as process:
            receiver.wait_for(1)
            process.send_signal(signal.SIGTERM)
            stopped.set()
            assert process.wait(PATIENCE_S) == 0
    (delivery,) = office.deliveries(made["id"])
    database.close()
    assert (delivery["status"], delivery["attempts"]) == ("delivered", 1)
    assert len(receiver.requests) == 1
