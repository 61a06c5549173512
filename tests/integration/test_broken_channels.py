"""What a worker holds of a connection to Redis that has broken."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import kombu
import pytest

from ops.local.valkey import EmbeddedValkey
from worker.kombu_transport import Transport


def open_files() -> int:
    """How many files, sockets and pollers this process has open."""
    return len(list(Path("/dev/fd").iterdir()))


@pytest.mark.parametrize("is_gone", [False, True], ids=["healthy", "gone"])
def test_a_closed_connection_holds_no_file(tmp_path: Path, is_gone: bool) -> None:
    """As the remote control's: a channel of a mailbox, one of jobs and one that publishes."""
    server = EmbeddedValkey(tmp_path, durable=False)
    connection = kombu.Connection(server.start(), transport=Transport)
    mailbox = kombu.Queue("mailbox", kombu.Exchange("commands", type="fanout"), auto_delete=True)
    before = open_files()
    try:
        for queue in mailbox, kombu.Queue("jobs"):
            kombu.Consumer(connection.channel(), queue, callbacks=[print]).consume()
        connection.Producer().publish({}, routing_key="elsewhere")
        with contextlib.suppress(TimeoutError):
            connection.drain_events(timeout=0.2)
        assert open_files() > before
        if is_gone:
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
        connection.release()
        assert open_files() == before
    finally:
        server.stop()
