"""What a worker holds of a connection to Redis that has broken."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

import kombu
import pytest

from ops.local.valkey import EmbeddedValkey
from worker.kombu_transport import Transport


def sockets() -> int:
    """How many sockets this process has open."""
    found = 0
    for file in Path("/dev/fd").iterdir():
        with contextlib.suppress(OSError):
            found += stat.S_ISSOCK(os.fstat(int(file.name)).st_mode)
    return found


@pytest.mark.parametrize("is_gone", [False, True], ids=["healthy", "gone"])
def test_a_closed_connection_holds_no_socket(tmp_path: Path, is_gone: bool) -> None:
    """As the remote control's: a channel of a mailbox, one of jobs and one that publishes."""
    server = EmbeddedValkey(tmp_path, durable=False)
    connection = kombu.Connection(server.start(), transport=Transport)
    mailbox = kombu.Queue("mailbox", kombu.Exchange("commands", type="fanout"), auto_delete=True)
    before = sockets()
    try:
        for queue in mailbox, kombu.Queue("jobs"):
            kombu.Consumer(connection.channel(), queue, callbacks=[print]).consume()
        connection.Producer().publish({}, routing_key="elsewhere")
        with contextlib.suppress(TimeoutError):
            connection.drain_events(timeout=0.2)
        assert sockets() > before
        if is_gone:
            server.stop()
        connection.release()
        assert sockets() == before
    finally:
        server.stop()
